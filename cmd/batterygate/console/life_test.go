package console_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/console"
	"battery.app/gate/sso"
)

func sessionsOf(email string) sso.Filter { return sso.Filter{User: email} }

func challenge(verifier string) string { return sso.Challenge(verifier) }

func TestAConsoleSessionEndsWithWhatItStandsOn(t *testing.T) {
	for name, tc := range map[string]struct {
		email  string // empty: a token
		ttl    time.Duration
		end    func(w *world, id string)
		status int
		says   string
	}{
		"token revoked": {end: func(w *world, id string) {
			if err := w.tokens.Revoke(context.Background(), id); err != nil {
				w.t.Fatal(err)
			}
		}, status: 401, says: "not signed in"},
		"token expired":     {ttl: 10 * time.Minute, end: func(w *world, _ string) { w.pass(10 * time.Minute) }, status: 401, says: "not signed in"},
		"half an hour idle": {end: func(w *world, _ string) { w.pass(30 * time.Minute) }, status: 401, says: "not signed in"},
		"session revoked":   {email: "olga@ops.test", end: func(w *world, id string) { _ = w.sessions.Revoke(context.Background(), id) }, status: 401, says: "not signed in"},
		"role lost":         {email: "olga@ops.test", end: func(w *world, _ string) { w.member(opsOrg, opsDir, "olga@ops.test", groupOp, false) }, status: 403, says: "battery:operator or battery:auditor is missing"},
		"user inactive":     {email: "olga@ops.test", end: func(w *world, _ string) { w.person(opsOrg, opsDir, "olga@ops.test", "inactive") }, status: 403, says: "not active"},
		"user deleted": {email: "olga@ops.test", end: func(w *world, _ string) {
			w.event("dsync.user.deleted", userID("olga@ops.test"), opsOrg, map[string]any{"directory_id": opsDir, "state": "inactive"})
		}, status: 401, says: "not signed in"},
		"connection deleted": {email: "olga@ops.test", end: func(w *world, _ string) {
			w.event("connection.deleted", opsConn, opsOrg, map[string]any{"state": "inactive", "name": "c", "connection_type": "OktaSAML"})
		}, status: 401, says: "not signed in"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			victim := w.session(1, acme, "ada@acme.test")
			var b *browser
			var id string
			if tc.email != "" {
				b, _ = w.bySSO(tc.email)
				id = w.sessions.List(sessionsOf(tc.email))[0].ID
			} else {
				token, secret, err := w.tokens.Create(t.Context(), "t", []string{"operator"}, tc.ttl)
				b, id = w.byToken(must(secret, err)(t)), token.ID
			}
			f := fields(b.get("/sessions").body, "/sessions/end")
			if f == nil {
				t.Fatal("not signed in")
			}
			f.Set("id", victim)
			tc.end(w, id)
			if res := b.post("/sessions/end", f); res.StatusCode != tc.status || !strings.Contains(res.body, tc.says) || !w.lives(victim) {
				t.Errorf("answered %d, victim lives: %v: %s", res.StatusCode, w.lives(victim), res.body[max(0, len(res.body)-600):])
			}
			if b.seated() {
				t.Error("still signed in")
			}
		})
	}
}

func TestAConsoleSessionLastsEightHoursHoweverBusy(t *testing.T) {
	w := newWorld(t)
	b := w.byToken(w.operator)
	for at := time.Duration(0); at < 8*time.Hour; at += 29 * time.Minute {
		if !b.seated() {
			t.Fatalf("over after %v", at)
		}
		w.pass(29 * time.Minute)
	}
	if b.seated() {
		t.Error("not over after eight hours")
	}
}

func TestSigningOutEndsTheSessionAtTheServer(t *testing.T) {
	w := newWorld(t)
	b := w.byToken(w.operator)
	at := must(url.Parse(w.admin))(t)
	before := b.jar.Cookies(at)
	if res := b.post("/sign-out", fields(b.get("/").body, "/sign-out")); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
	old := w.browser()
	old.jar.SetCookies(at, before)
	if b.seated() || old.seated() {
		t.Error("the cookie still works")
	}
}

func TestOneTokenHasNotAnyNumberOfSessions(t *testing.T) {
	w := newWorld(t)
	first := w.byToken(w.operator)
	var last *browser
	for range 8 {
		w.pass(time.Second)
		last = w.byToken(w.operator)
	}
	if first.seated() || !last.seated() {
		t.Errorf("first %v, last %v", first.seated(), last.seated())
	}
}

func TestCookiesAreAsNarrowAsTheyCanBe(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	check := func(res reply, name string, same http.SameSite) {
		t.Helper()
		for _, c := range res.Cookies() {
			if strings.HasPrefix(c.Name, name) && c.Value != "" {
				if !c.HttpOnly || c.SameSite != same || c.Domain != "" || c.Path != "/" {
					t.Errorf("%v", c)
				}
				return
			}
		}
		t.Errorf("no cookie %s: %v", name, res.Cookies())
	}
	res := b.get("/")
	check(res, "battery_console_entry", http.SameSiteStrictMode)
	f := fields(res.body, "/sign-in/token")
	f.Set("token", w.operator)
	check(b.post("/sign-in/token", f), "battery_console", http.SameSiteStrictMode)
	check(b.send(false, http.MethodGet, w.admin+"/sign-in/sso", nil), "battery_console_attempt_", http.SameSiteLaxMode)
	if res := b.get("/sign-in/sso"); !strings.Contains(res.body, `http-equiv="refresh" content="0; url=/"`) || res.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Error("the landing is not a page of its own, or tells its address")
	}
}

func TestOnlyWhoHasARoleOfTheOperatorsComesIn(t *testing.T) {
	w := newWorld(t)
	for email, says := range map[string]string{
		"new@ops.test":    "battery:operator or battery:auditor is missing",
		"idle@ops.test":   "not active",
		"nobody@ops.test": "does not know",
	} {
		b, res := w.bySSO(email)
		if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, says) || !strings.Contains(res.body, email) || b.seated() {
			t.Errorf("%s: %d %s", email, res.StatusCode, res.body)
		}
	}
	// An IT admin of a customer, signed in at the public host, is led to the
	// operators' sign-in; with a pass of their own they get no further.
	w.as = "ada@acme.test"
	id := w.session(5, acme, "ada@acme.test")
	b := w.browser()
	at := b.send(false, http.MethodGet, w.admin+"/sign-in/sso", nil).Header.Get("Location")
	live, ok := w.sso.Live(id)
	if !ok {
		t.Fatal("no session")
	}
	asked := must(url.Parse(at))(t).Query().Get("challenge")
	sealed := must(w.sso.Pass(live, w.admin, asked))(t)
	res := b.get("/sign-in/sso/done?" + url.Values{"pass": {sealed}, "attempt": {asked[:12]}}.Encode())
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "not of the operators") || !strings.Contains(res.body, "/settings") || b.seated() {
		t.Errorf("an IT admin: %d %s", res.StatusCode, res.body)
	}
}

func TestWithoutOperatorsThereIsNoSingleSignOn(t *testing.T) {
	w := newWorld(t, func(o *console.Options) {
		o.Operators, o.PublicURL, o.SignIn, o.Directory = "", nil, nil, nil
	})
	b := w.browser()
	if res := b.get("/"); strings.Contains(res.body, "/sign-in/sso") {
		t.Error("it is offered")
	}
	if res := b.get("/sign-in/sso"); res.StatusCode != http.StatusNotFound {
		t.Error(res.StatusCode)
	}
	if res := b.get("/sign-in/sso/done?pass=x"); res.StatusCode != http.StatusForbidden {
		t.Error(res.StatusCode)
	}
	if res := b.send(true, http.MethodGet, w.public+"/operators/console?challenge="+strings.Repeat("A", 43), nil); res.StatusCode != http.StatusNotFound {
		t.Error(res.StatusCode)
	}
	if !w.byToken(w.operator).seated() {
		t.Error("a token does not sign in")
	}
}

func TestAnOldLoginIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	b, _ := w.bySSO("olga@ops.test")
	first := w.sessions.List(sessionsOf("olga@ops.test"))[0].ID
	b.post("/sign-out", fields(b.get("/").body, "/sign-out"))
	if b.get("/sign-in/sso"); w.sessions.List(sessionsOf("olga@ops.test"))[0].ID != first {
		t.Error("a login of today was asked for again")
	}
	// Half a day later, with the session kept busy by apps.
	for range 2 {
		w.pass(7 * time.Hour)
		b.send(false, http.MethodGet, w.public+"/operators/console?challenge="+strings.Repeat("A", 43), nil)
	}
	if res := b.get("/sign-in/sso"); res.StatusCode != http.StatusOK || w.sessions.List(sessionsOf("olga@ops.test"))[0].ID == first {
		t.Errorf("an old login let in: %d", res.StatusCode)
	}
	if res := w.browser().send(true, http.MethodGet, w.public+"/operators/console?again=1&challenge="+strings.Repeat("A", 43), nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("no way out of the circle: %d", res.StatusCode)
	}
}

func TestEveryActIsTheAPIsAndIsRecordedAsItsDoer(t *testing.T) {
	w := newWorld(t)
	victim := w.session(1, acme, "ada@acme.test")
	b, _ := w.bySSO("olga@ops.test")
	own := w.sessions.List(sessionsOf("olga@ops.test"))[0].ID
	f := fields(b.get("/sessions").body, "/sessions/end")
	f.Set("id", victim)
	if res := b.post("/sessions/end", f); res.StatusCode != http.StatusOK || w.lives(victim) {
		t.Fatal(res.StatusCode)
	}
	all := w.acts()
	last := all[0]
	if last.Actor.Kind != "session" || last.Actor.ID != own || last.Action != "sessions.revoke" || last.Resource.ID != victim || last.Result != audit.Done || last.RemoteIP != "127.0.0.1" ||
		strings.Join(last.Actor.Roles, " ") != "battery:operator" {
		t.Errorf("%+v", last)
	}
	if in := all[2]; in.Action != "console.sign-in" || in.Actor.ID != own || !strings.Contains(string(in.Request), "olga@ops.test") {
		t.Errorf("nobody can tell who %s was: %+v", own, in)
	}
	if log := w.log.String(); strings.Contains(log, w.operator) || strings.Contains(log, "pass=") {
		t.Error("the log holds a secret")
	}
}

func TestAnAuditorSeesAndEndsNothing(t *testing.T) {
	w := newWorld(t)
	victim := w.session(1, acme, "ada@acme.test")
	op := w.byToken(w.operator)
	b, _ := w.bySSO("aud@ops.test")
	page := b.get("/sessions").body
	if !strings.Contains(page, "ada@acme.test") || fields(page, "/sessions/end") != nil || strings.Contains(page, "end-many") {
		t.Error("the page is not a reader's")
	}
	for path, f := range map[string]url.Values{"/sessions/end": {"id": {victim}}, "/sessions/end-many": {"all": {"yes"}}} {
		f.Set("form", fields(op.get("/sessions").body, "/sessions/end").Get("form"))
		if res := b.post(path, f); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if res := b.get("/sessions/end-many?all=yes"); res.StatusCode != http.StatusForbidden {
		t.Error(res.StatusCode)
	}
	if !w.lives(victim) {
		t.Error("it was ended")
	}
	// A role that is lost between the page and the button: the API decides.
	olga, _ := w.bySSO("olga@ops.test")
	f := fields(olga.get("/sessions").body, "/sessions/end")
	f.Set("id", victim)
	w.member(opsOrg, opsDir, "olga@ops.test", groupAud, true)
	w.member(opsOrg, opsDir, "olga@ops.test", groupOp, false)
	if res := olga.post("/sessions/end", f); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "no role for sessions.revoke") || !w.lives(victim) {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	if last := w.acts()[0]; last.Result != audit.Refused || last.Action != "sessions.revoke" {
		t.Errorf("not recorded: %+v", last)
	}
}

func TestATokenSeesWhatItsScopesAllow(t *testing.T) {
	w := newWorld(t)
	w.session(1, acme, "ada@acme.test")
	w.session(2, opsOrg, "aud@ops.test")
	b := w.byToken(w.token("a", "audit.list"))
	if page := b.get("/").body; strings.Contains(page, `href="/sessions"`) || !strings.Contains(page, `href="/audit"`) {
		t.Error("navigation shows what the policy does not allow")
	}
	if res := b.get("/sessions"); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "no scope for sessions.list") {
		t.Error(res.StatusCode)
	}
	_, secret, err := w.tokens.CreateBound(t.Context(), acme, "bound", []string{"operator"}, 0)
	bound := w.byToken(must(secret, err)(t))
	if page := bound.get("/").body; !strings.Contains(page, `href="/sessions?org=org_ACME"`) {
		t.Error("a bound token is not led to its organization")
	}
	if page := bound.get("/sessions?org=" + acme).body; !strings.Contains(page, "ada@acme.test") || strings.Contains(page, "aud@ops.test") {
		t.Error("not its organization's")
	}
	for _, path := range []string{"/sessions", "/sessions?org=" + opsOrg, "/sessions/end-many?all=yes", "/sessions/end-many?org=" + opsOrg} {
		if res := bound.get(path); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

func TestABreakGlassTokenIsRecordedAtEveryPage(t *testing.T) {
	w := newWorld(t)
	w.session(1, acme, "ada@acme.test")
	_, secret, err := w.tokens.CreateBreakGlass(t.Context(), "fire", 0)
	b := w.byToken(must(secret, err)(t))
	before := len(w.acts())
	page := b.get("/sessions").body
	if !strings.Contains(page, "break-glass") || !strings.Contains(page, "ada@acme.test") {
		t.Error("the page does not say so")
	}
	all := w.acts()
	if len(all) != before+2 || all[0].Actor.Kind != "break-glass" || all[0].Action != "sessions.list" {
		t.Errorf("%d entries more; %+v", len(all)-before, all[0])
	}
	before = len(all)
	b.get("/")
	if all := w.acts(); len(all) != before+1 || all[0].Actor.Kind != "break-glass" || all[0].Action != "console.read" {
		t.Errorf("the first page: %d entries more; %+v", len(all)-before, all[0])
	}
	w.store.fail("admin/audit/")
	if res := b.get("/"); res.StatusCode != http.StatusServiceUnavailable || strings.Contains(res.body, "Data revision") {
		t.Errorf("a first page that cannot be recorded: %d", res.StatusCode)
	}
	w.store.fail("")
	w.pass(time.Hour)
	if b.seated() {
		t.Error("it outlives its hour")
	}
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	w := newWorld(t)
	victim := w.session(1, acme, "ada@acme.test")
	b := w.byToken(w.operator)
	one := fields(b.get("/sessions").body, "/sessions/end")
	one.Set("id", victim)
	many := fields(b.get("/sessions/end-many?all=yes").body, "/sessions/end-many")
	fresh := w.browser()
	in := fields(fresh.get("/").body, "/sign-in/token")
	in.Set("token", w.operator)
	w.store.fail("admin/audit/")
	for path, f := range map[string]url.Values{"/sessions/end": one, "/sessions/end-many": many} {
		if res := b.post(path, f); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "could not be recorded") && !strings.Contains(res.body, "cannot be recorded") {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.body)
		}
	}
	if res := fresh.post("/sign-in/token", in); res.StatusCode != http.StatusServiceUnavailable || fresh.seated() {
		t.Errorf("sign-in: %d", res.StatusCode)
	}
	if !w.lives(victim) {
		t.Error("it was ended all the same")
	}
	w.store.fail("")
	if res := b.post("/sessions/end", one); res.StatusCode != http.StatusOK {
		t.Errorf("and later: %d", res.StatusCode)
	}
}
