// Package directory is our copy of what WorkOS knows of a customer: the
// organization, its SSO connections, its directories, their users and groups,
// who is in which group, and the roles that an operator or IT admin gives to
// groups. It answers one question on the hot path: who is the directory user of
// this session, and which roles does that person hold right now?
//
//	event → ApplyEvent (one transaction) → store ──Watch──→ Apply → View → User(session)
//
// # Registers
//
// WorkOS promises neither order nor single delivery, and a removal that is
// overtaken by an older addition would be an open door. So every object and
// every membership is a register that converges whatever the order:
//
//   - The last writer wins, by the event's created_at in milliseconds; at equal
//     times what takes access away wins (a removed membership, a user that is
//     not active, a directory or connection that is not linked), then the
//     higher event id. An event dated more than five minutes ahead counts as of
//     its first receipt, for every later copy too.
//   - A delete is final for its id, whatever its stamp. WorkOS never reuses ids.
//   - An object is alive only when an event that may create it was seen.
//     user_removed carries a user and a group and updates what is known of them,
//     but never brings them to life (a second copy of a removal has provisioned
//     the very user it was to remove, elsewhere); it writes the absent edge and
//     remembers the attributes for the day the creation arrives.
//   - Membership is ordered by the membership events' own stamps alone: WorkOS
//     does not change updated_at when a membership changes.
//
// Nothing fans out. dsync.deleted writes one tombstone; that its users, groups
// and memberships are gone with it is evaluated when the View is read.
//
// # When a session ends
//
// User reports ended when what the session stood on is gone: its organization
// or connection is deleted, its connection is not active, or the directory user
// was deleted at or after the session was issued. A deletion's time is the
// earlier of the event's stamp and its first receipt. So a deletion that is
// delivered late does not end a newer session of a person who was created again
// in the meantime (the IdP vouched for that person after the deletion), while a
// session from before it ends for good and is never handed to a new directory
// user with the same e-mail. The deletion of a directory counts as that of its
// users.
package directory
