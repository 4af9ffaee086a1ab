package gate

import (
	"context"
	"log/slog"
	"time"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

// openAudit opens the record of admin acts, before anything else that the store
// keeps the keys of.
func (g *Gate) openAudit(ctx context.Context) (err error) {
	g.audit, err = newAudit(ctx, g.keys, g.store, g.Now, g.Log)
	return err
}

// newAudit opens the audit of a store. Its chain is keyed by a key that the
// store holds only wrapped.
func newAudit(ctx context.Context, ring *keys.Ring, st store.Store, now func() time.Time, log *slog.Logger) (*audit.Log, error) {
	// The server makes its other keys after it has begun the audit: where they
	// are, there was one.
	used, err := keys.Used(ctx, st)
	if err != nil {
		return nil, err
	}
	mac, err := ring.AuditMAC(ctx, st)
	if err != nil {
		return nil, err
	}
	l := audit.New(audit.Options{Store: st, MAC: mac, Now: now, Log: log})
	return l, l.Open(ctx, used)
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
