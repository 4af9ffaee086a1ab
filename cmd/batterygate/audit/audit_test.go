package audit_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func mac(key string) func([]byte) []byte {
	return func(data []byte) []byte {
		h := hmac.New(sha256.New, []byte(key))
		h.Write(data)
		return h.Sum(nil)
	}
}

func openStore(t testing.TB) *boltstore.Store {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "b.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// world is a store and a process that writes its audit.
type world struct {
	*audit.Log
	st     *boltstore.Store
	logged *bytes.Buffer
	now    time.Time
}

func newWorld(t testing.TB) *world {
	w := &world{st: openStore(t), logged: &bytes.Buffer{}, now: noon}
	w.Log = w.process()
	return w
}

// process is another process on the same store.
func (w *world) process() *audit.Log {
	return audit.New(audit.Options{Store: w.st, MAC: mac("k"), Now: func() time.Time { return w.now }, Log: slog.New(slog.NewJSONHandler(w.logged, nil))})
}

func act(actor, action, org string) audit.Act {
	return audit.Act{Actor: engine.Actor{Kind: "token", ID: actor, Roles: []string{}, Scopes: []string{"operator"}}, Action: action,
		Resource: engine.Resource{Type: "app", ID: "crm." + org, OrganizationID: org}, Request: map[string]any{"id": "crm." + org, "n": 12345678901234567}, RemoteIP: "127.0.0.1"}
}

func (w *world) do(t testing.TB, a audit.Act) {
	t.Helper()
	p, err := w.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.End(t.Context(), audit.Outcome{Result: audit.Done, Status: 200, Before: nil, After: map[string]string{"v": "<new & \u2028>"}}); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, l *audit.Log) audit.Report {
	t.Helper()
	r, err := l.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnActLeavesIntentAndOutcome(t *testing.T) {
	w := newWorld(t)
	if r := verify(t, w.Log); !r.Intact || r.Entries != 0 || !r.Keyed {
		t.Fatalf("an empty audit: %+v", r)
	}
	w.do(t, act("token_1", "apps.create", "acme"))
	if err := w.Record(t.Context(), act("token_1", "apps.delete", "globex"), audit.Outcome{Result: audit.Refused, Status: 403, Detail: "no"}); err != nil {
		t.Fatal(err)
	}
	got, next, err := w.List(t.Context(), audit.Query{})
	if err != nil || next != "" || len(got) != 3 {
		t.Fatalf("list: %v %q %v", got, next, err)
	}
	refused, ended, intent := got[0], got[1], got[2]
	if refused.Kind != audit.Whole || refused.Result != audit.Refused || refused.Status != 403 || refused.Detail != "no" || refused.Seq != 3 {
		t.Errorf("refused: %+v", refused)
	}
	if ended.Kind != audit.Ended || ended.Intent != 1 || string(ended.After) != "{\"v\":\"<new & \\u2028>\"}" || ended.Before != nil || ended.Action != "apps.create" {
		t.Errorf("outcome: %+v %s", ended, ended.After)
	}
	if intent.Kind != audit.Intent || string(intent.Request) != `{"id":"crm.acme","n":12345678901234567}` || intent.RemoteIP != "127.0.0.1" || !intent.Time.Equal(noon) || intent.Prev != "" || ended.Prev != intent.Hash {
		t.Errorf("intent: %+v", intent)
	}
	r := verify(t, w.Log)
	if !r.Intact || r.Entries != 3 || r.HeadSeq != 3 || r.HeadHash != refused.Hash || len(r.Open) != 0 {
		t.Errorf("verify: %+v", r)
	}
	for _, e := range got {
		if !strings.Contains(w.logged.String(), fmt.Sprintf(`"seq":%d,"hash":%q`, e.Seq, e.Hash)) {
			t.Errorf("entry %d has no witness in the log", e.Seq)
		}
	}
}

func TestACrashInAnActIsShown(t *testing.T) {
	w := newWorld(t)
	w.do(t, act("token_1", "apps.create", "acme"))
	if _, err := w.Begin(t.Context(), act("token_2", "apps.delete", "acme")); err != nil {
		t.Fatal(err)
	}
	w.do(t, act("token_1", "apps.create", "acme"))
	r := verify(t, w.process()) // the next start
	if !r.Intact || len(r.Open) != 1 || r.Open[0] != (audit.Open{Seq: 3, Time: noon, Actor: "token:token_2", Action: "apps.delete"}) {
		t.Fatalf("%+v", r)
	}
}

func TestTheOutcomeIsStoredThoughTheCallerHungUp(t *testing.T) {
	w := newWorld(t)
	ctx, hangUp := context.WithCancel(t.Context())
	p, err := w.Begin(ctx, act("token_1", "apps.create", "acme"))
	if err != nil {
		t.Fatal(err)
	}
	hangUp()
	if err := p.End(ctx, audit.Outcome{Result: audit.Done}); err != nil {
		t.Fatal(err)
	}
	if err := p.End(t.Context(), audit.Outcome{Result: audit.Failed}); !errors.Is(err, audit.ErrEnded) {
		t.Errorf("a second outcome: %v", err)
	}
	if err := w.Record(ctx, act("token_1", "apps.create", "acme"), audit.Outcome{Result: audit.Refused}); err != nil {
		t.Errorf("a refusal of one who hung up: %v", err)
	}
	if _, err := w.Begin(ctx, act("token_1", "apps.create", "acme")); err == nil {
		t.Error("an act was begun for nobody")
	}
	if r := verify(t, w.Log); !r.Intact || r.Entries != 3 || len(r.Open) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestWithoutTheStoreNothingBegins(t *testing.T) {
	w := newWorld(t)
	w.st.Close()
	if _, err := w.Begin(t.Context(), act("token_1", "apps.create", "acme")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("begin: %v", err)
	}
	if _, err := w.Verify(t.Context()); err == nil {
		t.Error("what cannot be read was found intact")
	}
}

func TestReplicasAppendToOneChain(t *testing.T) {
	w := newWorld(t)
	w.logged = &bytes.Buffer{}
	var wg sync.WaitGroup
	for i := range 4 {
		l := audit.New(audit.Options{Store: w.st, MAC: mac("k"), Log: slog.New(slog.DiscardHandler)})
		for j := range 2 {
			wg.Go(func() {
				for range 20 {
					p, err := l.Begin(t.Context(), act(fmt.Sprintf("token_%d_%d", i, j), "apps.update", "acme"))
					if err == nil {
						err = p.End(t.Context(), audit.Outcome{Result: audit.Done})
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	for range 20 { // and whoever verifies meanwhile sees a whole chain
		if r := verify(t, w.Log); !r.Intact {
			t.Errorf("meanwhile: %+v", r)
		}
	}
	wg.Wait()
	if r := verify(t, w.Log); !r.Intact || r.Entries != 320 || r.HeadSeq != 320 || len(r.Open) != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestListPagesAndFilters(t *testing.T) {
	w := newWorld(t)
	for i := range 120 { // 240 entries: three blocks
		w.now = noon.Add(time.Duration(i) * time.Minute)
		w.do(t, act(fmt.Sprintf("token_%d", i%3), []string{"apps.create", "apps.delete", "tokens.create"}[i%3], []string{"acme", "globex"}[i%2]))
	}
	all := func(q audit.Query) (out []audit.Entry) {
		for {
			got, next, err := w.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if out = append(out, got...); next == "" {
				return out
			}
			q.Cursor = next
		}
	}
	for name, c := range map[string]struct {
		q    audit.Query
		want int
	}{
		"everything": {audit.Query{Limit: 7}, 240}, "an organization": {audit.Query{Organization: "acme", Limit: 500}, 120},
		"an action": {audit.Query{Action: "apps.create"}, 80}, "a family of actions": {audit.Query{Action: "apps.*"}, 160},
		"an actor": {audit.Query{Actor: "token:token_1"}, 80}, "an actor's id": {audit.Query{Actor: "token_1"}, 80}, "nobody": {audit.Query{Actor: "token"}, 0},
		"a resource": {audit.Query{Resource: "app:crm.acme"}, 120}, "a resource's id": {audit.Query{Resource: "crm.acme"}, 120},
		"from": {audit.Query{From: noon.Add(110 * time.Minute)}, 20}, "to": {audit.Query{To: noon.Add(10 * time.Minute)}, 20},
		"between": {audit.Query{From: noon.Add(10 * time.Minute), To: noon.Add(20 * time.Minute), Organization: "acme", Limit: 3}, 10},
	} {
		got := all(c.q)
		if len(got) != c.want {
			t.Errorf("%s: %d entries, want %d", name, len(got), c.want)
		}
		for i := 1; i < len(got); i++ {
			if got[i].Seq >= got[i-1].Seq {
				t.Fatalf("%s: not newest first, or told twice", name)
			}
		}
	}
	for _, bad := range []string{"x", "0", "-1", "99999999999999999999999"} {
		if _, _, err := w.List(t.Context(), audit.Query{Cursor: bad}); !errors.Is(err, audit.ErrBadCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}

func TestEntriesStayBelowTheStoresLimits(t *testing.T) {
	w := newWorld(t)
	huge := strings.Repeat("x", 3<<20)
	a := act(huge, huge, huge)
	a.Request, a.RemoteIP = map[string]string{"v": huge}, huge
	for range 500 {
		a.Actor.Scopes = append(a.Actor.Scopes, huge)
	}
	p, err := w.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.End(t.Context(), audit.Outcome{Result: huge, Detail: "\xff" + huge, Before: huge, After: make(chan int)}); err != nil {
		t.Fatal(err)
	}
	got, _, err := w.List(t.Context(), audit.Query{})
	if err != nil || len(got) != 2 {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(`{"v":"` + huge + `"}`))
	if want := fmt.Sprintf(`{"length":%d,"sha256":"%x"}`, len(huge)+8, sum); string(got[1].Request) != want {
		t.Errorf("request: %s, want %s", got[1].Request, want)
	}
	if !strings.Contains(string(got[0].After), "unreadable") {
		t.Errorf("after: %s", got[0].After)
	}
	if r := verify(t, w.Log); !r.Intact {
		t.Errorf("%+v", r)
	}
}
