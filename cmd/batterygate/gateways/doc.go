// Package gateways writes the configuration of the gateways that stand in front
// of apps and ask Battery Gate: Traefik, Envoy, nginx, Caddy, HAProxy and the
// Kubernetes Gateway API (Envoy Gateway).
//
//	Setup ─ Check ─→ templates/<gateway>/* ─→ Files, to print or to lay into a folder
//
// The templates are the single source. `batterygate gateway gen` prints what
// they give for a running set-up, deploy/<gateway>/ holds what they give for the
// example in deploy/gateways.yaml, and the end-to-end tests run what they give
// for a real program behind the real gateways.
//
// # What every configuration holds to
//
// No request reaches an app unasked, and none while nobody answers. What a
// client sends under the names of the identity headers does not reach the app,
// whether or not the answer has one. What is below /.battery/ goes to the public
// listener. The host that the door is told is the host that the gateway routes
// by. An upgrade is a websocket or none: whatever else a connection turns into
// (h2c) would carry requests that nobody asked about. Streams end after
// StreamLimit where the gateway can end them.
//
// Whatever goes into a template has been checked by Setup.Check: hosts, ids and
// paths of letters, digits and a few signs that mean nothing to any gateway, so
// that no name can become configuration.
package gateways
