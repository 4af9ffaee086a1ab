// Package standin is a WorkOS for one's own machine: it speaks WorkOS's real
// HTTP API, so that `batterygate dev` and the tests run the very code that
// talks to api.workos.com in production. Nothing in the gate knows whether it
// talks to this or to WorkOS, and neither do WorkOS's own SDKs: the tests in
// deploy/e2e/oracles drive it with two of them, and hold every answer and event
// against WorkOS's OpenAPI description.
//
// What it holds is a World: organizations with their SSO connections and
// directories, the directories' users and groups, and who is in which group.
// The world changes in one way only, by an event:
//
//	POST /_dev/events, API calls, the portal page
//	        └→ complete the payload from the world ─ apply it ─ append to the log ─ save
//	                                                              ├→ GET /events, after EventsDelay
//	                                                              └→ signed webhook, in order
//
// The map of the files:
//
//	server.go    Options, New, Handler: the routes and who may reach them
//	world.go     the world as scripts and the wirer see it; default.go: the fixed one
//	wire.go      the JSON shapes that WorkOS's API and events have
//	state.go     the world as the server holds it; table.go, change.go: how it changes
//	persist.go   the file it is kept in; journal.go: what happened since
//	commit.go    the one way in which something happens
//	complete.go  a partial event made whole; resolve.go: what a reference means
//	faults.go    what can go wrong on purpose
//	…            one file per group of endpoints
//
// # For scripts
//
// All of /_dev asks for the API key.
//
//	POST   /_dev/events[?deliver=1]  an event happens; with deliver its webhook is sent
//	GET    /_dev/world               everything there is
//	GET    /_dev/webhooks            {"pending": n}: events whose webhook is on its way
//	GET    /_dev/faults              the faults in force
//	POST   /_dev/faults              one more rule, and/or other webhook faults
//	DELETE /_dev/faults              none
//
// # Faults
//
// A rule is for API calls and pages whose path has a prefix; the first that fits
// a request is the one that counts. Several may be in one rule, as far as they
// make sense together:
//
//	{"path_prefix": "/directory_users",  which paths; required
//	 "method": "GET",                    which method; any if left out
//	 "count": 3,                         for so many requests; until cleared if left out
//	 "delay_ms": 500,                    the answer is late; a time-out if it is late enough
//	 "reset": true,                      the connection is reset, nothing is answered
//	 "status": 429,                      this is answered, and the call does not happen
//	 "body": "Ratelimited",              … with this JSON
//	 "headers": {"Retry-After": "2"},    … and these headers
//	 "drop": 1,                          the last objects of a list are missing
//	 "duplicate": 1,                     the first objects of a list are there twice
//	 "reorder": true,                    a list comes last to first
//	 "wrong_json": true,                 the body's last byte is missing, in a sound answer
//	 "truncate": true}                   the connection is closed after half of the body
//
// What goes wrong with webhooks replaces what went wrong before. Numbers count
// down by events, the last three by attempts, which are retried as WorkOS does,
// six times with growing pauses:
//
//	{"webhooks": {
//	 "drop": 1,             lost: never sent, never retried
//	 "duplicate": 1,        sent twice
//	 "replay": 1,           sent once more, after a later one
//	 "delay_ms": 100,       each is late
//	 "reorder": true,       every two are swapped
//	 "error": 1,            the connection breaks after half of the body
//	 "wrong_json": 1,       the body's last byte is missing; signed as it is
//	 "wrong_signature": 1}} signed with another secret
//
// Faults are kept in memory, and gone after a restart.
//
// # Trust
//
// It is for development: anyone who reaches it may sign in as anyone. So it
// answers loopback peers under loopback names only (the second against DNS
// rebinding by a web page), sends webhooks to loopback only, and redirects to
// loopback only.
package standin
