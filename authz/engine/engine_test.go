package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
)

func TestCurrentIsNilBeforeTheFirstPublish(t *testing.T) {
	e := engine.New()
	if s := e.Current(); s != nil {
		t.Fatalf("got %#v", s)
	}
	e.Publish(compile(t, shipped(t, "authz"), options(t)), registry{}, &directory{}, 7)
	if s := e.Current(); s == nil || s.DataRevision() != 7 {
		t.Fatalf("got %#v", s)
	}
}

func TestSnapshotIsOneState(t *testing.T) {
	p := compile(t, shipped(t, "authz"), options(t))
	session, user := ada()
	e := engine.New()
	e.Publish(p, registry{"crm": crm()}, &directory{
		users: map[string]*authz.User{session.ID: user}, stale: map[string]bool{"org_acme": true},
	}, 1)
	old := e.Current()
	e.Publish(p, registry{}, &directory{ended: map[string]bool{session.ID: true}}, 2)

	if a, ok := old.App("crm"); !ok || a.ID != "crm.acme" {
		t.Error("the old snapshot lost its app")
	}
	if u, ended := old.User(session); u != user || ended {
		t.Error("the old snapshot lost its user")
	}
	if !old.Stale("org_acme") || old.DataRevision() != 1 || old.PolicyRevision() != p.Revision() {
		t.Error("the old snapshot changed")
	}
	now := e.Current()
	if _, ok := now.App("crm"); ok {
		t.Error("the new snapshot has the old app")
	}
	if u, ended := now.User(session); u != nil || !ended {
		t.Error("the new snapshot does not know that the session ended")
	}
	if now.Stale("org_acme") || now.DataRevision() != 2 {
		t.Error("the new snapshot is not the new state")
	}
}

func TestWait(t *testing.T) {
	p := compile(t, rules(`decision := {"allow": true}`), options(t))
	e := engine.New()
	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := e.Wait(ctx, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ends when the revision is there, not before", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done := make(chan uint64, 3)
		var wg sync.WaitGroup
		for _, revision := range []uint64{1, 2, 3} {
			wg.Go(func() {
				if err := e.Wait(ctx, revision); err != nil {
					t.Error(err)
				}
				if got := e.Current().DataRevision(); got < revision {
					t.Errorf("waited for %d, got %d", revision, got)
				}
				done <- revision
			})
		}
		e.Publish(p, registry{}, &directory{}, 1)
		<-done
		e.Publish(p, registry{}, &directory{}, 5)
		wg.Wait()
		if err := e.Wait(ctx, 5); err != nil {
			t.Error(err)
		}
	})
}

// Many goroutines evaluate while others publish: each decision is that of one
// snapshot, whole.
func TestEvaluateWhilePublishing(t *testing.T) {
	text := `decision := {"allow": true, "roles": {r | some g in input.user.groups; some r in data.battery.role_mappings[g.id]},
		"reasons": [{"code": "version", "message": data.battery.role_mappings.version[0]}]}`
	mapped, ladder := compile(t, rules(text), options(t)), compile(t, shipped(t, "authz"), options(t))
	state := func(v uint64) *directory {
		return &directory{version: v, mappings: map[string]map[string][]string{"org_acme": {
			"version": {fmt.Sprint(v)}, "directory_group_engineering": {fmt.Sprint("role", v)},
		}}}
	}
	e := engine.New()
	e.Publish(mapped, registry{}, state(1), 1)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			shared := question()
			for range 200 {
				snap := e.Current()
				v, err := snap.Evaluate(context.Background(), shared)
				if err != nil || !v.Allow {
					t.Errorf("got %+v, %v", v, err)
					return
				}
				if snap.PolicyRevision() != mapped.Revision() {
					continue
				}
				want := fmt.Sprint(snap.DataRevision())
				if v.Reasons[0].Message != want || v.Roles[0] != "role"+want {
					t.Errorf("snapshot %s answered %+v", want, v)
				}
			}
		})
	}
	for v := uint64(2); v < 200; v++ {
		p := mapped
		if v%5 == 0 {
			p = ladder
		}
		e.Publish(p, registry{}, state(v), v)
	}
	wg.Wait()
}

// Checker bounds the readings of one path by it; see authz.EvaluateEvery.
func TestASnapshotSaysHowLongAnEvaluationMayTake(t *testing.T) {
	b, ok := publish(compile(t, shipped(t, "authz"), options(t)), &directory{}).(interface{ Budget() time.Duration })
	if !ok || b.Budget() <= 0 {
		t.Errorf("%T has no time budget", b)
	}
}
