// Package sso answers who is asking. It signs people in through WorkOS, keeps
// the sessions that come of it, and proves them to apps, each on its own host.
//
//	app host        public host               WorkOS
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
//     sealed cookie, and only a valid ticket leaves a mark.
//
// Sessions is the keeper of the records (it implements authz.Sessions), Service
// the HTTP side, Organizations the creation of customers. Key material comes
// from sso/keys.
package sso
