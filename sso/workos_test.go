package sso_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// workos answers /sso/authorize and /sso/token as WorkOS does.
type workos struct {
	*httptest.Server
	mu     sync.Mutex
	codes  map[string]string // code → e-mail
	n      int
	mutate func(profile map[string]any)                           // what the next profiles say
	refuse string                                                 // error code that authorize sends back
	token  func(w http.ResponseWriter, r *http.Request) (ok bool) // answers instead
}

func newWorkOS(t *testing.T) *workos {
	w := &workos{codes: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sso/authorize", w.authorize)
	mux.HandleFunc("POST /sso/token", w.exchange)
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	return w
}

func (w *workos) authorize(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := r.URL.Query()
	back := url.Values{"state": {q.Get("state")}}
	if w.refuse != "" {
		back.Set("error", w.refuse)
		back.Set("error_description", "<script>alert(1)</script>")
	} else {
		w.n++
		code := fmt.Sprintf("code_%d", w.n)
		email := q.Get("login_hint")
		if email == "" {
			email = "ada@" + strings.TrimPrefix(q.Get("organization"), "org_") + ".test"
		}
		w.codes[code] = email + "|" + q.Get("organization")
		back.Set("code", code)
	}
	http.Redirect(rw, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (w *workos) exchange(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	answer, mutate := w.token, w.mutate
	w.mu.Unlock()
	if answer != nil && answer(rw, r) {
		return
	}
	_ = r.ParseForm()
	w.mu.Lock()
	who, ok := w.codes[r.PostForm.Get("code")]
	delete(w.codes, r.PostForm.Get("code"))
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	if !ok {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"error":"invalid_grant","error_description":"The code '`+r.PostForm.Get("code")+`' has expired or is invalid."}`)
		return
	}
	email, org, _ := strings.Cut(who, "|")
	profile := map[string]any{"id": "prof_" + email, "idp_id": "idp_" + email, "organization_id": org,
		"connection_id": "conn_1", "connection_type": "OktaSAML", "email": email, "first_name": "Ada", "groups": []string{"Admins"}}
	if mutate != nil {
		mutate(profile)
	}
	_ = json.NewEncoder(rw).Encode(map[string]any{"access_token": "at", "profile": profile})
}
