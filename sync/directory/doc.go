// Package directory is our copy of what WorkOS knows of a customer: the
// organization, its SSO connections, its directories, their users and groups,
// who is in which group, and the roles that an operator or IT admin gives to
// groups. It answers one question on the hot path: who is the directory user of
// this session, and which roles does that person hold right now?
//
//	webhook    → ApplyEvent  ┐
//	Events API → ApplyPage   ├→ store ──Watch──→ Apply → View → User(session)
//	REST API   → ApplyReading┘
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
//   - An object is alive only when something that may create it was seen.
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
// # Readings
//
// A reading is a complete read of a directory through the REST API. It tells
// the truth as of its watermark W, and in the registers it is a writer with the
// stamp (W, no id), which loses to every event of that millisecond or later:
//
//   - What it saw is so as of W. What is known here and it did not see is absent
//     as of W: gone at once, and back if an event later than W makes it. An
//     absence is no tombstone.
//   - Only differences are written. That everything else was confirmed is said
//     once, by the directory's floor: an event from before it has nothing to
//     add, neither to what was seen nor to what was not. A reading moves the
//     floor only if all it told is in force: nothing held, nothing waiting, and
//     no event from before W while it was merged.
//   - A deleted id is back only after two readings in a row that saw it, both of
//     times after the delete. A membership that an event removed in the last 24
//     hours is, too.
//   - Removals of many at once are held by the brake (brake.go). Those of
//     directories, connections and organizations also need their own 404.
//
// Readings of one directory are applied in the order of their watermarks; a
// later one ends an earlier one that is still being merged.
//
// # The feed's cursor
//
// ApplyPage moves it in the transaction that applies the events. A webhook never
// moves it: WorkOS delivers events that its Events API shows only seconds later,
// after others. An event that cannot be applied is put aside in that same
// transaction, and what it may be about is marked to be read anew.
//
// # When a session ends
//
// User reports ended when what the session stood on is gone: its organization
// or connection is deleted or absent, its connection is not active, or the
// directory user was deleted at or after the session was issued. A deletion's
// time is the earlier of the event's stamp and its first receipt. So a deletion
// that is delivered late does not end a newer session of a person who was
// created again in the meantime (the IdP vouched for that person after the
// deletion), while a session from before it ends for good and is never handed to
// a new directory user with the same e-mail. The deletion of a directory counts
// as that of its users.
//
// The absence of a user counts like a deletion at its watermark, the latest time
// at which the user may have been there: sessions from before it end and are not
// handed to anyone. It lasts as long as the absence does. If the user is seen
// again, which WorkOS's ids make the same person, a session that nobody revoked
// counts again.
//
// # Whose people a connection's are
//
// A profile is linked to a user of the directory that its connection is paired
// with, and to no other: by an operator's pairings (pairing.go), or, while the
// organization has none, automatically if it has one of each. The first link is
// pinned, and a pin outlives whatever is paired later, until its user is deleted
// or an operator changes it.
//
// # Switches
//
// A paused directory grants nothing: its users have no groups and no roles.
// Events and readings go on being applied. An organization's roles come from its
// mappings, or from WorkOS (rolesource.go), never from both.
package directory
