// Package e2e proves the built program from the outside, as its users meet it:
// `batterygate dev` as a process, real gateways in front of it with the very
// configuration that deploy/ ships, clients that speak HTTP, and a real browser.
// It imports nothing of the program, so it can only see what everybody sees.
//
// Most tests run once per front, all fronts at a time: dev's own gateway, Traefik,
// Envoy asking over HTTP, Envoy asking over gRPC, nginx, Caddy and HAProxy. Each
// front has its own running program and world, shared by the tests that leave it
// as they found it; the others start their own. Where a gateway cannot do
// something, its front says so (front_test.go), and docs/gateways says it to users.
//
// The map of the files:
//
//	render_test.go   has the binary write a gateway's configuration
//	run_test.go      checks such a configuration and starts the gateway with it
//	main_test.go     builds the program once, tells at the end what was skipped
//	program          (a package) builds, starts and ends programs
//	gate_test.go     one running `batterygate dev`, its admin API and its WorkOS
//	front_test.go    the fronts, and what each cannot do
//	client_test.go   a browser's worth of HTTP client: cookies, redirects
//	chromium_test.go the one real browser
//	window_test.go   a window of it for each person, with tabs that leave a trail
//	kinds_test.go    the ways to sign in: WorkOS, an OpenID provider
//	openid_test.go   the world of the second: serve, Traefik with TLS, oidc/provider.mjs
//	…                one file per promise
//
// The journeys in the browser (TestBrowser…) run once for each way to sign in:
// through WorkOS in dev's world, over plain http on loopback, and at an OpenID
// provider of its own process, in a world made as an operator makes one, over
// https. What people saw lies in artifacts/.
//
// Tools come from `make tools`. A missing one skips its tests, loudly, and fails
// them where CI is set. BATTERYGATE_BIN names a binary to test instead of
// building one.
package e2e
