package sso_test

import (
	"net/http"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

// A login comes back when its app is gone, another's, or at another host.
func TestALoginWhoseAppIsGoneMeanwhile(t *testing.T) {
	for name, change := range map[string]func(w *world, a *authz.App){
		"the app is gone":                     func(w *world, a *authz.App) { delete(w.apps, "crm.acme") },
		"the app is another organization's":   func(w *world, a *authz.App) { a.OrganizationID = "org_globex" },
		"the app is at another host":          func(w *world, a *authz.App) { a.Hosts = []string{"sales.acme.example"} },
		"the app is served at another port":   func(w *world, a *authz.App) { a.Hosts = []string{"crm.acme.example:8443"} },
		"the app's host is now another app's": func(w *world, a *authz.App) { delete(w.apps, "crm.acme"); a.ID = "new.acme"; w.apps["new.acme"] = a },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
			changed := *w.apps["crm.acme"]
			w.apps["crm.acme"] = &changed
			change(w, &changed)
			res := b.get(back)
			refused(t, b, res, http.StatusNotFound)
			if w.sessions.Count() != 0 {
				t.Error("there is a session")
			}
		})
	}
}

// An app goes to another customer, with its id and its host, while people of the
// first are signed in there. Who they are is none of the second's business.
func TestAnAppThatMovedLearnsNothingOfThoseFromBefore(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.visit(w.crm + "/")
	ticket := b.until(b.challenge(w.crm+"/"), w.crm+"/.battery/session")
	login := b.challenge(w.crm + "/")
	moved := *w.apps["crm.acme"]
	moved.OrganizationID = "org_globex"
	w.apps["crm.acme"] = &moved

	res := b.get(w.crm + "/.battery/userinfo")
	if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, authz.CodeWrongOrganization) || strings.Contains(res.body, "ada") {
		t.Errorf("userinfo: %d %s", res.StatusCode, res.body)
	}
	if res := b.step(ticket); res.StatusCode != http.StatusForbidden || len(res.Cookies()) != 0 {
		t.Errorf("a ticket from before: %d", res.StatusCode)
	}
	if to := b.step(login).Header.Get("Location"); !strings.Contains(to, "organization=org_globex") {
		t.Errorf("a login leads to %s", to)
	}
	b.send(http.MethodPost, w.crm+"/.battery/logout", nil, "Sec-Fetch-Site", "same-origin")
	if w.sessions.Count() != 0 {
		t.Error("the session that its cookie names cannot be signed out of")
	}
}
