// Package doctor examines a live gateway from outside. It makes a probe, sends
// requests through the gateway that lie in every way that is known to have
// worked somewhere, and compares three views of each: what was sent, what
// arrived at the door, and what arrived at the app.
//
//	Run → probe → send (corpus.go; raw sockets, and HTTP/2) → gateway ─┬→ door: observations, from the API
//	                                                                   └→ app: an echo of what it received
//	    → judge (judge_*.go) → Report → Print or JSON
//
// What an app does not echo cannot be judged there, and is reported as not
// checked. Nothing that is sent changes anything: the paths are nobody's, and the
// one body is an empty form.
package doctor
