package sso_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A cookie without __Host- can be planted by any sibling host, and by the network
// where the host is asked for in clear. At an https app and public host none counts,
// whatever scheme a request is said to have come by.
func TestPlantedCookiesOfPlainHTTPCountNowhere(t *testing.T) {
	w := newWorld(t)
	w.withPage(0)
	mallory := w.browser()
	mallory.get(w.public + "/login?app=crm.acme&login_hint=mallory%40acme.test")
	mallory.mustBe(w.crm, "mallory@acme.test")
	ada := w.browser()
	ada.visit(w.crm + "/")
	plain := func(b *browser, address string) (out []*http.Cookie) {
		for _, c := range b.cookies(address) {
			out = append(out, &http.Cookie{Name: strings.TrimPrefix(c.Name, "__Host-"), Value: c.Value})
		}
		return out
	}
	headers := map[string][2]string{
		"nothing": {"X-Nothing", ""}, "X-Forwarded-Proto": {"X-Forwarded-Proto", "http"}, "X-Forwarded-Scheme": {"X-Forwarded-Scheme", "http"},
		"Forwarded": {"Forwarded", "proto=http"}, "X-Forwarded-Ssl": {"X-Forwarded-Ssl", "off"}, "X-Forwarded-Port": {"X-Forwarded-Port", "80"},
	}
	for name, header := range headers {
		send := func(method, address string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
			t.Helper()
			r := httptest.NewRequest(method, address, nil)
			r.TLS = nil // a gateway ended it
			r.Header.Set(header[0], header[1])
			for _, c := range cookies {
				r.AddCookie(c)
			}
			rec := httptest.NewRecorder()
			w.engine.ServeHTTP(rec, r)
			for _, c := range rec.Result().Cookies() {
				if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure {
					t.Errorf("%s sets the cookie %s", address, c.Name)
				}
			}
			return rec
		}
		t.Run("at an app, with "+name, func(t *testing.T) {
			planted := plain(mallory, w.crm)
			if rec := send(http.MethodGet, w.crm+"/.battery/userinfo", planted...); rec.Code != http.StatusUnauthorized {
				t.Errorf("userinfo: %d %s", rec.Code, rec.Body)
			}
			if rec := send(http.MethodGet, w.crm+"/.battery/userinfo", append(planted, ada.cookies(w.crm)...)...); !strings.Contains(rec.Body.String(), "ada@acme.test") {
				t.Errorf("userinfo beside one's own: %d %s", rec.Code, rec.Body)
			}
			send(http.MethodPost, w.crm+"/.battery/logout", planted...)
			mallory.mustBe(w.crm, "mallory@acme.test")
			// The ticket of an attacker, whose verifier was planted with it.
			at := mallory.until(mallory.challenge(w.crm+"/"), w.crm+"/.battery/session")
			if rec := send(http.MethodGet, at, plain(mallory, w.crm)...); rec.Code != http.StatusForbidden || len(rec.Result().Cookies()) != 0 {
				t.Errorf("session: %d", rec.Code)
			}
			send(http.MethodGet, w.crm+"/.battery/login", planted...)
		})
		t.Run("at the public host, with "+name, func(t *testing.T) {
			planted := plain(mallory, w.public)
			if rec := send(http.MethodGet, w.public+"/login?app=crm.acme&challenge="+strings.Repeat("A", 43), planted...); !strings.HasPrefix(rec.Header().Get("Location"), w.workos.URL) {
				t.Errorf("login: %d to %s", rec.Code, rec.Header().Get("Location"))
			}
			if rec := send(http.MethodGet, w.public+"/orgs/acme/settings", planted...); rec.Code != http.StatusFound {
				t.Errorf("a page: %d %s", rec.Code, rec.Body)
			}
			send(http.MethodPost, w.public+"/logout", planted...)
			mallory.mustBe(w.crm, "mallory@acme.test")
			// The attempt of an attacker: the victim would be signed in as them.
			b := w.browser()
			back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
			if rec := send(http.MethodGet, back, plain(b, w.public)...); rec.Code != http.StatusBadRequest {
				t.Errorf("callback: %d", rec.Code)
			}
		})
	}
}
