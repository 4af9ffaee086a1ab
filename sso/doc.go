// Package sso answers who is asking. It signs people in through WorkOS, or at
// the OpenID provider that an organization brings (package sso/oidc), keeps the
// sessions that come of it, and proves them to apps, each on its own host.
//
//	app host        public host               WorkOS or provider
//	  │ no session    │                         │
//	  ├─ challenge ──▶│ /login                  │   verifier cookie stays on the app host,
//	  │               ├─ state cookie ─────────▶│   only its hash travels
//	  │               │ /callback ◀── code ─────┤
//	  │               │ record, login cookie    │
//	  │◀── ticket ────┤                         │   one use, 30 s, for that verifier alone
//	  │ /.battery/session: app cookie           │
//
// What each piece defends against:
//
//   - A ticket works only in the browser that holds the verifier, so nobody can
//     be signed in as someone else by a link (login CSRF), and a ticket that
//     leaks is worth nothing.
//   - An app cookie is bound to one app and one host, so an app that keeps what
//     it is sent cannot use it at another.
//   - A session is a record in the store; cookies only name it. Ending the
//     record ends it everywhere at the next request.
//   - Nothing that is not authenticated writes the store: a state lives in a
//     sealed cookie, and only a valid ticket or logout token leaves a mark.
//   - An answer counts only from where its attempt went: each provider has a
//     callback of its own, registered with it alone, and the issuer that an answer
//     names must be that one's (mix-up). The attempt holds nonce and PKCE verifier.
//   - A login begun at an identity provider opens nothing and its code is not
//     looked at (login CSRF); it starts anew from here.
//   - An app may ask for a fresh login. A session counts for it only while the
//     identity provider vouches for one: WorkOS by being asked for credentials
//     anew, a provider by its auth_time.
//   - What anybody may ask for is limited by client, in bounded memory.
//
// How a session ends: by its limits; here, for all apps (Revoke, and logout, which
// calls off the logins that the browser has under way as well); with
// its user, connection or organization (Directory); with its provider's
// configuration; or when the provider says so (back-channel logout), which also
// stops logins that are under way. Signing out here leads over the provider; the
// ID token that it wants back lies in the record, sealed.
//
// Keys are several for each purpose and rotate without logging anyone out
// (RotatePurpose, RotateOlder): a new one is in the store before it signs, so long
// that every replica (and for assertions every app) has it by then; an old one
// verifies until all that it signed is over. What wraps them in the store is
// outside it.
//
// Sessions is the keeper of the records (it implements authz.Sessions) and hears
// of changed keys, Service the HTTP side, Organizations the creation of customers.
// Key material comes from sso/keys. Other pages of the public host are served by
// Page, know who is asking by SignedIn, and check their forms by CheckForm.
package sso
