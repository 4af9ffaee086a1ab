// Package adminpolicy keeps the versions of the admin policy, the Rego that says
// who may do what to Battery Gate itself, and answers from the one in force.
//
//	Push      bundle → compiled, tested, guarded → candidate
//	Activate  candidate → in force; what was in force goes on a stack
//	Rollback  the stack's top → in force
//	Decide    the admin API, the IT admins' pages and AuthZEN callers ask here
//
// What it defends against is an administrator who locks everybody out, by
// mistake or on purpose. No version comes into force, or is even kept, under
// which its author could not push, activate and roll back, or under which any
// operator's token could not, now or later (guard.go). The shipped policy is
// always among the versions, and that operators get on under it is made sure of
// at the start.
//
// Where the version in force cannot be used (it does not compile after an
// upgrade, say) nothing stands in for it: everything is denied until a
// break-glass token, which goes past the policy, rolls back or activates another.
//
// In the store:
//
//	admin-policy/version/<revision>  {"v":1, "revision", "created_at", "author", "tests"}
//	admin-policy/bundle/<revision>   {"v":1, "bundle": base64}
//	admin-policy/active/current      {"v":1, "revision", "previous": [...], "at", "by"}
//
// A bundle is at most 512 KiB, and so fits a value. The shipped policy is not
// stored; where it is meant the record says "shipped", so that an upgrade brings
// its new one into force with it. Every replica follows the record through its
// Watch, as it does everything else.
package adminpolicy
