package sso_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"

	"battery.app/gate/sso"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

// thief is an OpenID provider of globex that sends people on to sign in at
// acme's, with its own attempt's state, and keeps the code that comes of it
// (mix-up, RFC 9700 §4.4).
type thief struct {
	mu     sync.Mutex
	sendTo func(state string) string
	stolen string
}

func (h *thief) authorize(rw http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	http.Redirect(rw, r, h.sendTo(r.URL.Query().Get("state")), http.StatusFound)
}

func (h *thief) token(rw http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stolen = r.PostFormValue("code")
	rw.WriteHeader(http.StatusBadRequest)
}

func (h *thief) at(op *oidctest.Provider) *thief {
	op.Metadata = func(doc map[string]any) { delete(doc, "authorization_response_iss_parameter_supported") }
	op.Instead["/authorize"], op.Instead["/token"] = h.authorize, h.token
	return h
}

// onward is an authorization URL with another state.
func onward(location, state string) string {
	u, _ := url.Parse(location)
	q := u.Query()
	q.Set("state", state)
	u.RawQuery = q.Encode()
	return u.String()
}

// A customer's provider must not get at the codes of another customer's people,
// even of one that does not say who answers (RFC 9207), as WorkOS does not: a
// code opens the attempt that it was asked for, PKCE or not, if the thief chose
// the challenge.
func TestAProviderCannotCollectTheCodesOfOthers(t *testing.T) {
	t.Run("of WorkOS", func(t *testing.T) {
		h := &thief{}
		w := build(t, "https", "example", "", nil, func(w *world) {
			w.op = oidctest.New(w.now.Now)
			t.Cleanup(w.op.Close)
			h.at(w.op)
			w.tune = append(w.tune, func(o *sso.Options) {
				o.Providers = []*oidc.Provider{w.provider(func(c *oidc.Config) { c.OrganizationID, c.ID = "org_globex", "oidc_globex" })}
			})
		})
		mallory, ada := w.browser(), w.browser()
		begun := mallory.until(mallory.challenge(w.crm+"/"), w.workos.URL)
		h.robs(t, mallory, ada, w, begun)
	})
	t.Run("of another provider", func(t *testing.T) {
		w, globex := newTwoProviders(t)
		w.op.Metadata = func(doc map[string]any) { delete(doc, "authorization_response_iss_parameter_supported") }
		w.op.AnswerIssuer = "-"
		h := (&thief{}).at(globex)
		mallory, ada := w.browser(), w.browser()
		begun := mallory.until(mallory.challenge(w.crm+"/"), w.op.URL)
		h.robs(t, mallory, ada, w, begun)
	})
	t.Run("and an answer to an attempt at WorkOS comes in where WorkOS's do", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		back, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		refused(t, b, b.get(w.public+"/callback/oidc_globex?"+back.RawQuery), http.StatusForbidden)
		if n := len(w.workos.codes); n != 1 {
			t.Fatalf("the code was sent: %d left", n)
		}
	})
}

// robs is the attack: mallory began a login at acme's app, ada is led to one of
// globex's.
func (h *thief) robs(t *testing.T, mallory, ada *browser, w *world, begun string) {
	t.Helper()
	h.sendTo = func(state string) string { return onward(begun, state) }
	res := ada.visit(w.desk + "/")
	if h.stolen == "" {
		refused(t, ada, res, http.StatusForbidden)
		return
	}
	u, _ := url.Parse(begun)
	q := url.Values{"code": {h.stolen}, "state": {u.Query().Get("state")}}
	mallory.get(u.Query().Get("redirect_uri") + "?" + q.Encode())
	s, _ := mallory.session(w.crm)
	t.Fatalf("ada's code went to globex's provider; mallory is %+v", s)
}
