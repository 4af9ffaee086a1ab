// Package standin is a WorkOS for one's own machine: it speaks WorkOS's real
// HTTP API, so that `batterygate dev` and the tests run the very code that
// talks to api.workos.com in production. Nothing in the gate knows whether it
// talks to this or to WorkOS.
//
// What it holds is a World: organizations with their SSO connections and
// directories, the directories' users and groups, and who is in which group.
// The world changes in one way only, by an event:
//
//	POST /_dev/events, API calls, the portal page
//	        └→ complete the payload from the world ─ apply it ─ append to the log ─ save
//	                                                              ├→ GET /events
//	                                                              └→ signed webhook, in order
//
// The map of the files:
//
//	server.go    Options, New, Handler: the routes and who may reach them
//	world.go     the world as scripts and the wirer see it; default.go: the fixed one
//	wire.go      the JSON shapes that WorkOS's API and events have
//	state.go     the world as the server holds it; persist.go keeps it in a file
//	commit.go    the one way in which something happens
//	complete.go  a partial event made whole; resolve.go: what a reference means
//	…            one file per group of endpoints
//
// It is for development: anyone who reaches it may sign in as anyone. So it
// answers loopback peers under loopback names only (the second against DNS
// rebinding by a web page), sends webhooks to loopback only, and redirects to
// loopback only.
package standin
