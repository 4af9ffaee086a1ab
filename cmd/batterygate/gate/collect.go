package gate

import (
	"context"
	"errors"
	"time"
)

// The chores that are done now and then.
const (
	collectEvery = 6 * time.Hour // drop what is kept no longer
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

// collect deletes what is kept no longer.
func (g *Gate) collect(ctx context.Context) error {
	return g.chore(ctx, collectEvery, "collect what is kept no longer", g.collectOnce)
}

// collectOnce does each of them, though another fails.
func (g *Gate) collectOnce(ctx context.Context) error {
	facts, err := g.Directory.Collect(ctx, g.Now())
	tokens, err2 := g.Tokens.Collect(ctx)
	// The audit logs what it prunes by itself.
	_, err3 := g.audit.Prune(ctx, g.cfg.Retention.Audit)
	if facts > 0 || tokens > 0 {
		g.Log.InfoContext(ctx, "collected what is kept no longer", "directory_facts", facts, "expired_tokens", tokens)
	}
	return errors.Join(err, err2, err3)
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
