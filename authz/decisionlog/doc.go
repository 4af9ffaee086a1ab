// Package decisionlog keeps every decision: who asked for what, what was
// answered and why, from which policy and data, and the very input the policy
// saw, so that an answer can be explained and evaluated again long after the
// directory has moved on.
//
//	Checker → Record → queue → writer → SQL ← Decisions, Decision, Gaps
//
// The question path never waits for the log. Record numbers the decision and
// puts a pointer into a bounded queue; encoding and writing happen in Run, in
// batches. What cannot be kept is counted instead of forgotten: each decision
// of a replica has the next sequence number, and what was dropped becomes a
// gap row. At every commit
//
//	decided = stored + dropped + queued
//
// holds, and the rows and gaps of a replica cover its sequence numbers without
// a hole up to the last one settled. A process that died takes its queue with
// it: the next start notices that the last run did not end cleanly and writes a
// gap of unknown size (reason "crash"), because a log that looks complete and
// is not would be worse than one that says so.
//
// What apps, sessions and users looked like is stored once per content, in
// facts, and rows refer to it; an unchanged pointer is not even encoded again.
// Cookies and Authorization never reach the database, whatever the record says.
//
// The SQL is the common part of SQLite and PostgreSQL; all that differs between
// databases is in dialect (sqlite.go).
package decisionlog
