package sso_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

func TestSignInAtAnOpenIDProvider(t *testing.T) {
	w := newOIDC(t, func(c *oidc.Config) { c.GroupsClaim = "groups" })
	w.op.Extra["groups"] = []string{"Engineering"}
	ada := w.browser()
	if res := ada.visit(w.crm + "/deals?id=7"); res.at != w.crm+"/deals?id=7" {
		t.Fatalf("ended with %d at %s: %s", res.StatusCode, res.at, res.body)
	}
	s := ada.mustBe(w.crm, "ada@acme.test")
	if s.Kind != "oidc" || s.ConnectionID != "oidc_acme" || s.IdpID != "sub-ada" || s.OrganizationID != "org_acme" ||
		!regexp.MustCompile(`^oidc_[0-9a-f]{32}$`).MatchString(s.UserID) {
		t.Fatalf("%+v", s)
	}
	if c, _ := json.Marshal(s.Claims); string(c) != `{"first_name":"Ada","groups":["Engineering"]}` {
		t.Fatalf("claims %s", c)
	}
	t.Run("and the same person has the same id next time, in another session", func(t *testing.T) {
		again := w.browser()
		again.visit(w.crm + "/")
		if x := again.mustBe(w.crm, "ada@acme.test"); x.UserID != s.UserID || x.ID == s.ID {
			t.Fatalf("%+v", x)
		}
	})
	t.Run("a second app of the organization asks nobody", func(t *testing.T) {
		ada.path = nil
		ada.visit(w.wiki + "/")
		ada.mustBe(w.wiki, "ada@acme.test")
		if strings.Contains(strings.Join(ada.path, " "), w.op.URL) {
			t.Fatalf("went to the provider: %v", ada.path)
		}
	})
	t.Run("other organizations sign in through WorkOS", func(t *testing.T) {
		ada.visit(w.desk + "/")
		if x := ada.mustBe(w.desk, "ada@globex.test"); x.Kind != "sso" {
			t.Fatalf("%+v", x)
		}
	})
	t.Run("the login hint is passed on", func(t *testing.T) {
		b := w.browser()
		b.get(w.public + "/login?app=crm.acme&login_hint=ada%40acme.test")
		if w.op.Last.Get("login_hint") != "ada@acme.test" || w.op.Last.Get("redirect_uri") != w.public+"/callback/oidc_acme" {
			t.Fatalf("%v", w.op.Last)
		}
	})
	t.Run("the state cookie fits even with the longest return address", func(t *testing.T) {
		b := w.browser()
		b.visit(w.crm + "/") // the attempt names the session that it began from
		long := w.crm + "/x?" + strings.Repeat("&", 1999-len(w.crm+"/x?")) + "z"
		begun := b.step(b.challenge(long) + "&login_hint=bob%40acme.example").Cookies()
		if len(begun) == 0 {
			t.Fatal("no attempt")
		}
		for _, c := range begun {
			if n := len(c.Name) + len(c.Value); n > 4096 {
				t.Fatalf("%s has %d bytes", c.Name, n)
			}
		}
	})
	t.Run("no token of the provider is in the store or the log in clear", func(t *testing.T) {
		entries, _, err := w.store.List(context.Background(), sso.Prefix)
		if err != nil {
			t.Fatal(err)
		}
		jwt := regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.eyJ`)
		for _, e := range entries {
			if jwt.Match(e.Value) || strings.Contains(string(e.Value), "access-code") {
				t.Fatalf("%s holds a token: %s", e.Key, e.Value)
			}
		}
		if log := w.log.String(); jwt.MatchString(log) || strings.Contains(log, "access-code") {
			t.Fatal("the log holds a token")
		}
	})
	t.Run("a session of a provider that is not configured any more is over", func(t *testing.T) {
		w.tune = append(w.tune, func(o *sso.Options) { o.Providers = nil })
		keep := w.sessions
		id := ada.mustBe(w.crm, "ada@acme.test").ID
		o := options(w)
		if _, err := sso.New(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if _, code := ada.session(w.crm); code != authz.CodeSessionRevoked {
			t.Fatalf("code %s", code)
		}
		if got := keep.List(sso.Filter{ConnectionID: "oidc_acme"}); len(got) != 0 {
			t.Fatalf("listed: %v", got)
		}
		if _, err := keep.Get(id); err == nil {
			t.Fatal("found by its id")
		}
		ada.mustBe(w.desk, "ada@globex.test")
		moved := w.provider(func(c *oidc.Config) { c.Issuer = "https://new.example" })
		for _, again := range []struct {
			p    *oidc.Provider
			code string
		}{{moved, authz.CodeSessionRevoked}, {w.provider(), ""}, {moved, authz.CodeSessionRevoked}} {
			o.Providers, o.Apps = []*oidc.Provider{again.p}, func() sso.AppView { return w.apps }
			svc, err := sso.New(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			w.engine = newEngine(svc)
			if _, code := ada.session(w.crm); code != again.code {
				t.Fatalf("with the issuer %s: code %q", again.p.Issuer(), code)
			}
			// Nor is it a remembered login.
			res := ada.step(w.public + "/login?app=wiki.acme&challenge=" + strings.Repeat("A", 43))
			if ticket := strings.Contains(res.Header.Get("Location"), "ticket="); ticket != (again.code == "") {
				t.Fatalf("with the issuer %s: led to %s", again.p.Issuer(), res.Header.Get("Location"))
			}
		}
		other := w.provider(func(c *oidc.Config) { c.OrganizationID = "org_globex" })
		o.Providers = []*oidc.Provider{other}
		if _, err := sso.New(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if s, _ := ada.session(w.crm); s != nil {
			t.Fatal("a connection that is another organization's now opens the old one")
		}
	})
}

func TestOpenIDLoginRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		hostile func(*world)
		status  int
	}{
		"another issuer's token":      {func(w *world) { w.op.Tamper = func(c map[string]any) { c["iss"] = "https://evil.example" } }, http.StatusForbidden},
		"another audience's token":    {func(w *world) { w.op.Tamper = func(c map[string]any) { c["aud"] = "x" } }, http.StatusForbidden},
		"another login's token":       {func(w *world) { w.op.Tamper = func(c map[string]any) { c["nonce"] = "x" } }, http.StatusForbidden},
		"an expired token":            {func(w *world) { w.op.Tamper = func(c map[string]any) { c["exp"] = 1 } }, http.StatusForbidden},
		"an unsigned token":           {func(w *world) { w.op.Sign = func([]byte) string { return "eyJhbGciOiJub25lIn0.e30." } }, http.StatusForbidden},
		"an answer of another issuer": {func(w *world) { w.op.AnswerIssuer = "https://evil.example" }, http.StatusForbidden},
		"an answer of no issuer":      {func(w *world) { w.op.AnswerIssuer = "-" }, http.StatusForbidden},
		"an error of another issuer":  {func(w *world) { w.op.Refuse, w.op.AnswerIssuer = "access_denied", "https://evil.example" }, http.StatusForbidden},
		"UserInfo about another person": {func(w *world) {
			delete(w.op.Extra, "email")
			w.op.UserInfo = map[string]any{"sub": "sub-root", "email": "root@acme.test", "email_verified": true}
		}, http.StatusForbidden},
		"a refusal":                     {func(w *world) { w.op.Refuse = "access_denied" }, http.StatusForbidden},
		"a refusal in script":           {func(w *world) { w.op.Refuse = "<script>" }, http.StatusForbidden},
		"a provider that is busy":       {func(w *world) { w.op.Refuse = "temporarily_unavailable" }, http.StatusBadGateway},
		"a token endpoint that is down": {func(w *world) { w.op.Instead["/token"] = status(503) }, http.StatusBadGateway},
		"a token endpoint that hangs":   {func(w *world) { w.op.Instead["/token"] = hang }, http.StatusBadGateway},
		"keys that are down":            {func(w *world) { w.op.Instead["/keys"] = status(500) }, http.StatusBadGateway},
		"metadata that is down":         {func(w *world) { w.op.Instead["/.well-known/openid-configuration"] = status(500) }, http.StatusBadGateway},
		"metadata that hangs":           {func(w *world) { w.op.Instead["/.well-known/openid-configuration"] = hang }, http.StatusBadGateway},
		"metadata of another issuer":    {func(w *world) { w.op.Metadata = func(d map[string]any) { d["issuer"] = "https://evil.example" } }, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOIDC(t)
			if strings.HasSuffix(name, "hangs") {
				w.hasty()
			}
			c.hostile(w)
			b := w.browser()
			res := b.visit(w.crm + "/")
			refused(t, b, res, c.status)
			if !strings.Contains(res.body, "/login?app=crm.acme") {
				t.Fatalf("no way to try again: %s", res.body)
			}
			if w.sessions.Count() != 0 {
				t.Fatal("there is a session")
			}
			// Nobody else notices.
			gil := w.browser()
			gil.visit(w.desk + "/")
			gil.mustBe(w.desk, "ada@globex.test")
		})
	}
	t.Run("a code of WorkOS in an attempt at the provider", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		back, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		other, _ := url.Parse(w.browser().until(w.browser().challenge(w.desk+"/"), w.public+"/callback"))
		q := back.Query()
		q.Set("code", other.Query().Get("code"))
		refused(t, b, b.get(w.public+back.Path+"?"+q.Encode()), http.StatusBadRequest)
	})
	t.Run("a code of another browser's attempt", func(t *testing.T) {
		w := newOIDC(t)
		attacker, victim := w.browser(), w.browser()
		stolen, _ := url.Parse(attacker.until(attacker.challenge(w.crm+"/"), w.public+"/callback"))
		back, _ := url.Parse(victim.until(victim.challenge(w.crm+"/"), w.public+"/callback"))
		q := back.Query()
		q.Set("code", stolen.Query().Get("code"))
		refused(t, victim, victim.get(w.public+back.Path+"?"+q.Encode()), http.StatusBadRequest)
	})
	t.Run("an attempt whose provider was replaced meanwhile", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		w.tune = []func(*sso.Options){func(o *sso.Options) {
			o.Providers = []*oidc.Provider{w.provider(func(c *oidc.Config) { c.ID = "oidc_new" })}
		}}
		o := options(w)
		o.Apps = func() sso.AppView { return w.apps }
		o.Providers = []*oidc.Provider{w.provider(func(c *oidc.Config) { c.ID = "oidc_new" })}
		svc, err := sso.New(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		w.engine = newEngine(svc)
		refused(t, b, b.get(back), http.StatusBadRequest)
	})
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func hang(_ http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); <-r.Context().Done() }

func TestUnverifiedAddressIsNobodys(t *testing.T) {
	w := newOIDC(t)
	w.op.Extra = map[string]any{"email": "root@acme.test", "email_verified": false}
	b := w.browser()
	b.visit(w.crm + "/")
	s := b.mustBe(w.crm, "")
	if s.Claims["email_unverified"] != "root@acme.test" {
		t.Fatalf("%+v", s)
	}
}

func TestProvidersAreUnambiguous(t *testing.T) {
	w := newOIDC(t)
	for name, list := range map[string][]*oidc.Provider{
		"nil":                     {nil},
		"the same id":             {w.provider(), w.provider(func(c *oidc.Config) { c.OrganizationID = "org_globex" })},
		"the same organization's": {w.provider(), w.provider(func(c *oidc.Config) { c.ID = "oidc_b" })},
	} {
		o := options(w)
		o.Providers = list
		if _, err := sso.New(context.Background(), o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// newTwoProviders is a world in which globex brings a provider of its own, too.
func newTwoProviders(t *testing.T) (w *world, globex *oidctest.Provider) {
	t.Helper()
	w = build(t, "https", "example", "", nil, func(w *world) {
		w.op, globex = oidctest.New(w.now.Now), oidctest.New(w.now.Now)
		t.Cleanup(w.op.Close)
		t.Cleanup(globex.Close)
		globex.Extra["email"] = "gil@globex.test"
		w.others = append(w.others, globex.URL)
		w.tune = append(w.tune, func(o *sso.Options) {
			o.Providers = []*oidc.Provider{w.provider(), w.provider(func(c *oidc.Config) {
				c.OrganizationID, c.ID, c.Issuer = "org_globex", "oidc_globex", globex.URL
			})}
		})
	})
	return w, globex
}

func TestTwoProvidersAreKeptApart(t *testing.T) {
	t.Run("the same subject is two people", func(t *testing.T) {
		w, _ := newTwoProviders(t)
		b := w.browser()
		b.visit(w.crm + "/")
		b.visit(w.desk + "/")
		a, g := b.mustBe(w.crm, "ada@acme.test"), b.mustBe(w.desk, "gil@globex.test")
		if a.IdpID != g.IdpID || a.UserID == g.UserID || g.ConnectionID != "oidc_globex" {
			t.Fatalf("%+v and %+v", a, g)
		}
		t.Run("and one provider's logout is not the other's", func(t *testing.T) {
			if code := w.tell("oidc_globex", w.op.LogoutToken(nil)); code != http.StatusBadRequest {
				t.Fatalf("acme's token is globex's: %d", code)
			}
			if code := w.tell("oidc_acme", w.op.LogoutToken(nil)); code != http.StatusOK {
				t.Fatal(code)
			}
			b.mustBe(w.desk, "gil@globex.test")
			b.mustBeNobody(w.crm, authz.CodeSessionRevoked)
		})
	})
	t.Run("an answer of one in an attempt at the other is refused, and no code sent (mix-up)", func(t *testing.T) {
		w, globex := newTwoProviders(t)
		b := w.browser()
		mine, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		theirs, _ := url.Parse(b.until(b.challenge(w.desk+"/"), w.public+"/callback"))
		q := theirs.Query()
		q.Set("state", mine.Query().Get("state"))
		refused(t, b, b.get(w.public+mine.Path+"?"+q.Encode()), http.StatusForbidden)
		// The attacker drops iss, to pass for the honest one.
		mine, _ = url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		q.Set("state", mine.Query().Get("state"))
		q.Del("iss")
		refused(t, b, b.get(w.public+mine.Path+"?"+q.Encode()), http.StatusForbidden)
		// It comes in at the address of the one that it is of.
		for _, address := range []string{theirs.Path, "/callback", "/callback/", "/callback/oidc_none"} {
			mine, _ = url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
			refused(t, b, b.get(w.public+address+"?"+mine.RawQuery), http.StatusForbidden)
		}
		if w.op.Asked["/token"] != 0 || globex.Asked["/token"] != 0 {
			t.Fatal("a code was sent")
		}
	})
	t.Run("one that is down delays nobody of the other", func(t *testing.T) {
		w, globex := newTwoProviders(t)
		w.hasty()
		globex.Instead["/.well-known/openid-configuration"] = hang
		b := w.browser()
		if res := b.visit(w.desk + "/"); res.StatusCode != http.StatusBadGateway {
			t.Fatal(res.StatusCode)
		}
		b.visit(w.crm + "/")
		b.mustBe(w.crm, "ada@acme.test")
	})
}
