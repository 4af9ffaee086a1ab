package e2e

import (
	"strings"
	"testing"
)

// kind is a way in which an organization's people sign in, with a world where
// acme's do: crm.acme, wiki.acme and status.acme, ada, bob and root.
type kind struct {
	*world
	name string

	public    string // address of the public host
	asks      string // below it lies the page that asks who signs in
	authorize string // below it lies where sign-ins begin
	portal    string // below it lies WorkOS's Admin Portal

	userPrefix string // of people's ids
	domain     string // an e-mail domain that the organization claims
	// provider is the OpenID provider's own address; empty: there is none.
	provider string
}

// kinds is the table that the journeys run over.
var kinds = []struct {
	name string
	open func(t *testing.T) *kind
}{
	{"workos", func(t *testing.T) *kind { return workOSOf(sharedWorld(t, fronts[0])) }},
	{"openid", openIDKind},
}

// everyKind runs a journey for each way to sign in. Such a journey must leave
// the world as it was, but for sessions.
func everyKind(t *testing.T, journey func(t *testing.T, k *kind)) {
	for _, each := range kinds {
		t.Run(each.name, func(t *testing.T) {
			k := each.open(t)
			journey(t, k)
			count(t, k.front)
		})
	}
}

func workOSOf(w *world) *kind {
	return &kind{world: w, name: "workos", public: w.PublicURL, asks: w.WorkOSURL + "/sso/authorize", authorize: w.WorkOSURL + "/sso/authorize",
		portal: w.WorkOSURL + "/portal/session", userPrefix: "prof_", domain: "acme.test"}
}

// window opens a window for somebody, whose screenshots are named for the
// journey.
func (k *kind) window(t *testing.T, who string) *tab {
	t.Helper()
	journey, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "/")
	return newWindow(t, k.name+"-"+journey+"-"+who)
}

// pick says who signs in, on the page that asks.
func (k *kind) pick(b *tab, email string) {
	b.t.Helper()
	if v := b.at(k.asks, ""); !strings.Contains(v.Text, email) {
		b.fail("the page does not offer %s", email)
	}
	b.press(email)
}

// signIn opens an address and signs in on the way.
func (k *kind) signIn(b *tab, address, email string) {
	b.t.Helper()
	b.visit(address)
	k.pick(b, email)
}

// leave goes through what the identity provider asks of people who sign out.
func (k *kind) leave(b *tab) {
	b.t.Helper()
	if k.provider == "" {
		return
	}
	b.at(k.provider+"/session/end", "provider-asks")
	b.press("Yes, sign me out")
}

// session is the session by which the page that an app just showed was reached.
func (k *kind) session(t *testing.T, e echo) string {
	t.Helper()
	d := k.decision(t, e.Headers.Get("X-Battery-Decision-Id"))
	if d.Result != "allow" || d.SessionID == "" {
		t.Fatalf("the decision by which the page was shown is %+v", d)
	}
	return d.SessionID
}
