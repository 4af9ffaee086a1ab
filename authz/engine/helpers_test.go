package engine_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/policies"
)

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

// directory is one state of a directory, as the engine sees it.
type directory struct {
	users    map[string]*authz.User // by session id
	ended    map[string]bool
	stale    map[string]bool
	mappings map[string]map[string][]string
	version  uint64
}

func (d *directory) User(s *authz.Session) (*authz.User, bool) { return d.users[s.ID], d.ended[s.ID] }
func (d *directory) Stale(org string) bool                     { return d.stale[org] }
func (d *directory) RoleMappings(org string) (map[string][]string, uint64) {
	return d.mappings[org], d.version
}

type registry map[string]*authz.App

func (r registry) App(host string) (*authz.App, bool) { a, ok := r[host]; return a, ok }

func sub(t testing.TB, dir string) fs.FS {
	t.Helper()
	out, err := fs.Sub(policies.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func shipped(t testing.TB, dir string) engine.Source {
	t.Helper()
	src, err := engine.ReadFS(sub(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func options(t testing.TB) engine.Options {
	return engine.Options{
		Budget: 10 * time.Second, Schemas: sub(t, "schemas"), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return noon },
	}
}

// module is a policy of one file.
func module(text string) engine.Source {
	return engine.Source{Modules: map[string]string{"p.rego": text}}
}

// rules is a policy whose decision is this text, after some rules.
func rules(text string) engine.Source { return module("package battery.authz\n\n" + text) }

func compile(t testing.TB, src engine.Source, o engine.Options) *engine.Policy {
	t.Helper()
	p, err := engine.Compile(src, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// publish is a snapshot of a policy over an empty world.
func publish(p *engine.Policy, dir *directory) authz.Snapshot {
	if dir == nil {
		dir = &directory{}
	}
	e := engine.New()
	e.Publish(p, registry{}, dir, 1)
	return e.Current()
}

func ask(t testing.TB, src engine.Source, o engine.Options, in *authz.Input) (authz.Verdict, error) {
	t.Helper()
	return publish(compile(t, src, o), nil).Evaluate(context.Background(), in)
}

func crm() *authz.App {
	return &authz.App{
		ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.battery.localhost"},
		AllowedRoles: []string{"admin", "editor"}, Identity: []string{"groups"}, Labels: map[string]string{"tier": "gold"},
	}
}

func ada() (*authz.Session, *authz.User) {
	s := &authz.Session{
		ID: "session_ada", UserID: "prof_ada", Email: "ada@acme.test", OrganizationID: "org_acme",
		ConnectionID: "conn_acme", Kind: "sso", IssuedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(time.Hour),
		Claims: map[string]any{"amr": []any{"pwd", "otp"}},
	}
	u := &authz.User{
		ID: "directory_user_ada", DirectoryID: "directory_acme", State: "active", Email: "ada@acme.test",
		Groups: []authz.Group{
			{ID: "directory_group_engineering", Name: "Engineering"}, {ID: "directory_group_everyone", Name: "Everyone"},
		},
		Roles:      []string{"editor", "member"},
		Attributes: map[string]any{"department": "R&D", "level": 3},
	}
	return s, u
}

// question is ada asking for crm.
func question() *authz.Input {
	session, user := ada()
	return &authz.Input{
		Request: &authz.Request{
			Gateway: "127.0.0.1", Method: "GET", Scheme: "https", Host: "crm.acme.battery.localhost",
			Path: "/accounts/42/notes", Query: "tab=open", Time: noon,
			Headers:  map[string]string{"user-agent": "test", "x-region": "eu"},
			ClientIP: netip.MustParseAddr("192.0.2.7"),
		},
		App: crm(), Session: session, User: user,
	}
}
