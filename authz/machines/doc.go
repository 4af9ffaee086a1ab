// Package machines tells programs apart from people: it checks the bearer
// tokens that apps opted into, and turns each good one into a session that
// policies can judge.
//
//	JWT of a configured issuer ─┐
//	                            ├ Verifier.Machine → authz.Session, or why not
//	bgs_… service token of ours ┘
//
// # Against whom
//
// Whoever holds a token of one issuer and tries it at an app that trusts
// another (Oathkeeper GHSA-4mq7-pvjg-xp2r: its cache forgot the issuer). Whoever
// writes a token by hand: alg none, HMAC with a public key as its secret, a key
// of another type, a kid, jku, x5u or jwk that points to a key of the attacker's.
// Algorithms are asymmetric and fixed by the type of the key that the issuer
// published; the header only says which of those keys. Whoever captured a token
// that is bound to a key (cnf: DPoP, mutual TLS): as a bearer token it is
// refused. Whoever sends unknown kids to make us fetch: fetches are rate-limited.
//
// # What a request costs
//
// A request never waits for the network. Run fetches key sets in the background
// and keeps them while an issuer is down, for MaxStale at most; a token whose key is not
// known is refused and the keys are asked for. A verified token is remembered
// under the SHA-256 of all of it together with the app as it was then, until it
// expires, its issuer's keys change or the app does, so a signature costs once.
//
// # What a machine may do
//
// Its roles come from configuration: a service token's own, or what the
// issuer's table gives for the values of one claim. They stand in the session's
// claims under authz.ClaimRoles, beside iss and the claims that the issuer's
// configuration lets through; nothing else of a token reaches policies or
// records. A machine has no e-mail address and no connection, so that it is
// never linked to a directory user.
package machines
