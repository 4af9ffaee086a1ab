// Package feed is how the facts arrive: WorkOS posts signed events to a webhook,
// and this room decides whether to believe them, hands them to the directory,
// and answers only when the next decision will see them.
//
//	POST /webhooks/workos → signature over the raw bytes → envelope → directory
//	                      → the published snapshot carries the revision → 200
//
// The endpoint is open to the internet. Nothing of a body is parsed before its
// signature is checked, nothing it says is repeated in an answer, and what an
// unsigned sender can cost is one bounded read and one HMAC per secret.
//
// WorkOS sends again for days when it gets no 200, and every event may come
// twice: so whatever keeps an event from being enforced answers 503, and
// applying it again is harmless.
package feed
