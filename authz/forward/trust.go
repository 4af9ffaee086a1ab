package forward

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// normalPrefixes refuses an empty list, which elsewhere means "everybody"
// (oauth2-proxy GHSA-7x63-xv5r-3p2x), and writes IPv4 in one way.
func normalPrefixes(in []netip.Prefix) ([]netip.Prefix, error) {
	if len(in) == 0 {
		return nil, errors.New("the list of trusted gateways is empty")
	}
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if !p.IsValid() {
			return nil, fmt.Errorf("trusted gateway %q is no address range", p)
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// checkSecret: a secret that no header can carry would lock every gateway out, and
// nobody would find the reason.
func checkSecret(s string) error {
	if !visibleASCII(s) || strings.IndexByte(s, ',') >= 0 {
		return errors.New("the shared secret holds a character that a header cannot carry alone")
	}
	return nil
}

// trusts reports whether an address is one of the gateways'.
func (d *Doors) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	for _, p := range d.opt.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// caller is the peer that asks, as the connection shows it: nothing a header
// says can change it.
type caller struct {
	name    string // for the record: its address, or its certificate's name
	trusted bool
}

// callerOf judges a peer by the address of its connection ("ip:port") and, where
// they are asked for, by its client certificate and by the shared secret, which
// must come exactly once. What is asked for must all hold, at every door alike
// (heimdall #3436: one transport asked for less).
func (d *Doors) callerOf(remote string, state *tls.ConnectionState, secrets []string) caller {
	c := caller{name: remote}
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return c
	}
	addr := ap.Addr().Unmap().WithZone("")
	c.name = addr.String()
	if name := certificateName(state); name != "" {
		c.name = name
	}
	c.trusted = d.trusts(addr) && d.knowsSecret(secrets) && (!d.opt.ClientCertificate || verifiedLeaf(state) != nil)
	return c
}

// knowsSecret compares digests, so that the time it takes tells nothing about
// the secret, its length included.
func (d *Doors) knowsSecret(sent []string) bool {
	if d.opt.SharedSecret == "" {
		return true
	}
	if len(sent) != 1 {
		return false
	}
	digest := sha256.Sum256([]byte(sent[0]))
	return subtle.ConstantTimeCompare(digest[:], d.secret[:]) == 1
}

// verifiedLeaf is the client certificate, if the TLS layer has verified it.
func verifiedLeaf(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// certificateName is the name in a verified client certificate, else empty.
func certificateName(state *tls.ConnectionState) string {
	leaf := verifiedLeaf(state)
	switch {
	case leaf == nil:
		return ""
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	}
	return leaf.Subject.CommonName
}

// clientIP walks X-Forwarded-For from the right, where the nearest hop wrote,
// over the hops that are trusted, to the first that is not: what stands left of
// it is the client's own invention (oauth2-proxy PR#3478). Junk on that way
// makes the address unknown, never guessed (heimdall GHSA-38x9-25wx-7fg2).
// If every hop is trusted, the leftmost is the client.
func (d *Doors) clientIP(lines []string) netip.Addr {
	var client netip.Addr
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for more := true; more; {
			var hop string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, hop = rest[:cut], rest[cut+1:]
			} else {
				hop, more = rest, false
			}
			a, ok := parseHop(strings.Trim(hop, " \t"))
			if !ok {
				return netip.Addr{}
			}
			client = a
			if !d.trusts(a) {
				return client
			}
		}
	}
	return client
}

// parseHop reads an address, with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	if a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
