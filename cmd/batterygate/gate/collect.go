package gate

import (
	"context"
	"time"
)

// collectEvery is how often what is no longer needed of old events is dropped.
const collectEvery = 6 * time.Hour

// collect drops what no event can need any more. A failure costs nothing but
// space and is tried again.
func (g *Gate) collect(ctx context.Context) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		n, err := g.Directory.Collect(ctx, g.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			g.Log.WarnContext(ctx, "collect old directory facts", "error", err)
		case n > 0:
			g.Log.InfoContext(ctx, "collected old directory facts", "dropped", n)
		}
	}
}
