// Package policies holds the Rego that ships with Battery Gate: the policy that
// guards apps (authz), the one that guards Battery Gate itself (admin), and the
// JSON schemas of what both may look at (schemas). It is for people who write
// policies; nothing here is Go but the line that embeds it.
//
//	authz/     package battery.authz: the ladder of rules, and its tests
//	admin/     package battery.admin: who may use the admin API, and its tests
//	schemas/   input.json, admin_input.json, authzen_input.json, data.json
//	examples/  policies to start from, which nothing evaluates by itself
//
// The two policies are compiled apart, from their own directories, so that
// whoever may change the one cannot change the other. Files that end in
// _test.rego are for `policy test` and are never evaluated in production.
package policies

import "embed"

// FS has the directories authz, admin, schemas and examples. Tests are in it so
// that an operator who starts from the shipped policy starts with its tests.
//
//go:embed authz admin schemas examples
var FS embed.FS
