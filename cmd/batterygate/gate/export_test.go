package gate

import (
	"context"
	"log/slog"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/store/boltstore"
)

// What the tests look at from outside.
var (
	ClientIP = clientIP
	Joined   = joined
)

type Room = room

// LoadFacts loads rooms from a store, and returns the revision that was published.
func LoadFacts(ctx context.Context, st *boltstore.Store, rooms ...Room) (published uint64, err error) {
	f := &facts{store: st, rooms: rooms, publish: func(r uint64) { published = r }, log: slog.New(slog.DiscardHandler)}
	if at, err := f.load(ctx); err != nil || at != published {
		return 0, err
	}
	return published, nil
}

// CollectOnce does the collector's chore.
func (g *Gate) CollectOnce(ctx context.Context) error { return g.collectOnce(ctx) }

// Audit is the gate's own.
func (g *Gate) Audit() *audit.Log { return g.audit }
