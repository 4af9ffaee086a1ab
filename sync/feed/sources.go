package feed

import (
	"net/http"
	"net/netip"
	"strings"
)

// sources says who may post. WorkOS publishes the addresses that its webhooks
// come from; they are an operator's to configure, because they change without
// this program. The list comes before the signature and never in its place.
type sources struct {
	allow   []netip.Prefix // empty: any
	trusted []netip.Prefix // proxies in front, whose X-Forwarded-For is believed
}

// allowed reports whether a request comes from an allowed address.
func (s *sources) allowed(r *http.Request) bool {
	if len(s.allow) == 0 {
		return true
	}
	a, ok := s.client(r)
	return ok && contains(s.allow, a)
}

// client is the address that a request comes from: the peer, or, where that is
// a trusted proxy, the last address in X-Forwarded-For that no trusted proxy
// has. Proxies append to the right, so what an untrusted sender wrote stands to
// the left of its own address and is not looked at. A header that cannot be
// read up to there names nobody.
func (s *sources) client(r *http.Request) (netip.Addr, bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	a := plain(peer.Addr())
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && contains(s.trusted, a); i-- {
		hop := strings.TrimSpace(hops[i])
		if hop == "" && len(hops) == 1 {
			break // no header
		}
		next, ok := readHop(hop)
		if !ok {
			return netip.Addr{}, false
		}
		a = next
	}
	return a, true
}

// readHop reads an address with or without a port.
func readHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return plain(a), true
	}
	ap, err := netip.ParseAddrPort(s)
	return plain(ap.Addr()), err == nil
}

// plain makes an IPv4 address in IPv6 dress, or one with a zone, what prefixes
// are written for.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
