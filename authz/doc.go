// Package authz is the question this program exists for: may this request
// reach this app? It holds the words of that question (Request, App, Session,
// User, Input, Decision, Record) and Checker, the one path from a request to a
// decision.
//
//	Request → app → session → user → policy → Decision → one Record
//	              → machine ────────┘
//
// A path can be read in several ways, and then the policy is asked about each of
// them or the request is refused (path.go, readings.go).
//
// Every door asks Checker, and Checker answers on every path: a malformed
// request, a panic and a broken policy come out as a Decision that denies, and
// each of them is recorded exactly once. The zero value of everything here
// denies, and only Checker can make a Decision that allows.
//
// The package imports nothing of ours. What it needs it names as small
// interfaces (Snapshots, Sessions, Machines, Recorder); the engine, the session
// keeper, the machines and the decision log implement them and are wired in cmd.
package authz
