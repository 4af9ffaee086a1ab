package gate

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"battery.app/gate/sso/oidc"
)

// providers makes the configured OpenID providers. It asks nothing of them: one
// that is down delays its own people alone.
func (g *Gate) providers() ([]*oidc.Provider, error) {
	var out []*oidc.Provider
	for i := range g.cfg.OIDC {
		c := &g.cfg.OIDC[i]
		p, err := oidc.New(oidc.Config{
			OrganizationID: c.Organization, ID: c.ID, Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.Secret(),
			Scopes: c.Scopes, GroupsClaim: c.GroupsClaim, TrustEmail: c.TrustEmail, KeepProviderSession: c.KeepSession, Now: g.Now,
		})
		if err != nil {
			return nil, fmt.Errorf("oidc %q: %w", c.ID, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (g *Gate) connectionOwner(id string) (string, bool) {
	c, ok := g.Directory.View().Connection(id)
	return c.OrganizationID, ok
}

// frontApp is where an organization's people land who name no app: its first.
func (g *Gate) frontApp(organizationID string) (string, bool) {
	for _, app := range g.Apps.View().List() {
		if app.OrganizationID == organizationID {
			return app.ID, true
		}
	}
	return "", false
}

// clientIP is who asks the public listener: the peer, or, where the peer is a
// trusted gateway, the first address from the right of X-Forwarded-For that is
// not one. What a client writes there itself stands further left.
func clientIP(trusted []netip.Prefix, r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && within(trusted, at); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		at = next
	}
	return at.Unmap()
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
