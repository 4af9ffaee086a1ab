// Package forward is the room with the doors: the places where a gateway asks
// whether a request may go on. It turns each gateway's dialect into one
// canonical authz.Request, puts it to the Checker exactly once, and turns the
// Decision back into what that gateway understands.
//
//	Traefik, Caddy, HAProxy ─ ANY /authz/forward-auth ─┐
//	nginx                   ─ ANY /authz/auth-request ─┤             ┌ 200 + identity headers
//	Envoy over HTTP         ─ ANY /authz/ext-authz/*  ─┼ ask → Check ┼ 302 or 401, to log in
//	Envoy over gRPC         ─ Authorization/Check     ─┘             └ 403 or 400
//
// # What holds here
//
// A door answers trusted gateways only. It reads one fixed set of headers and
// never another door's, nor the query of its own URL, because whatever it falls
// back to is a header that the client may write. Headers that come twice or in
// a spelling that some app would take for another header are refused, and so is
// a path that gateway and app could read differently, unless its app has the
// policy asked about every reading. Where a gateway says which app its route
// belongs to, that app must own the host.
//
// The Authorization header is read for apps that take machines, and for no other:
// there it decides alone, and a bad one is a 401 that leads nowhere. It is read
// exactly once; two of them are malformed.
//
// Who asks is judged by network and, where they are asked for, by shared secret
// and by client certificate, over gRPC as over HTTP. An allow says what must not
// reach the app (our cookies, a service token, headers in our name that we do not
// write) to gateways that can take it away.
//
// Only a Decision can become a 200. The HTTP doors write through one writer
// (sealed) that has no other way to a 2xx: a handler that panics or writes
// nothing answers 403. Nothing here answers 5xx, and over gRPC a question that
// cannot be read is answered too (grpc_serve.go), since Envoy can be set to let a
// request pass when the answer is a 5xx or the call fails.
//
// Every question makes one record, the refused ones included, because each of
// them goes through Checker.
package forward
