package oidc_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a provider and the client that talks to it.
type world struct {
	t     *testing.T
	clock *clock
	op    *oidctest.Provider
	p     *oidc.Provider
}

func newWorld(t *testing.T, change ...func(*oidc.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	w.op = oidctest.New(w.clock.Now)
	t.Cleanup(w.op.Close)
	c := config(w.op.URL)
	c.Now = w.clock.Now
	for _, f := range change {
		f(&c)
	}
	var err error
	if w.p, err = oidc.New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

func config(issuer string) oidc.Config {
	return oidc.Config{
		OrganizationID: "org_acme", ID: "oidc_acme", Issuer: issuer, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret,
		Timeout: 30 * time.Second, // tests run on busy machines; those of a provider that hangs take less
	}
}

func attempt() oidc.Attempt {
	return oidc.Attempt{RedirectURI: "https://auth.example/callback", State: "state", Nonce: "nonce", Verifier: strings.Repeat("v", 43)}
}

// begin goes to the provider and returns what it sends back with.
func (w *world) begin(a oidc.Attempt) url.Values {
	w.t.Helper()
	to, err := w.p.AuthorizationURL(context.Background(), a, "ada@acme.test")
	if err != nil {
		w.t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(to)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	u, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusFound {
		w.t.Fatalf("%s answers %d", to, res.StatusCode)
	}
	return u.Query()
}

// login is one whole attempt.
func (w *world) login(a oidc.Attempt) (oidc.Identity, error) {
	w.t.Helper()
	q := w.begin(a)
	return w.p.Exchange(context.Background(), a, q.Get("code"), q.Get("iss"))
}

func (w *world) asked(path string) int {
	w.op.Mu.Lock()
	defer w.op.Mu.Unlock()
	return w.op.Asked[path]
}
