package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/console"
)

// lives reports whether a session still stands.
func (w *world) lives(id string) bool {
	_, err := w.sessions.Get(id)
	return err == nil
}

// Another port of this host is same-site, gets its cookies and may set them.
func TestAPostCountsFromThisVeryOriginAlone(t *testing.T) {
	w := newWorld(t)
	victim := w.session(1, acme, "ada@acme.test")
	b := w.byToken(w.operator)
	list := b.get("/sessions").body
	one, many := fields(list, "/sessions/end"), fields(b.get("/sessions/end-many?all=yes").body, "/sessions/end-many")
	one.Set("id", victim)
	out := fields(list, "/sign-out")
	fresh := w.browser()
	in := fields(fresh.get("/").body, "/sign-in/token")
	in.Set("token", w.operator)
	port := w.admin[strings.LastIndex(w.admin, ":"):]
	for name, header := range map[string][]string{
		"another port of this host":           {"Origin", w.idp, "Sec-Fetch-Site", "same-site"},
		"another port, by Origin alone":       {"Origin", w.idp, "Sec-Fetch-Site", ""},
		"the public host":                     {"Origin", w.public, "Sec-Fetch-Site", ""},
		"another name of loopback":            {"Origin", "http://localhost" + port, "Sec-Fetch-Site", ""},
		"the port left out":                   {"Origin", "http://127.0.0.1", "Sec-Fetch-Site", ""},
		"another scheme":                      {"Origin", strings.Replace(w.admin, "http:", "https:", 1), "Sec-Fetch-Site", ""},
		"a longer name":                       {"Origin", w.admin + ".evil.test", "Sec-Fetch-Site", ""},
		"an opaque origin":                    {"Origin", "null", "Sec-Fetch-Site", ""},
		"no origin":                           {"Origin", "", "Sec-Fetch-Site", ""},
		"no origin, but a browser that vouch": {"Origin", "", "Sec-Fetch-Site", "same-origin"},
		"same site by the browser's word":     {"Sec-Fetch-Site", "same-site"},
		"another site by the browser's word":  {"Sec-Fetch-Site", "cross-site"},
		"typed, as no form is":                {"Sec-Fetch-Site", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			for path, f := range map[string]url.Values{"/sessions/end": one, "/sessions/end-many": many, "/sign-out": out} {
				if res := b.post(path, f, header...); res.StatusCode != http.StatusForbidden {
					t.Errorf("%s answered %d", path, res.StatusCode)
				}
			}
			if res := fresh.post("/sign-in/token", in, header...); res.StatusCode != http.StatusForbidden || len(res.Cookies()) > 0 {
				t.Errorf("sign-in answered %d %v", res.StatusCode, res.Cookies())
			}
		})
	}
	if !w.lives(victim) || !b.seated() || fresh.seated() {
		t.Error("a forged form did something")
	}
	if res := b.post("/sessions/end", one); res.StatusCode != http.StatusOK || w.lives(victim) {
		t.Errorf("the real one answered %d", res.StatusCode)
	}
}

func TestAFormCountsForItsSessionItsActionAndWhatItAskedAbout(t *testing.T) {
	w := newWorld(t)
	victim := w.session(1, acme, "ada@acme.test")
	b, other := w.byToken(w.operator), w.byToken(w.operator)
	list := b.get("/sessions").body
	one := fields(list, "/sessions/end")
	one.Set("id", victim)
	ofEve := fields(b.get("/sessions/end-many?user=eve@acme.test&org="+acme).body, "/sessions/end-many") // nobody: no form
	if ofEve != nil {
		t.Fatal("a form to end no session")
	}
	w.session(2, opsOrg, "aud@ops.test")
	ofOps := fields(b.get("/sessions/end-many?org="+opsOrg).body, "/sessions/end-many")
	with := func(f url.Values, pairs ...string) url.Values {
		out := url.Values{}
		for k, v := range f {
			out[k] = append([]string{}, v...)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			if out.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
				out.Del(pairs[i])
			}
		}
		return out
	}
	foreign := fields(other.get("/sessions").body, "/sessions/end").Get("form")
	for name, tc := range map[string]struct {
		path   string
		f      url.Values
		header []string
	}{
		"no token":               {"/sessions/end", with(one, "form", ""), nil},
		"another person's":       {"/sessions/end", with(one, "form", foreign), nil},
		"the one of signing out": {"/sessions/end", with(one, "form", fields(list, "/sign-out").Get("form")), nil},
		"two tokens":             {"/sessions/end", url.Values{"id": {victim}, "form": {one.Get("form"), "x"}}, nil},
		"two sessions":           {"/sessions/end", url.Values{"id": {victim, victim}, "form": one["form"]}, nil},
		"asked about one organization, sent other": {"/sessions/end-many", with(ofOps, "org", acme), nil},
		"asked about one organization, sent all":   {"/sessions/end-many", with(ofOps, "org", "", "all", "yes"), nil},
		"all and an organization":                  {"/sessions/end-many", with(ofOps, "all", "yes"), nil},
		"one organization, with a person added":    {"/sessions/end-many", with(ofOps, "user", "ada@acme.test"), nil},
		"nobody":                                   {"/sessions/end-many", with(ofOps, "org", ""), nil},
		"the row's token for many":                 {"/sessions/end-many", with(ofOps, "form", one.Get("form")), nil},
		"a form that a script could send as text":  {"/sessions/end", one, []string{"Content-Type", "text/plain"}},
		"a form of megabytes":                      {"/sessions/end", with(one, "x", strings.Repeat("y", 1<<20)), nil},
		"an id that is another route":              {"/sessions/end", with(one, "id", "../tokens/x"), nil},
		"an id that goes up":                       {"/sessions/end", with(one, "id", ".."), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if res := b.post(tc.path, tc.f, tc.header...); res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("answered %d: %s", res.StatusCode, res.body)
			}
		})
	}
	if !w.lives(victim) {
		t.Error("a session was ended")
	}
}

func TestAPassWorksOnceSoonAndInTheBrowserThatBegan(t *testing.T) {
	w := newWorld(t)
	refused := func(t *testing.T, b *browser, at string) {
		t.Helper()
		if res := b.send(false, http.MethodGet, at, nil); res.StatusCode != http.StatusForbidden || b.seated() {
			t.Errorf("answered %d; signed in: %v", res.StatusCode, b.seated())
		}
	}
	t.Run("another browser, and it stays good for its own", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		refused(t, w.browser(), at)
		other := w.browser()
		other.ticket() // with an attempt of its own
		refused(t, other, at)
		if res := b.send(false, http.MethodGet, at, nil); res.StatusCode != http.StatusOK || !b.seated() {
			t.Errorf("its own browser: %d", res.StatusCode)
		}
	})
	t.Run("twice", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		old := must(url.Parse(w.admin))(t)
		kept := b.jar.Cookies(old)
		b.send(false, http.MethodGet, at, nil)
		again := w.browser()
		again.jar.SetCookies(old, onlyAttempt(kept)) // the verifier, kept by whoever
		refused(t, again, at)
	})
	t.Run("late", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		w.pass(30 * time.Second)
		refused(t, b, at)
	})
	t.Run("an attempt that is over", func(t *testing.T) {
		b := w.browser()
		b.ticket()
		w.pass(10 * time.Minute)
		at := b.passFor(t)
		refused(t, b, at)
	})
	t.Run("a session that ended on the way", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		if _, err := w.sessions.RevokeWhere(t.Context(), sessionsOf("olga@ops.test")); err != nil {
			t.Fatal(err)
		}
		refused(t, b, at)
	})
	t.Run("changed, cut, doubled, missing", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		for _, bad := range []string{at[:len(at)-4], at + "A", strings.Replace(at, "pass=", "pass=x&pass=", 1), w.admin + "/sign-in/sso/done", at[:strings.Index(at, "pass=")] + "pass=" + strings.Repeat("A", 50000)} {
			refused(t, b, bad)
		}
	})
	t.Run("as an image or in a frame", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		for _, dest := range []string{"image", "iframe", "empty"} {
			if res := b.send(false, http.MethodGet, at, nil, "Sec-Fetch-Dest", dest); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %d", dest, res.StatusCode)
			}
		}
	})
	t.Run("two verifiers", func(t *testing.T) {
		b := w.browser()
		at := b.ticket()
		if res := b.send(false, http.MethodGet, at, nil, "Cookie", "battery_console_attempt_"+must(url.Parse(at))(t).Query().Get("attempt")+"=planted"); res.StatusCode != http.StatusForbidden {
			t.Errorf("answered %d", res.StatusCode)
		}
	})
	t.Run("in several tabs at once, five at most", func(t *testing.T) {
		b := w.browser()
		var tabs []string
		for range 7 {
			w.pass(time.Second)
			tabs = append(tabs, b.ticket())
		}
		if n := len(onlyAttempt(b.jar.Cookies(must(url.Parse(w.admin))(t)))); n != 5 {
			t.Errorf("%d attempts", n)
		}
		for i, at := range tabs {
			if res := b.send(false, http.MethodGet, at, nil); (res.StatusCode == http.StatusOK) != (i >= 2) {
				t.Errorf("tab %d: %d", i, res.StatusCode)
			}
		}
	})
	t.Run("for another console, and the other way round", func(t *testing.T) {
		b := w.browser()
		at := must(url.Parse(b.ticket()))(t)
		if _, err := w.sso.RedeemPass(t.Context(), at.Query().Get("pass"), "https://other.test", "v"); err == nil {
			t.Error("redeemed for another origin")
		}
	})
}

func onlyAttempt(all []*http.Cookie) (out []*http.Cookie) {
	for _, c := range all {
		if strings.HasPrefix(c.Name, "battery_console_attempt_") {
			out = append(out, c)
		}
	}
	return out
}

// passFor is a fresh pass for the verifier that the browser has, as the public
// host would make it for anybody who asks.
func (b *browser) passFor(t *testing.T) string {
	t.Helper()
	for _, c := range onlyAttempt(b.jar.Cookies(must(url.Parse(b.w.admin))(t))) {
		res := b.send(true, http.MethodGet, b.w.public+"/operators/console?challenge="+challenge(c.Value), nil)
		return res.at
	}
	return b.w.admin + "/sign-in/sso/done?pass=none"
}

func TestNobodyIsSignedInAsSomebodyElse(t *testing.T) {
	w := newWorld(t)
	t.Run("by an attacker's pass", func(t *testing.T) {
		attacker, victim := w.browser(), w.browser()
		at := attacker.ticket()
		victim.get("/")
		if victim.send(false, http.MethodGet, at, nil); victim.seated() {
			t.Error("the victim is signed in")
		}
	})
	t.Run("by an attacker's token and form", func(t *testing.T) {
		attacker, victim := w.browser(), w.browser()
		victim.get("/")
		f := fields(attacker.get("/").body, "/sign-in/token")
		f.Set("token", w.operator)
		if res := victim.post("/sign-in/token", f); res.StatusCode != http.StatusForbidden || victim.seated() {
			t.Errorf("answered %d", res.StatusCode)
		}
	})
	t.Run("by a link from elsewhere that begins a sign-in", func(t *testing.T) {
		for _, site := range []string{"cross-site", "same-site"} {
			b := w.browser()
			if res := b.send(false, http.MethodGet, w.admin+"/sign-in/sso", nil, "Sec-Fetch-Site", site); res.Header.Get("Location") != "/" || len(res.Cookies()) > 0 {
				t.Errorf("%s: led to %q", site, res.Header.Get("Location"))
			}
		}
	})
	t.Run("by a session id that was planted", func(t *testing.T) {
		b := w.browser()
		at := must(url.Parse(w.admin))(t)
		b.jar.SetCookies(at, []*http.Cookie{{Name: "battery_console", Value: strings.Repeat("A", 43), Path: "/"}})
		f := fields(b.get("/").body, "/sign-in/token")
		f.Set("token", w.operator)
		b.post("/sign-in/token", f)
		for _, c := range b.jar.Cookies(at) {
			if c.Name == "battery_console" && strings.HasPrefix(c.Value, "AAAA") {
				t.Error("the planted id was adopted")
			}
		}
		planted := w.browser()
		planted.jar.SetCookies(at, []*http.Cookie{{Name: "battery_console", Value: strings.Repeat("A", 43), Path: "/"}})
		if planted.seated() || !b.seated() {
			t.Error("who planted it is signed in")
		}
	})
	t.Run("and every sign-in has a new id, which ends the one before", func(t *testing.T) {
		b := w.byToken(w.operator)
		at := must(url.Parse(w.admin))(t)
		before := b.jar.Cookies(at)
		b.send(true, http.MethodGet, w.admin+"/sign-in/sso", nil)
		old := w.browser()
		old.jar.SetCookies(at, before)
		if !b.seated() || old.seated() {
			t.Errorf("new %v, old %v", b.seated(), old.seated())
		}
	})
	t.Run("and two cookies are none", func(t *testing.T) {
		b := w.byToken(w.operator)
		if res := b.send(true, http.MethodGet, w.admin+"/", nil, "Cookie", "battery_console=planted"); strings.Contains(res.body, "/sign-out") {
			t.Error("one of two counted")
		}
	})
}

func TestTheConsoleAnswersAtItsOwnAddressAlone(t *testing.T) {
	w := newWorld(t)
	b := w.byToken(w.operator)
	port := w.admin[strings.LastIndex(w.admin, ":"):]
	for _, host := range []string{"evil.test", "evil.test" + port, "localhost" + port, "127.0.0.1", "127.0.0.1:1", "[::1]" + port, "x.localhost" + port} {
		res := b.send(false, http.MethodGet, w.admin+"/sessions", nil, "Host", host)
		if res.StatusCode != http.StatusMisdirectedRequest || strings.Contains(res.body, "sign-out") {
			t.Errorf("%s: %d", host, res.StatusCode)
		}
	}
	if res := b.send(false, http.MethodGet, w.admin+"/", nil, "Host", "localhost"+port); !strings.Contains(res.body, `href="`+w.admin+`/"`) {
		t.Error("nobody is told where it is")
	}
	off := newWorld(t, func(o *console.Options) { o.URL = nil })
	if res := off.browser().get("/"); res.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(res.body, "listen.admin_url") {
		t.Errorf("without an address: %d", res.StatusCode)
	}
}

func TestNothingLeadsElsewhere(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	evil := url.QueryEscape("https://evil.test/")
	for _, at := range []string{
		w.admin + "/sign-in/sso?rd=" + evil + "&next=" + evil + "&return=" + evil, w.admin + "/sign-in/token?rd=" + evil, w.admin + "/sessions/end?to=" + evil, w.admin + "/sign-out?rd=" + evil,
		w.public + "/operators/console?challenge=" + strings.Repeat("A", 43) + "&rd=" + evil + "&origin=" + evil + "&audience=" + evil,
	} {
		res := b.send(false, http.MethodGet, at, nil, "X-Forwarded-Host", "evil.test", "Forwarded", "host=evil.test")
		to := res.Header.Get("Location")
		if strings.Contains(to, "evil") || !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, w.public+"/operators/console?challenge=") && !strings.HasPrefix(to, w.idp+"/") {
			t.Errorf("%s leads to %q", at, to)
		}
	}
	for _, bad := range []string{"", "?challenge=x", "?challenge=" + strings.Repeat("A", 43) + "&challenge=x", "?challenge=" + url.QueryEscape("//evil.test/"+strings.Repeat("A", 31))} {
		if res := b.send(false, http.MethodGet, w.public+"/operators/console"+bad, nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", bad, res.StatusCode)
		}
	}
	// Signed in at the public host: only the console's own origin gets the pass.
	b.ticket()
	if at := b.send(false, http.MethodGet, w.public+"/operators/console?challenge="+strings.Repeat("A", 43)+"&rd="+evil, nil, "X-Forwarded-Host", "evil.test").Header.Get("Location"); !strings.HasPrefix(at, w.admin+"/sign-in/sso/done?attempt=AAAAAAAAAAAA&pass=") {
		t.Errorf("the pass goes to %q", at)
	}
}
