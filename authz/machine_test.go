package authz_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
)

// robots is a Machines that answers what a test says.
type robots struct {
	session *authz.Session
	code    string
	panics  bool
	asked   []string
}

func (r *robots) Machine(_ context.Context, _ time.Time, app *authz.App, bearer string) (*authz.Session, string) {
	if r.panics {
		panic("verifier blew up")
	}
	r.asked = append(r.asked, app.ID+" "+bearer)
	return r.session, r.code
}

// machineWorld answers for an app that takes machines, or does not.
type machineWorld struct {
	*world
	app      authz.App
	sessions int
}

func (w *machineWorld) Current() authz.Snapshot       { return w }
func (w *machineWorld) App(string) (*authz.App, bool) { return &w.app, true }
func (w *machineWorld) Session(now time.Time, a *authz.App, h string, t []string) (*authz.Session, string) {
	w.sessions++
	return w.world.Session(now, a, h, t)
}

func TestMachines(t *testing.T) {
	person := &authz.Session{ID: "s", UserID: "prof_1", OrganizationID: "org_acme", Kind: "sso"}
	robot := &authz.Session{ID: "jwt_1", UserID: "ci", OrganizationID: "org_acme", Kind: authz.KindJWT, Claims: map[string]any{authz.ClaimRoles: []string{"editor"}}}
	user := &authz.User{ID: "du_1", State: "active", Roles: []string{"admin"}}
	allow := authz.Verdict{Allow: true, Reasons: []authz.Reason{{Code: "role"}}, Roles: []string{"editor"}}
	deny := authz.Verdict{Reasons: []authz.Reason{{Code: "no_allowed_role"}}}
	opted := authz.MachineAccess{Audience: "crm", Issuers: []string{"https://issuer.test"}}
	for name, tc := range map[string]struct {
		access   authz.MachineAccess
		world    world
		robots   *robots
		edit     func(*authz.Request)
		result   authz.Result
		status   int
		code     string
		asked    bool // the policy
		cookies  bool // the cookies were looked at
		as       *authz.Session
		verified bool
	}{
		"a good token": {access: opted, world: world{verdict: allow, user: user}, robots: &robots{session: robot},
			result: authz.Allow, status: 200, code: "role", asked: true, as: robot, verified: true},
		"a good token, whatever the cookies": {access: opted, world: world{session: person, verdict: allow}, robots: &robots{session: robot},
			result: authz.Allow, status: 200, code: "role", asked: true, as: robot, verified: true},
		"a bad token, whatever the cookies": {access: opted, world: world{session: person, verdict: allow}, robots: &robots{code: authz.CodeTokenExpired},
			result: authz.Challenge, status: 401, code: "token_expired", verified: true},
		"a bad token at a public app": {access: opted, world: world{verdict: allow}, robots: &robots{code: authz.CodeTokenInvalid},
			result: authz.Challenge, status: 401, code: "token_invalid", verified: true},
		"a bad token without words": {access: opted, world: world{verdict: allow}, robots: &robots{},
			result: authz.Challenge, status: 401, code: "token_invalid", verified: true},
		"an Authorization header that is no bearer token": {access: opted, world: world{session: person, verdict: allow}, robots: &robots{session: robot},
			edit: func(r *authz.Request) { r.Bearer = "" }, result: authz.Challenge, status: 401, code: "token_invalid"},
		"nobody who could know tokens": {access: opted, world: world{session: person, verdict: allow},
			result: authz.Challenge, status: 401, code: "token_invalid"},
		"a verifier that answers with a person": {access: opted, world: world{verdict: allow}, robots: &robots{session: person},
			result: authz.Challenge, status: 401, code: "token_invalid", verified: true},
		"a verifier that panics": {access: opted, world: world{session: person, verdict: allow}, robots: &robots{panics: true},
			result: authz.Deny, status: 403, code: "policy_error"},
		"an organization that is gone": {access: opted, world: world{ended: true, verdict: allow}, robots: &robots{session: robot},
			result: authz.Challenge, status: 401, code: "session_revoked", verified: true},
		"a machine that policy denies": {access: opted, world: world{verdict: deny, user: user}, robots: &robots{session: robot},
			result: authz.Deny, status: 403, code: "no_allowed_role", asked: true, as: robot, verified: true},
		"no Authorization header at all": {access: opted, world: world{session: person, user: user, verdict: allow}, robots: &robots{session: robot},
			edit:   func(r *authz.Request) { r.Authorized, r.Bearer = false, "" },
			result: authz.Allow, status: 200, code: "role", asked: true, cookies: true, as: person},
		"an app that did not opt in": {world: world{session: person, user: user, verdict: allow}, robots: &robots{session: robot},
			result: authz.Allow, status: 200, code: "role", asked: true, cookies: true, as: person},
		"an app that only named an audience": {access: authz.MachineAccess{Audience: "crm"}, world: world{why: authz.CodeNoSession, verdict: deny}, robots: &robots{session: robot},
			result: authz.Challenge, status: 302, code: "no_allowed_role", asked: true, cookies: true},
		"a door that forgot to say that the header was there": {access: opted, world: world{session: person, verdict: allow}, robots: &robots{code: authz.CodeTokenInvalid},
			edit: func(r *authz.Request) { r.Authorized = false }, result: authz.Challenge, status: 401, code: "token_invalid", verified: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &machineWorld{world: &tc.world, app: authz.App{ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.test"}, Scheme: "https", Machines: tc.access}}
			req := request()
			req.Authorized, req.Bearer = true, "the-secret-token"
			if tc.edit != nil {
				tc.edit(req)
			}
			c := &authz.Checker{Snapshots: w, Sessions: w, Recorder: w, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return now }}
			if tc.robots != nil {
				c.Machines = tc.robots
			}
			d := c.Check(t.Context(), req)
			if d.Result() != tc.result || d.Status() != tc.status || d.Code() != tc.code {
				t.Errorf("got %v %d %q, want %v %d %q", d.Result(), d.Status(), d.Code(), tc.result, tc.status, tc.code)
			}
			if d.Session != tc.as || (len(w.asked) > 0) != tc.asked || (w.sessions > 0) != tc.cookies {
				t.Errorf("session %+v, policy asked %v, cookies read %v", d.Session, len(w.asked) > 0, w.sessions > 0)
			}
			if tc.robots != nil && (len(tc.robots.asked) > 0) != tc.verified {
				t.Errorf("verifier asked: %v", tc.robots.asked)
			}
			if d.Session.Machine() && (d.User != nil || tc.asked && w.asked[0].User != nil) {
				t.Error("a machine has a directory user")
			}
			if len(w.recorded) != 1 {
				t.Fatalf("%d records", len(w.recorded))
			}
			rec := *w.recorded[0]
			text, _ := json.Marshal(rec)
			if strings.Contains(string(text)+fmt.Sprintf("%+v", rec), "the-secret-token") {
				t.Error("the token is in the record")
			}
			if slices.Contains([]int{200, 302, 401, 403}, rec.Status) == false {
				t.Errorf("recorded status %d", rec.Status)
			}
		})
	}
}
