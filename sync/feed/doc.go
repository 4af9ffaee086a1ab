// Package feed is how the facts arrive. WorkOS posts signed events to a webhook,
// and this room decides whether to believe them, hands them to the directory,
// and answers only when the next decision will see them. Because a webhook can
// be lost, every event is also read in order through the Events API; and because
// an event can be lost there too, or never have been made, what WorkOS holds is
// compared with what is known here.
//
//	POST /webhooks/workos → source → signature over the raw bytes → envelope → directory
//	                      → the published snapshot carries the revision → 200
//	Events API  → Poller: a page and the cursor behind it, in one transaction
//	REST lists  → Reconciler: everything first; what is missing by its own id; then the difference
//
// # Webhooks
//
// The endpoint is open to the internet. Nothing of a body is parsed before its
// signature is checked, nothing it says is repeated in an answer, and what an
// unsigned sender can cost is one bounded read and one HMAC per secret.
//
// WorkOS sends again for days when it gets no 200, and every event may come
// twice: so whatever keeps an event from being enforced answers 503, and
// applying it again is harmless.
//
// The sender can be held to a list of addresses. WorkOS publishes those of its
// webhooks (workos.com/docs/events/data-syncing/webhooks); at the time of writing
// 3.217.146.166, 23.21.184.92, 34.204.154.149, 44.213.245.178, 44.215.236.82,
// 50.16.203.9, 52.1.251.34, 52.21.49.187 and 174.129.36.47. Another page says that
// they are not fixed. So an operator configures them, or leaves the list empty;
// the signature is what counts.
//
// # Catch-up
//
// The poller has a cursor of its own. It moves only with the page that it read:
// WorkOS holds new events back from the Events API for some seconds, so an event
// that a webhook brought may lie behind others that were not shown yet, and a
// cursor set to it would skip them for good. A webhook only makes the next polls
// come sooner.
//
// A first start reads from a while before WorkOS's present time, fixed before
// the first reconcile reads anything. A cursor that WorkOS does not know, or
// that is about as old as the oldest events it keeps, is given up in the same
// way: new start, then everything is read anew.
//
// # Reconcile
//
// A directory is read whole before anything of it is changed: groups, users,
// memberships. A page that fails, an answer that is not a list, an object of
// another directory, a directory that is not linked before or after: then there
// is no reading, and everything stays as it is. What is known here and missing
// from the lists is asked for by its own id; only a 404 makes it missing. What is
// removed then, at once or held by the brake, is the directory's to decide.
//
// In all of this, WorkOS being slow, rate limiting, failing or talking nonsense
// makes what is known older, and never different.
package feed
