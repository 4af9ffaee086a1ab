// Package gateway is the reverse proxy of `batterygate dev`: it asks the
// forward-auth door about every request as Traefik v3 does (ForwardAuth with
// trustForwardHeader=false, an entry point with its defaults), so that what is
// seen on one's own machine is what Traefik does in production, without
// Traefik.
//
//	client → normalise and clean the path, drop forwarding headers
//	       → /.battery/* ─────────────────────→ the public listener
//	       → GET {auth}/authz/forward-auth
//	            2xx       → swap the identity headers, drop our cookies → app
//	            any other → that answer, to the client
//	            no answer → 500, and the app never hears of it
//
// It is no gateway for production.
package gateway
