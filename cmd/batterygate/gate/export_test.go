package gate

import (
	"context"
	"log/slog"

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
