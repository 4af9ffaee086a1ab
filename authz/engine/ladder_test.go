package engine_test

import (
	"context"
	"slices"
	"testing"

	"battery.app/gate/authz"
)

// Each story is the shipped policy's answer to ada asking for crm, with
// something changed.
func TestLadder(t *testing.T) {
	for _, story := range []struct {
		name   string
		change func(in *authz.Input)
		allow  bool
		code   string
		says   string
		roles  []string
	}{
		{"an editor reaches an app that admits editors", func(*authz.Input) {}, true, "role", "", []string{"editor", "member"}},
		{"a member is told what is missing", func(in *authz.Input) { in.Session.Email = "bob@acme.test"; in.User.Roles = []string{"member"} },
			false, "no_allowed_role", "bob@acme.test has the role member; crm.acme admits admin, editor.", []string{"member"}},
		{"a user without roles", func(in *authz.Input) { in.User.Roles = nil },
			false, "no_allowed_role", "ada@acme.test has no roles; crm.acme admits admin, editor.", nil},
		{"an app that admits no role admits nobody", func(in *authz.Input) { in.App.AllowedRoles = nil },
			false, "no_allowed_role", "ada@acme.test has the roles editor, member; crm.acme admits nobody.", []string{"editor", "member"}},
		{"an inactive user", func(in *authz.Input) { in.User.State = "inactive" },
			false, "user_inactive", "", []string{"editor", "member"}},
		{"a user without a state", func(in *authz.Input) { in.User.State = "" },
			false, "user_inactive", "", []string{"editor", "member"}},
		{"a user the directory does not know", func(in *authz.Input) { in.User = nil },
			false, "user_unknown", "", nil},
		{"a session of another organization", func(in *authz.Input) { in.Session.OrganizationID = "org_globex" },
			false, "wrong_organization", "", []string{"editor", "member"}},
		{"nobody is signed in", func(in *authz.Input) { in.Session, in.User = nil, nil },
			false, "no_session", "", nil},
		{"a public app is open to nobody in particular", func(in *authz.Input) { in.Session, in.User, in.App.Public = nil, nil, true },
			true, "public", "", nil},
		{"a public app is open to an inactive user", func(in *authz.Input) { in.User.State, in.App.Public = "inactive", true },
			true, "public", "", []string{"editor", "member"}},
		{"stale data does not close an app by itself", func(in *authz.Input) { in.Stale = true },
			true, "role", "", []string{"editor", "member"}},
		{"a machine whose token has a role", machine(authz.KindJWT, "editor"), true, "role", "", []string{"editor"}},
		{"a service token that has a role", machine(authz.KindServiceToken, "admin", "editor"), true, "role", "", []string{"admin", "editor"}},
		{"a machine without a role of the app", machine(authz.KindJWT, "member"),
			false, "no_allowed_role", "The machine ci@acme has the role member; crm.acme admits admin, editor.", []string{"member"}},
		{"a machine of another organization", func(in *authz.Input) { machine(authz.KindJWT, "editor")(in); in.Session.OrganizationID = "org_globex" },
			false, "wrong_organization", "", []string{"editor"}},
		{"a person with a machine's claims", func(in *authz.Input) { in.Session.Claims = map[string]any{"roles": []string{"editor"}}; in.User = nil },
			false, "user_unknown", "", nil},
		{"an app, a session and a user of no organization at all meet nobody", func(in *authz.Input) { *in.App, *in.Session, *in.User = authz.App{}, authz.Session{}, authz.User{} },
			false, "user_inactive", "", nil},
	} {
		t.Run(story.name, func(t *testing.T) {
			in := question()
			story.change(in)
			v, err := ask(t, shipped(t, "authz"), options(t), in)
			if err != nil {
				t.Fatal(err)
			}
			if v.Allow != story.allow || len(v.Reasons) != 1 || v.Reasons[0].Code != story.code || v.Reasons[0].Message == "" {
				t.Errorf("got allow=%v reasons=%v, want allow=%v code=%s", v.Allow, v.Reasons, story.allow, story.code)
			}
			if story.says != "" && v.Reasons[0].Message != story.says {
				t.Errorf("says %q, want %q", v.Reasons[0].Message, story.says)
			}
			if !slices.Equal(v.Roles, story.roles) {
				t.Errorf("roles %v, want %v", v.Roles, story.roles)
			}
		})
	}
}

// machine makes who asks a machine with these roles.
func machine(kind string, roles ...string) func(*authz.Input) {
	return func(in *authz.Input) {
		in.Session.Kind, in.Session.UserID, in.Session.Email, in.User = kind, "ci@acme", "", nil
		in.Session.Claims = map[string]any{"iss": "https://issuer.acme.test", authz.ClaimRoles: roles}
	}
}

func TestStaleDataDeniesWhereTheOperatorSaysSo(t *testing.T) {
	o := options(t)
	o.Settings = map[string]any{"deny_when_stale": true}
	snap := publish(compile(t, shipped(t, "authz"), o), nil)
	for _, c := range []struct {
		name          string
		stale, public bool
		code          string
	}{
		{"stale", true, false, "directory_stale"},
		{"fresh", false, false, "role"},
		{"stale, but public", true, true, "public"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := question()
			in.Stale, in.App.Public = c.stale, c.public
			v, err := snap.Evaluate(context.Background(), in)
			if err != nil || v.Reasons[0].Code != c.code || v.Allow != (c.code != "directory_stale") {
				t.Errorf("got %+v, %v, want %s", v, err, c.code)
			}
		})
	}
}
