package gate

import (
	"fmt"

	"battery.app/gate/authz/machines"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/probe"
)

// openMachines wires what machines prove themselves with: JWTs of the
// configured issuers, service tokens of ours, and probes.
func (g *Gate) openMachines() (err error) {
	g.Tokens = &api.Tokens{Store: g.store, Now: g.Now, Log: g.Log}
	g.probes = &probe.Room{Store: g.store, Now: g.Now, Log: g.Log}
	g.services = &api.ServiceTokens{Store: g.store, Now: g.Now, Log: g.Log}
	o := machines.Options{ServiceTokens: g.services, Used: g.services.Used, Now: g.Now, Log: g.Log}
	for _, i := range g.cfg.Machines.Issuers {
		o.Issuers = append(o.Issuers, machines.Issuer{
			URL: i.URL, OrganizationID: i.Organization, JWKSURL: i.JWKSURL, JWKSFile: i.JWKSFile, Algorithms: i.Algorithms,
			RolesClaim: i.RolesClaim, Roles: i.Roles, Claims: i.Claims, MaxLifetime: i.MaxLifetime,
		})
	}
	if g.machines, err = machines.New(o); err != nil {
		return fmt.Errorf("machines.issuers: %w", err)
	}
	for _, app := range g.cfg.Registered() {
		if problems := g.machines.Problems(&app); app.TakesMachines() && len(problems) > 0 {
			return fmt.Errorf("app %s: machines: %v", app.ID, problems)
		}
	}
	return nil
}
