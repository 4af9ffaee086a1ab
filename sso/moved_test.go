package sso_test

import (
	"net/http"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

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
