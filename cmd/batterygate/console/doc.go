// Package console is what operators see at / of the admin listener: pages for
// what the admin API does, without script. It holds no power of its own. Every
// page and every button is a request to /api/v1, made in this process as the
// person who is signed in (api.API.As), so the admin policy and the audit stand
// before it as they stand before the API; nothing here reaches into a room.
//
//	GET  /                    who you are, what you may do, how the server is; or the sign-in
//	POST /sign-in/token       an API token becomes a console session
//	GET  /sign-in/sso         to the operators' organization's sign-in, over the public host
//	GET  /sign-in/sso/done    and back
//	POST /sign-out
//	GET  /sessions            who is signed in where; POST /sessions/end ends one
//	GET  /sessions/end-many   how many and whom; POST ends them
//	GET  /audit               who did what, newest first
//
// and on the public host
//
//	GET  /operators/console   tells the console who signed in there, by a pass
//
// To add a page: a file with its handler, a template in pages.html, a line in
// Mount, and one in places (the navigation, which asks the policy). A handler
// asks the API by call and shows what it says; a form's token is made and checked
// for one action (form, checkForm).
//
// What each piece defends against:
//
//   - The admin listener is another origin than the public host, and its cookies
//     are its own. An SSO sign-in comes back with a pass of thirty seconds and one
//     use, bound to this origin, which is configured and never read from a Host,
//     and to a verifier that only the browser has that began.
//   - A console session is kept in memory under the hash of its cookie, begins
//     with a new id at every sign-in, ends after thirty minutes idle and after
//     eight hours. It stands on a token or an SSO session, which is looked up at
//     every request, as are the roles; it ends with it. No token's secret is kept.
//   - Who is not signed in costs no memory: an attempt lives in a cookie that this
//     process has authenticated.
//   - Browsers tell ports of one host apart for pages, not for cookies. So a POST
//     must name exactly this origin in Origin, beside its form token, and requests
//     under another name or port are shown where the console is.
//   - IT admins and whoever has no battery: role come in nowhere, and are told why.
//   - What directories and identity providers name is text: escaped, cut, and kept
//     apart from the direction of what stands around it.
package console
