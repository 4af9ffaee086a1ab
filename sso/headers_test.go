package sso_test

import (
	"strings"
	"testing"
)

// Every kind of answer, page or redirect, of both hosts.
func TestEveryAnswerHasItsHeaders(t *testing.T) {
	w := newOIDC(t)
	w.tune = append(w.tune, withFinder)
	w.restart(t)
	b := w.browser()
	b.visit(w.crm + "/")
	b.mustBe(w.crm, "ada@acme.test")
	const none, same = "no-referrer", "same-origin"
	signOut := "'self' " + w.public + " " + w.op.URL
	for _, c := range []struct {
		address, referrer, forms string
		status                   int
	}{
		{w.public + "/", none, "'self' https:", 200},
		{w.public + "/login", none, "'self' https:", 200},
		{w.public + "/login?app=nope", none, "'none'", 404},
		{w.public + "/login?app=wiki.acme", none, "'none'", 302},
		{w.public + "/login?app=desk.globex&challenge=" + strings.Repeat("A", 43), none, "'none'", 302},
		{w.public + "/login?app=wiki.acme&challenge=" + strings.Repeat("A", 43), none, "'none'", 302}, // a ticket
		{w.public + "/callback", none, "'self' https:", 400},
		{w.public + "/callback?error=access_denied&state=x", none, "'none'", 400},
		{w.public + "/callback/oidc_acme?code=x&state=x", none, "'none'", 400},
		{w.public + "/logout", same, signOut, 200},
		{w.public + "/logout?rd=" + w.wiki + "/bye", same, "'self' " + w.public + " " + w.wiki + " " + w.op.URL, 200},
		{w.public + "/signed-out", none, "'none'", 200},
		{w.crm + "/.battery/login", none, "'none'", 302},
		{w.crm + "/.battery/session?ticket=x", none, "'none'", 400},
		{w.crm + "/.battery/userinfo", none, "'none'", 200},
		{w.crm + "/.battery/nothing", none, "'none'", 404},
		{w.crm + "/.battery/logout", same, signOut, 200},
		{w.crm + "/.battery/logout?rd=https://evil.example/", same, signOut, 200},
		{w.wiki + "/.battery/userinfo", none, "'none'", 401},
		{w.wiki + "/.battery/logout", none, "'none'", 303},
	} {
		res := b.step(c.address)
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.address, res.StatusCode, c.status)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": c.referrer, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"} {
			if got := res.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s: %q", c.address, name, got)
			}
		}
		policy := strings.Split(res.Header.Get("Content-Security-Policy"), "; ")
		if len(policy) != 5 || policy[0] != "default-src 'none'" || !strings.HasPrefix(policy[1], "style-src 'sha256-") || policy[2] != "form-action "+c.forms ||
			policy[3] != "base-uri 'none'" || policy[4] != "frame-ancestors 'none'" {
			t.Errorf("%s: the policy is %q", c.address, policy)
		}
	}
	keys := b.step(w.public + "/.well-known/jwks.json")
	if keys.Header.Get("X-Content-Type-Options") != "nosniff" || keys.Header.Get("Cache-Control") != "public, max-age=300" || keys.Header.Get("Content-Type") != "application/json" {
		t.Errorf("keys: %v", keys.Header)
	}
}
