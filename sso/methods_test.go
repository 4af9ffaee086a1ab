package sso_test

import (
	"net/http"
	"strings"
	"testing"
)

// Browsers that were here once ask for sign-in over TLS alone. What an app's host
// does is its owner's to say.
func TestSignInIsNeverAskedForInClear(t *testing.T) {
	const year = "max-age=31536000"
	for _, c := range []struct {
		w      *world
		public string
	}{{newWorld(t), year}, {newLoopback(t), ""}, {build(t, "https", "battery.localhost", "", nil), ""}} {
		for _, path := range []string{"/", "/login", "/login?app=nope", "/callback?code=x&state=y", "/logout", "/signed-out"} {
			if res := c.w.browser().step(c.w.public + path); res.Header.Get("Strict-Transport-Security") != c.public {
				t.Errorf("%s%s: %q", c.w.public, path, res.Header.Get("Strict-Transport-Security"))
			}
		}
		if res := c.w.browser().step(c.w.crm + "/.battery/login"); res.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("the app's host: %q", res.Header.Get("Strict-Transport-Security"))
		}
	}
}

// Whatever else than the methods that an address is for changes nothing, sets
// nothing and is not looked into.
func TestOtherMethodsDoNothing(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	others := []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "get", "ET"}
	for address, methods := range map[string]string{
		w.crm + "/.battery/login": "GET", w.crm + "/.battery/session?ticket=x": "GET", w.crm + "/.battery/userinfo": "GET", w.crm + "/.battery/logout": "GET, POST",
		w.public + "/login?app=crm.acme": "", w.public + "/callback?code=x&state=y": "", w.public + "/callback/oidc_x?code=x": "", w.public + "/logout": "",
		w.public + "/signed-out": "", w.public + "/backchannel-logout/oidc_acme": "",
	} {
		for _, method := range others {
			r, err := http.NewRequest(method, address, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			res, err := ada.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			// What is no method at all, the mux does not even pass on.
			// HEAD looks at these two as GET does, and is led on no further than here.
			looks := method == http.MethodHead && (strings.HasSuffix(address, "/signed-out") || strings.Contains(address, "/login?"))
			refused := looks || res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed && res.Header.Get("Allow") == methods
			if !refused || len(res.Cookies()) > 0 {
				t.Errorf("%s %s answers %d, Allow %q and %d cookies", method, address, res.StatusCode, res.Header.Get("Allow"), len(res.Cookies()))
			}
			ada.mustBe(w.crm, "ada@acme.test")
		}
	}
}

// The cookies of the public host open everything, so nothing that is an app's is
// served there, whatever the registry says.
func TestThePublicHostIsNoApp(t *testing.T) {
	w := newWorld(t)
	crm := *w.apps["crm.acme"]
	crm.Hosts = append([]string{"auth.example"}, crm.Hosts...)
	w.apps["crm.acme"] = &crm
	b := w.browser()
	for _, path := range []string{"login", "session?ticket=x", "userinfo", "logout"} {
		if res := b.step(w.public + "/.battery/" + path); res.StatusCode != http.StatusNotFound || len(res.Cookies()) > 0 {
			t.Errorf("%s answers %d with %d cookies", path, res.StatusCode, len(res.Cookies()))
		}
	}
}
