package gateways

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// DoorTLS is how the gateway asks over TLS. The zero value asks in the clear.
type DoorTLS struct {
	On     bool // the doors speak TLS (gateway.tls_cert_file)
	Client bool // and answer only who shows a certificate (gateway.client_ca)

	// CA is a PEM file on the gateway's host: the authorities that may have
	// signed the doors' certificate. The gateway believes no others.
	CA string
	// Name is what that certificate is for, a host name. Who answers under
	// another name is no door.
	Name string
	// Cert and Key are PEM files on the gateway's host: the certificate that the
	// gateway shows. Both or neither.
	Cert string
	Key  string

	// Hop is a port of HAProxy's own loopback, over which its script asks: the
	// script's HTTP client can show no certificate, HAProxy's servers can.
	Hop Address
}

// checkDoor finds what a gateway lacks to ask over TLS. One that would ask
// wrongly is denied everything, so that all of it is said before.
func (s *Setup) checkDoor(gateway string) (faults []error) {
	d := s.DoorTLS
	if !d.On {
		return nil
	}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !hostPattern.MatchString(d.Name) || net.ParseIP(d.Name) != nil {
		fault("--door-name %q: the doors speak TLS; say which host name their certificate is for", d.Name)
	}
	if gateway == "gateway-api" {
		return faults // its certificates are Secrets and a ConfigMap with names of their own
	}
	if d.CA == "" {
		fault("--door-ca: the doors speak TLS; name the file on the gateway's host with the authority that signed their certificate")
	}
	if d.Client && d.Cert == "" {
		fault("--door-cert and --door-key: the doors demand a certificate (gateway.client_ca); name the gateway's own, files on its host")
	}
	if (d.Cert == "") != (d.Key == "") {
		fault("--door-cert and --door-key go together")
	}
	for name, p := range map[string]string{"--door-ca": d.CA, "--door-cert": d.Cert, "--door-key": d.Key} {
		if p != "" && (!pathPattern.MatchString(p) || strings.Contains(p, "/..")) {
			fault("%s %q is not an absolute path of letters, digits and . _ / @ + -", name, p)
		}
	}
	switch {
	case gateway == "traefik" && d.Name != s.Authz.Host:
		fault("Traefik expects the door's certificate to be for the name by which it reaches the door: have --door-name %q and the host of --authz-addr (%q) agree", d.Name, s.Authz.Host)
	case gateway == "haproxy" && d.Cert != "" && !slices.Contains([]string{d.Cert, d.Cert + ".key"}, d.Key):
		fault("HAProxy finds a key in its certificate's file or beside it: let --door-key be %s.key, or the same file", d.Cert)
	}
	if ip := net.ParseIP(d.Hop.Host); gateway == "haproxy" && (ip == nil || !ip.IsLoopback() || d.Hop.Port < 1 || d.Hop.Port > 65535) {
		fault("--door-hop %q is not a port of loopback, such as 127.0.0.1:8084", d.Hop)
	}
	return faults
}
