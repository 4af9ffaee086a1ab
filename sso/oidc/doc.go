// Package oidc signs people in at one OpenID provider, for an organization that
// brings its own instead of WorkOS SSO. It speaks the protocol and nothing
// else: what it hands back is who the provider vouches for; sessions, cookies
// and pages are made in package sso.
//
// What it believes, and what not:
//
//   - The issuer is the operator's word, everything else the provider's. Its
//     metadata must name exactly that issuer, and every address in it must be
//     https (plain http on loopback alone).
//   - A provider that is down, slow or talks nonsense costs its own logins a
//     bounded time, and nobody else's anything: discovery happens at the first
//     login, is kept for an hour, and is not tried again at once when it failed.
//   - Code flow with PKCE (S256) and nonce, always. Of an ID token the signature
//     (asymmetric algorithms of an allow-list alone, so neither "none" nor an
//     HMAC under the public key), issuer, sole audience, times and nonce are
//     checked; of an answer the issuer it names (RFC 9207), against mix-up.
//   - An e-mail address that is not verified is never the person's address.
//   - Groups are what the provider says at sign-in. They go to policies as a
//     claim; they are not roles.
package oidc
