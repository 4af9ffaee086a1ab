package gate

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/console"
	"battery.app/gate/sync/directory"
)

// console are the operators' pages, over the API's own routes.
func (g *Gate) console(admin *api.API) (*console.Console, error) {
	o := console.Options{URL: g.adminURL(), API: admin, Tokens: g.Tokens, Server: g.server, Audit: g.audit, Now: g.Now, Log: g.Log}
	if g.cfg.Operators.Organization != "" {
		o.Operators, o.PublicURL, o.SignIn = g.cfg.Operators.Organization, g.publicURL(), g.sso
		o.Directory = func() *directory.View { return g.Directory.View() }
	}
	return console.New(o)
}

// server is what the console shows of this process.
func (g *Gate) server(ctx context.Context) console.Server {
	s := console.Server{Version: g.Version, NotReady: g.notReady(ctx)}
	if now := g.engine.Current(); now != nil {
		s.PolicyRevision, s.DataRevision = now.PolicyRevision(), now.DataRevision()
	}
	revision, err := g.admin.InForce()
	if err != nil {
		revision = "none can be used: everything but a break-glass token is refused"
	}
	s.AdminPolicy = revision
	return s
}

// adminURL is where browsers reach the console: as configured, else the admin
// listener where it is on loopback, or on every address and so on loopback too.
// nil: there is no such place.
func (g *Gate) adminURL() *url.URL {
	if u := g.cfg.AdminURL(); u != nil {
		return u
	}
	at, err := netip.ParseAddrPort(g.Listeners.Admin.Addr().String())
	if err != nil {
		return nil
	}
	ip := at.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if !ip.IsLoopback() {
		return nil
	}
	_, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return nil
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(ip.String(), port)}
}

// adminHosts are the names that the admin listener answers to beside loopback's.
func (g *Gate) adminHosts() []string {
	hosts := slices.Clone(g.cfg.Listen.AdminHosts)
	if u := g.cfg.AdminURL(); u != nil {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}
