package settings_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sync/workosapi"
)

func regexpAll(s, re string) []string {
	var out []string
	for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(s, -1) {
		out = append(out, m[1])
	}
	return out
}

// step2 is step without a test, for goroutines.
func (b *browser) step2(address string, f url.Values) int {
	r, _ := http.NewRequest(http.MethodPost, address, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	u, _ := url.Parse(public)
	for _, c := range b.http.Jar.Cookies(u) {
		r.AddCookie(c)
	}
	r.URL, _ = url.Parse(address)
	res, err := (&browser{w: b.w}).RoundTrip(r)
	if err != nil {
		return 0
	}
	return res.StatusCode
}

func (b *browser) press(intent string) reply {
	b.w.t.Helper()
	f := form(b.get(page).body, "/portal")
	if f == nil {
		f = url.Values{}
	}
	f.Set("intent", intent)
	return b.step(page+"/portal", f)
}

func TestAButtonOpensThePortal(t *testing.T) {
	for _, intent := range []string{"sso", "dsync", "domain_verification", "certificate_renewal"} {
		w := newWorld(t)
		res := w.admin().press(intent)
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "https://setup.workos.com?token=SECRET" || strings.Contains(res.body, "SECRET") {
			t.Fatalf("%s: %d %s", intent, res.StatusCode, res.Header.Get("Location"))
		}
		if want := acme + " " + intent + " " + page + " " + page; len(w.workos.asked) != 1 || w.workos.asked[0] != want {
			t.Fatalf("WorkOS was asked %v", w.workos.asked)
		}
		acts := w.acts()
		if len(acts) != 1 || acts[0].Result != "done" || acts[0].Action != "portal-links.create" {
			t.Fatalf("the audit holds %+v", acts)
		}
		if strings.Contains(w.log.String(), "SECRET") {
			t.Error("the link is in the log")
		}
		entries, _, _ := w.store.List(t.Context(), "")
		for _, e := range entries {
			if strings.Contains(string(e.Value), "SECRET") {
				t.Errorf("the link is in the store, under %s", e.Key)
			}
		}
	}
}

func TestFormsLeadHereAndToThePortalAlone(t *testing.T) {
	w := newWorld(t)
	policy := w.admin().get(page).Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "form-action 'self' https://setup.workos.com http://127.0.0.1:4001;") {
		t.Fatal(policy)
	}
}

func TestThePortalAsksForARecentLogin(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f := form(b.get(page).body, "/portal")
	f.Set("intent", "sso")
	w.pass(12 * time.Minute)
	res := b.step(page+"/portal", f)
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "/orgs/acme/settings/sign-in") || len(w.workos.asked) != 0 {
		t.Fatalf("%d, asked %v: %s", res.StatusCode, w.workos.asked, res.body)
	}
	if shown := b.get(page); form(shown.body, "/portal") != nil || !strings.Contains(shown.body, "Sign in again") {
		t.Fatal("buttons are shown that cannot work")
	}
	b.path = nil
	w.workos.as = "ada@acme.test"
	back := b.get(page + "/sign-in")
	if !strings.Contains(strings.Join(b.path, " "), "prompt=login") || !strings.HasPrefix(back.at, page+"?signed-in") || !strings.Contains(back.body, "just signed in") {
		t.Fatalf("came to %s over %v", back.at, b.path)
	}
	if res := b.press("sso"); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %s", res.StatusCode, res.body)
	}
}

func TestAPortalLinkLeadsToWorkOSAlone(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	for _, link := range []string{
		"", "http://setup.workos.com?token=SECRET", "https://setup.workos.com.evil.example?token=SECRET", "https://evil.example/?token=SECRET",
		"https://evil.example/setup.workos.com", "https://setup.workos.com@evil.example/", "https://evil.example#@setup.workos.com",
		"https://setup.workos.com\\@evil.example/", "https://setup.workos.com:8443/?token=SECRET", "//setup.workos.com/", "/orgs/acme",
		"javascript:alert(1)//setup.workos.com", "data:text/html,SECRET", "https:setup.workos.com", "https:///setup.workos.com",
		"https://setup.workos.com\r\nSet-Cookie: a=b", "https://setup.workos.com/ x", "https://SETUP.workos.com./", "https://xn--setup-workos.com",
		"https://user:pass@setup.workos.com/", "https://127.0.0.1:4001/?token=SECRET", "http://127.0.0.1:4002/", "http://127.0.0.1/", "https://setup.workos.com?" + strings.Repeat("x", 5000),
		"https://setup.workos.com\u3002evil.example", "https://setup%2eworkos.com/", " https://setup.workos.com/",
	} {
		w.workos.link = link
		res := b.press("sso")
		if res.StatusCode != http.StatusBadGateway || res.Header.Get("Location") != "" || strings.Contains(res.body, "SECRET") || strings.Contains(res.body, "evil") {
			t.Errorf("%.60q: %d %s", link, res.StatusCode, res.Header.Get("Location"))
		}
	}
	if strings.Contains(w.log.String(), "SECRET") || strings.Contains(w.log.String(), "evil") {
		t.Error("a link is in the log")
	}
	for _, e := range w.acts() {
		if e.Result != "failed" {
			t.Errorf("recorded as %s", e.Result)
		}
	}
	for _, link := range []string{"https://setup.workos.com/sso?token=SECRET", "http://127.0.0.1:4001/portal/session?token=SECRET"} {
		w.workos.link = link
		if res := b.press("sso"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != link {
			t.Errorf("%s: %d", link, res.StatusCode)
		}
	}
}

func TestAWorkOSThatIsDownIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"down":    {workosapi.ErrUnavailable, "does not answer"},
		"busy":    {workosapi.ErrRateLimited, "does not answer"},
		"unknown": {workosapi.ErrNotFound, "does not know your organization"},
	} {
		w := newWorld(t)
		w.workos.err, w.workos.link = c.err, ""
		res := w.admin().press("dsync")
		if res.StatusCode != http.StatusBadGateway || !strings.Contains(res.body, c.want) {
			t.Errorf("%s: %d: %s", name, res.StatusCode, res.body)
		}
		if acts := w.acts(); len(acts) != 1 || acts[0].Result != "failed" {
			t.Errorf("%s: the audit holds %+v", name, acts)
		}
	}
}

func TestIntentsThatHaveNoButtonDoNothing(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	for _, intent := range []string{"", "audit_logs", "log_streams", "SSO", "sso\x00"} {
		if res := b.press(intent); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", intent, res.StatusCode)
		}
	}
	w.own[acme] = true // signs in at an OpenID provider of its own
	if res := b.press("sso"); res.StatusCode != http.StatusBadRequest || len(w.workos.asked) != 0 {
		t.Errorf("%d, asked %v", res.StatusCode, w.workos.asked)
	}
	if res := b.press("dsync"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("%d", res.StatusCode)
	}
}
