package gate

import (
	"context"
	"time"
)

// The chores that are done now and then.
const (
	collectEvery = 6 * time.Hour // drop what no event can need any more
	probesEvery  = time.Minute   // drop probes that are over
	keyLook      = time.Hour     // see whether keys are old
	keyAge       = 30 * 24 * time.Hour
)

// chore does something every so often until ctx ends. A failure is logged and
// tried again: none of them is worth stopping for.
func (g *Gate) chore(ctx context.Context, every time.Duration, what string, do func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := do(ctx); err != nil && ctx.Err() == nil {
			g.Log.WarnContext(ctx, "a chore failed; it will be tried again", "chore", what, "error", err)
		}
	}
}

// collect drops old directory facts; keeping them costs nothing but space.
func (g *Gate) collect(ctx context.Context) error {
	return g.chore(ctx, collectEvery, "collect old directory facts", func(ctx context.Context) error {
		n, err := g.Directory.Collect(ctx, g.Now())
		if err == nil && n > 0 {
			g.Log.InfoContext(ctx, "collected old directory facts", "dropped", n)
		}
		return err
	})
}

func (g *Gate) collectProbes(ctx context.Context) error {
	return g.chore(ctx, probesEvery, "drop probes that are over", g.probes.Collect)
}

// rotateKeys replaces keys that are old, of every purpose. Replicas and apps
// learn of the next one before it signs.
func (g *Gate) rotateKeys(ctx context.Context) error {
	return g.chore(ctx, keyLook, "rotate keys", func(ctx context.Context) error {
		_, err := g.sso.RotateOlder(ctx, keyAge)
		return err
	})
}
