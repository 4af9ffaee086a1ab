package sso_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
)

// decided is a decision as only Checker can make one.
type decided struct {
	app     *authz.App
	session *authz.Session
	user    *authz.User
	roles   []string
	deny    bool
}

func (d decided) Current() authz.Snapshot                 { return d }
func (d decided) App(string) (*authz.App, bool)           { return d.app, true }
func (d decided) User(*authz.Session) (*authz.User, bool) { return d.user, false }
func (d decided) Stale(string) bool                       { return false }
func (d decided) ReadsQuery() bool                        { return false }
func (d decided) PolicyRevision() string                  { return "1" }
func (d decided) DataRevision() uint64                    { return 1 }
func (d decided) Record(*authz.Record)                    {}
func (d decided) Session(time.Time, *authz.App, string, []string) (*authz.Session, string) {
	return d.session, authz.CodeNoSession
}
func (d decided) Evaluate(context.Context, *authz.Input) (authz.Verdict, error) {
	return authz.Verdict{Allow: !d.deny, Roles: d.roles}, nil
}

func (d decided) make(t *testing.T) *authz.Decision {
	t.Helper()
	meter, err := authz.NewTelemetry(tracenoop.NewTracerProvider().Tracer(""), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	c := authz.Checker{Snapshots: d, Sessions: d, Recorder: d, Telemetry: meter, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	return c.Check(context.Background(), &authz.Request{Method: "GET", Scheme: "https", Host: "crm.acme.example", Path: "/"})
}

func TestAssertion(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	session := ada.mustBe(w.crm, "ada@acme.test")
	d := decided{app: w.apps["crm.acme"], session: session, roles: []string{"member", "editor"},
		user: &authz.User{ID: "directory_user_1", Groups: []authz.Group{{ID: "g1"}, {ID: "g2"}}}}
	assertion := func(d *authz.Decision) string {
		t.Helper()
		got, err := w.service.Assertion(d, "crm.acme.example")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	read := func(token string) (out map[string]any) {
		t.Helper()
		var set jose.JSONWebKeySet
		res := w.browser().get(w.public + "/.well-known/jwks.json")
		if err := json.Unmarshal([]byte(res.body), &set); err != nil || res.StatusCode != http.StatusOK || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
			t.Fatalf("key set: %v %s", err, res.body)
		}
		signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := signed.Verify(set)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(payload, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := assertion(d.make(t))
	t.Run("says who, for whom, and for how long", func(t *testing.T) {
		c := read(first)
		now := float64(w.now.Now().Unix())
		if c["iss"] != w.public || c["aud"] != "crm.acme.example" || c["sub"] != "prof_ada@acme.test" || c["org"] != "org_acme" ||
			c["email"] != "ada@acme.test" || c["sid"] != session.ID || c["iat"] != now || c["exp"] != now+300 || c["groups_count"] != 2.0 {
			t.Fatalf("%v", c)
		}
		if r, _ := json.Marshal(c["roles"]); string(r) != `["editor","member"]` {
			t.Fatalf("roles %s", r)
		}
	})
	t.Run("is used again until it nears its end", func(t *testing.T) {
		w.now.add(3*time.Minute + 59*time.Second)
		if assertion(d.make(t)) != first {
			t.Fatal("signed anew")
		}
		w.now.add(2 * time.Second)
		if second := assertion(d.make(t)); second == first || read(second)["exp"] == read(first)["exp"] {
			t.Fatal("not signed anew")
		}
	})
	t.Run("other roles or another user make another one", func(t *testing.T) {
		base := assertion(d.make(t))
		other := d
		other.roles = []string{"member"}
		if assertion(other.make(t)) == base {
			t.Fatal("the same for other roles")
		}
		other = d
		user := *d.user
		user.Groups = user.Groups[:1]
		other.user = &user
		if got := assertion(other.make(t)); got == base || read(got)["groups_count"] != 1.0 {
			t.Fatal("the same for a changed user")
		}
	})
	t.Run("never outlives the session", func(t *testing.T) {
		short := d
		s := *session
		s.ID, s.ExpiresAt = "session_short", w.now.Now().Add(90*time.Second)
		short.session = &s
		if c := read(assertion(short.make(t))); c["exp"] != float64(s.ExpiresAt.Unix()) {
			t.Fatalf("%v", c)
		}
	})
	t.Run("is empty without a session or without an allow", func(t *testing.T) {
		anonymous, denied := d, d
		anonymous.session, denied.deny = nil, true
		for _, x := range []*authz.Decision{anonymous.make(t), denied.make(t), nil, {}} {
			if got := assertion(x); got != "" {
				t.Fatalf("%+v: %s", x, got)
			}
		}
	})
	t.Run("its key survives a restart and a rotation, and is the same for replicas", func(t *testing.T) {
		w := newWorld(t)
		dir := w.keyDir
		published := func() string {
			t.Helper()
			var err error
			if w.ring, err = keys.Load(dir); err != nil {
				t.Fatal(err)
			}
			w.restart(t)
			return jwks(t, w)
		}
		before := published()
		if published() != before {
			t.Fatal("a restart changed the key")
		}
		newest, err := keys.GenerateRootKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		if published() != before {
			t.Fatal("a rotation changed the key")
		}
		// It was sealed anew, so that the older root is no longer needed.
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); path != newest {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		if published() != before {
			t.Fatal("the removed root was still needed")
		}
	})
}
