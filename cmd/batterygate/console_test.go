package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var consoleForm = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">.*?name="form" value="([^"]*)"`)

// consoleToken is the hidden token of a page's form.
func consoleToken(t *testing.T, page, action string) string {
	t.Helper()
	for _, m := range consoleForm.FindAllStringSubmatch(page, -1) {
		if m[1] == action {
			return m[2]
		}
	}
	t.Fatalf("no form for %s in: %s", action, page)
	return ""
}

// In dev there is no operators' organization: the token that dev prints is the
// way in, and what is ended there is over at the gateway.
func TestAnOperatorEndsASessionInTheConsole(t *testing.T) {
	d := startDemo(t)
	people, _ := cookiejar.New(nil)
	ada := loopbackClient(people)
	ada.CheckRedirect = nil
	crm := d.app("crm.acme", "/")
	if a := d.do(ada, "GET", d.PublicURL+"/login?app=crm.acme&login_hint=ada@acme.test&rd="+url.QueryEscape(crm), ""); a.status != http.StatusOK {
		t.Fatalf("ada is not in: %d %s", a.status, a.body)
	}
	jar, _ := cookiejar.New(nil)
	me := loopbackClient(jar)
	post := func(path string, form url.Values) answer {
		return d.do(me, "POST", d.AdminURL+path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", d.AdminURL)
	}
	get := func(path string) answer { return d.do(me, "GET", d.AdminURL+path, "") }
	front := get("/")
	if front.status != http.StatusOK || strings.Contains(front.body, "/sign-in/sso") {
		t.Fatalf("%d: single sign-on is offered, or nothing is", front.status)
	}
	if a := post("/sign-in/token", url.Values{"token": {d.AdminToken}, "form": {consoleToken(t, front.body, "/sign-in/token")}}); a.status != http.StatusSeeOther {
		t.Fatalf("sign-in: %d %s", a.status, a.body)
	}
	home := get("/")
	for _, want := range []string{"Who you are", "API token", "Ready.", `href="/sessions"`, `href="/audit"`} {
		if !strings.Contains(home.body, want) {
			t.Errorf("home does not show %q", want)
		}
	}
	ask := get("/sessions/end-many?user=ada@acme.test")
	if !strings.Contains(ask.body, "End 1 session?") {
		t.Fatalf("asked: %s", ask.body)
	}
	if a := d.do(ada, "GET", crm, ""); a.status != http.StatusOK {
		t.Fatalf("ada before: %d", a.status)
	}
	form := url.Values{"user": {"ada@acme.test"}, "org": {""}, "all": {""}, "form": {consoleToken(t, ask.body, "/sessions/end-many")}}
	if a := d.do(me, "POST", d.AdminURL+"/sessions/end-many", form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", d.PublicURL); a.status != http.StatusForbidden {
		t.Errorf("from the public host's page: %d", a.status)
	}
	if a := post("/sessions/end-many", form); a.status != http.StatusOK || !strings.Contains(a.body, "1 session was ended") {
		t.Fatalf("ending: %d %s", a.status, a.body)
	}
	ada.CheckRedirect = loopbackClient(nil).CheckRedirect
	if a := d.do(ada, "GET", crm, "", "Accept", "application/json"); a.status == http.StatusOK {
		t.Error("ada is still in")
	}
	if a := get("/audit?action=sessions.revoke"); !strings.Contains(a.body, "sessions.revoke") || !strings.Contains(a.body, "API token") {
		t.Error("it is not in the audit")
	}
	var list struct {
		Data []struct {
			Actor struct{ Kind string }
		}
	}
	d.api("GET", "audit?action=sessions.revoke", "").json(t, &list)
	if len(list.Data) != 2 || list.Data[0].Actor.Kind != "token" {
		t.Errorf("the API's audit: %+v", list)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if a := get(path); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := d.do(me, "GET", d.AdminURL+"/", "", "Host", "evil.test"); a.status != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", a.status)
	}
}
