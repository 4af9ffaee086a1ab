// Package engine asks the policy. It compiles Rego with OPA, keeps the compiled
// policy, the apps and the directory together as one immutable snapshot, and
// turns an authz.Input into an authz.Verdict.
//
//	Source ─ Compile → Policy ┐
//	Apps (view of authz/apps) ┼ Publish → snapshot ─ Current → Evaluate → Verdict
//	Directory (sync/directory)┘            (one atomic pointer)
//
// What it defends against is a policy that does more than decide. Built-ins are
// an allow-list: nothing reaches the network, the environment, the host's clock
// or its time zone, so that the same input gives the same answer again. A
// built-in's error is an error and not "undefined", because under a `not`
// undefined would admit. An evaluation over its time budget, a panic, or a
// result of another shape is an error, and authz.Checker denies on every error.
//
// Names that an app's policy must not define (data.battery.admin,
// data.battery.role_mappings, data.battery.settings) are refused at compile, and
// the admin policy is compiled apart, by CompileAdmin.
//
// The same source may answer AuthZEN evaluations by a second entry point,
// data.battery.authzen.decision, under the same rules, budget and built-ins.
//
// An evaluation builds its input as OPA's own values and queries topdown
// directly, without OPA's convenience layer: that costs a goroutine and several
// conversions for each question.
package engine
