// Package probe is the room of probes: what an operator sends through a live
// gateway to see what becomes of requests on their way to one app, and what of
// them arrived at the doors.
//
//	operator ─ Create ─→ store: hash of the token, app, end
//	door     ─ Live ───→ Arrived: seen, kept in memory, redacted
//	Checker  ─ Probe ──→ a machine's session with the app's roles, or nothing
//	operator ─ Seen ───→ what arrived
//
// A token is good for one app and for half an hour at most. It is kept as a hash
// and told once. What arrived is kept in the memory of the replica that was
// asked, without the value of any header that could be a secret.
package probe
