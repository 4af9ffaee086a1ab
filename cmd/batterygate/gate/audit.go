package gate

import (
	"context"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sso"
)

// openAudit opens the record of admin acts. Its chain is keyed by a key that
// the store holds only wrapped.
func (g *Gate) openAudit(ctx context.Context) error {
	mac, err := g.keys.AuditMAC(ctx, g.store)
	if err != nil {
		return err
	}
	g.audit = audit.New(audit.Options{Store: g.store, MAC: mac, Now: g.Now, Log: g.Log})
	return nil
}

// rotator is what the admin API asks of the keys.
type rotator struct{ sso *sso.Service }

func (r rotator) Rotate(ctx context.Context, purpose string) error {
	return r.sso.RotatePurpose(ctx, purpose)
}

func (r rotator) KeyInfo(ctx context.Context) ([]api.KeyInfo, error) {
	list, err := r.sso.KeyInfo(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.KeyInfo, 0, len(list))
	for _, k := range list {
		info := api.KeyInfo{Purpose: k.Purpose, ID: k.ID, State: k.State, Created: k.Created, RetiresAt: k.RetiresAt}
		if !k.SignsFrom.IsZero() {
			info.SignsFrom = &k.SignsFrom
		}
		out = append(out, info)
	}
	return out, nil
}
