package sso_test

import (
	"context"
	"strings"
	"sync"
	"time"

	"battery.app/gate/authz"
)

// What a world has around it: its clock, its log, how far it has read the store,
// its apps and its directory.

type clock struct {
	mu *sync.Mutex
	at *time.Time
}

func newClock() clock {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return clock{new(sync.Mutex), &at}
}

func (c clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.at
}

func (c clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.at = c.at.Add(d)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// progress is how far this process has read the store.
type progress struct {
	mu       sync.Mutex
	revision uint64
	moved    chan struct{}
}

func (p *progress) to(revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revision = revision
	close(p.moved)
	p.moved = make(chan struct{})
}

func (p *progress) wait(ctx context.Context, revision uint64) error {
	for {
		p.mu.Lock()
		done, moved := p.revision >= revision, p.moved
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type appView map[string]*authz.App

func (v appView) ByID(id string) (*authz.App, bool) { a, ok := v[id]; return a, ok }

func (v appView) App(host string) (*authz.App, bool) {
	for _, a := range v {
		if a.HasAuthority(host, "") {
			return a, true
		}
	}
	return nil, false
}

// gone is a directory that knows which users were deleted.
type gone struct {
	mu     sync.Mutex
	users  map[string]bool
	held   map[string]bool
	linked []string
}

func (g *gone) MayOpen(s *authz.Session) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.held[s.UserID]
}

func (g *gone) hold(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = map[string]bool{user: true}
}

func (g *gone) Linked(_ context.Context, s *authz.Session) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.linked = append(g.linked, s.UserID)
	return nil
}

func (g *gone) Ended(s *authz.Session) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.users[s.UserID]
}

func (g *gone) remove(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users[user] = true
}

func (g *gone) bringBack(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.users, user)
}
