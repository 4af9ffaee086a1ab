// Package authoring is what people do with a policy before it decides anything:
// so far, run its tests. The command line and the policy API both call it, so
// that a policy which passes on a laptop passes at the push.
//
// Tests are Rego like the policy, in files that end in _test.rego, and are run
// by OPA's own tester, as `opa test` does. What differs is what they may call:
// the same built-ins as in production, so that a policy cannot pass its tests
// with a function that it will not have, and so that whoever may push a policy
// cannot reach the network or the environment through its tests.
package authoring
