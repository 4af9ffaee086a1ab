package sso_test

import (
	"net/http"
	"testing"
)

// Whatever else than the methods that an address is for changes nothing, sets
// nothing and is not looked into.
func TestOtherMethodsDoNothing(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	others := []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "get"}
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
			refused := res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed && res.Header.Get("Allow") == methods
			if !refused || len(res.Cookies()) > 0 {
				t.Errorf("%s %s answers %d, Allow %q and %d cookies", method, address, res.StatusCode, res.Header.Get("Allow"), len(res.Cookies()))
			}
			ada.mustBe(w.crm, "ada@acme.test")
		}
	}
}
