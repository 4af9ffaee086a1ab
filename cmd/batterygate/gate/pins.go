package gate

import (
	"context"
	"errors"
	"strings"
	"time"

	"battery.app/gate/sso"
	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

// pinDelay lets a burst of directory changes settle into one look.
const pinDelay = 250 * time.Millisecond

// pins links people who signed in before the directory knew them: when users
// change, the sessions that have no pinned link are looked at again. Until a
// link is pinned the directory resolves it afresh for every decision; the pin
// only keeps it from moving later, so it may come a moment after.
type pins struct {
	links *links
	kick  chan struct{} // holds one token while users changed since the last look
}

func newPins(g *Gate) *pins { return &pins{links: &links{g}, kick: make(chan struct{}, 1)} }

// Load marks everything as changed.
func (p *pins) Load([]store.Entry) { p.changed() }

// Apply marks that directory users changed.
func (p *pins) Apply(c store.Change) {
	for _, e := range c.Entries {
		if strings.HasPrefix(e.Key, directory.Prefix+"user/") && !e.Deleted {
			p.changed()
			return
		}
	}
}

func (p *pins) changed() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *pins) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.kick:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pinDelay):
		}
		p.pinAll(ctx)
	}
}

func (p *pins) pinAll(ctx context.Context) {
	g := p.links.g
	for _, s := range g.sessions.List(sso.Filter{}) {
		if ctx.Err() != nil {
			return
		}
		if err := p.links.Linked(ctx, s.Session); err != nil && !errors.Is(err, context.Canceled) {
			g.Log.WarnContext(ctx, "pin a profile to its directory user", "session_id", s.ID, "error", err)
		}
	}
}
