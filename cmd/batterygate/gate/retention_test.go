package gate_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

// years is a gate that is started again and again, over years.
type years struct {
	cfg config.Config
	now time.Time
}

func newYears(t *testing.T) *years {
	dir := t.TempDir()
	if _, err := keys.GenerateRootKey(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("sk_test_0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	y := &years{cfg: config.Default(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	y.cfg.PublicURL, y.cfg.Domain = "http://127.0.0.1:1", "battery.localhost"
	y.cfg.Gateway.Trusted = []string{"127.0.0.0/8"}
	y.cfg.WorkOS.APIKeyFile, y.cfg.WorkOS.ClientID, y.cfg.WorkOS.WebhookSecretsFiles = secret, "client_1", []string{secret}
	y.cfg.Sync.CatchUp = false
	y.cfg.Session.KeysDir = filepath.Join(dir, "keys")
	y.cfg.Store, y.cfg.Decisions = "bolt:"+filepath.Join(dir, "b.db"), "sqlite:"+filepath.Join(dir, "d.db")
	if faults := y.cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	return y
}

// run opens the gate for as long as do takes.
func (y *years) run(t *testing.T, do func(g *gate.Gate)) {
	t.Helper()
	l, err := gate.Bind(config.Listen{Public: "127.0.0.1:0", Authz: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.Open(t.Context(), &y.cfg, gate.Options{Listeners: l, Version: "test", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return y.now }})
	if err != nil {
		t.Fatal(err)
	}
	do(g)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// store opens the store while no gate runs.
func (y *years) store(t *testing.T, do func(st *boltstore.Store)) {
	t.Helper()
	st, err := boltstore.Open(strings.TrimPrefix(y.cfg.Store, "bolt:"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	do(st)
}

func (y *years) drop(t *testing.T, prefix string) {
	t.Helper()
	y.store(t, func(st *boltstore.Store) {
		found, _, err := st.List(t.Context(), prefix)
		if err != nil || len(found) == 0 {
			t.Fatal("nothing to delete", err)
		}
		if _, err := st.Update(t.Context(), func(tx store.Tx) error {
			for _, e := range found {
				if err := tx.Delete(e.Key); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func report(t *testing.T, g *gate.Gate) audit.Report {
	t.Helper()
	r, err := g.Audit().Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheGatePrunesWhatItKeepsNoLonger(t *testing.T) {
	y := newYears(t)
	y.run(t, func(g *gate.Gate) {
		if _, _, err := g.Tokens.Create(t.Context(), "short", []string{"read"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := g.Audit().Record(t.Context(), audit.Act{Actor: engine.Actor{Kind: "token"}, Action: "apps.create"}, audit.Outcome{Result: audit.Done}); err != nil {
			t.Fatal(err)
		}
		if err := g.CollectOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := report(t, g); !r.Intact || r.Entries != 2 || r.Pruned != nil || !r.Keyed {
			t.Errorf("%+v", r)
		}
	})
	y.now = y.now.Add(402 * 24 * time.Hour)
	y.cfg.Retention.Audit = 0
	y.run(t, func(g *gate.Gate) {
		if err := g.CollectOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := report(t, g); !r.Intact || r.Entries != 2 || r.Pruned != nil {
			t.Errorf("kept for ever: %+v", r)
		}
	})
	y.cfg.Retention = config.Default().Retention
	y.run(t, func(g *gate.Gate) {
		if err := g.CollectOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := report(t, g); !r.Intact || r.Entries != 1 || r.Pruned == nil || r.Pruned.Seq != 2 || r.Pruned.Kept != "9600h0m0s" {
			t.Errorf("kept 400 days: %+v", r)
		}
	})
	y.store(t, func(st *boltstore.Store) {
		if left, _, err := st.List(t.Context(), "admin/token/"); err != nil || len(left) != 0 {
			t.Errorf("%d records of tokens, %v", len(left), err)
		}
	})
}

func TestAGateWhoseAuditWasDeletedSaysSo(t *testing.T) {
	for name, also := range map[string]string{"the audit": "", "the audit and its key": keys.Prefix + "audit"} {
		t.Run(name, func(t *testing.T) {
			y := newYears(t)
			for range 2 {
				y.run(t, func(g *gate.Gate) {
					if r := report(t, g); !r.Intact || r.Entries != 1 {
						t.Fatalf("a new gate, started twice: %+v", r)
					}
				})
			}
			y.drop(t, audit.Prefix)
			if also != "" {
				y.drop(t, also)
			}
			for range 2 {
				y.run(t, func(g *gate.Gate) {
					if r := report(t, g); r.Intact || r.FirstBroken != 1 {
						t.Errorf("%+v", r)
					}
				})
			}
		})
	}
}

// A token made before the first start must not make that start look like one
// after a deletion.
func TestATokenMadeBeforeTheFirstStartBeginsTheAudit(t *testing.T) {
	for _, known := range []bool{true, false} {
		y := newYears(t)
		dir := ""
		if known {
			dir = y.cfg.Session.KeysDir
		}
		if _, err := gate.CreateToken(t.Context(), y.cfg.Store, dir, gate.TokenRequest{Name: "setup", Scopes: []string{"operator"}}, func() time.Time { return y.now }); err != nil {
			t.Fatal(err)
		}
		y.run(t, func(g *gate.Gate) {
			if r := report(t, g); !r.Intact || r.Entries != map[bool]uint64{true: 3, false: 1}[known] {
				t.Errorf("keys known: %v: %+v", known, r)
			}
		})
	}
}
