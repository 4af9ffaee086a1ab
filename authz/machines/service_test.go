package machines_test

import (
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/machines"
)

// tokens is a store of service tokens by hash.
type tokens struct {
	mu     sync.Mutex
	byHash map[string]machines.Token
}

func (s *tokens) Find(hash string) (machines.Token, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.byHash[hash]
	return t, ok
}

func (s *tokens) set(hash string, t *machines.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.byHash, hash); t != nil {
		s.byHash[hash] = *t
	}
}

func TestServiceTokens(t *testing.T) {
	kept := &tokens{byHash: map[string]machines.Token{}}
	w := newWorld(t, func(o *machines.Options) { o.ServiceTokens = kept })
	secret, hash := machines.NewServiceToken()
	good := machines.Token{ID: "st_1", OrganizationID: "org_acme", Apps: []string{"wiki.acme", "crm.acme"},
		Roles: []string{"member", "editor", "editor", "battery:operator"}, IssuedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(time.Hour)}

	t.Run("a good one is a machine's session", func(t *testing.T) {
		kept.set(hash, &good)
		s, code := w.ask(w.crm, secret)
		is(t, s, code, "")
		if want := (&authz.Session{ID: "st_1", UserID: "st_1", OrganizationID: "org_acme", Kind: authz.KindServiceToken,
			IssuedAt: good.IssuedAt, ExpiresAt: good.ExpiresAt, Claims: map[string]any{"roles": []string{"editor", "member"}}}); !reflect.DeepEqual(s, want) {
			t.Errorf("got  %+v\nwant %+v", s, want)
		}
		if again, _ := w.ask(w.crm, secret); again != s {
			t.Error("the same token is another session at every request")
		}
	})
	for name, c := range map[string]struct {
		edit   func(*machines.Token)
		app    func(*authz.App)
		secret string
		want   string
	}{
		"for another app":             {edit: func(t *machines.Token) { t.Apps = []string{"wiki.acme"} }, want: authz.CodeTokenAudience},
		"for no app":                  {edit: func(t *machines.Token) { t.Apps = nil }, want: authz.CodeTokenAudience},
		"of another organization":     {edit: func(t *machines.Token) { t.OrganizationID = "org_globex" }, want: authz.CodeTokenAudience},
		"of no organization":          {edit: func(t *machines.Token) { t.OrganizationID = "" }, want: authz.CodeTokenInvalid},
		"without an id":               {edit: func(t *machines.Token) { t.ID = "" }, want: authz.CodeTokenInvalid},
		"expired":                     {edit: func(t *machines.Token) { t.ExpiresAt = noon }, want: authz.CodeTokenExpired},
		"without an end":              {edit: func(t *machines.Token) { t.ExpiresAt = time.Time{} }, want: authz.CodeTokenExpired},
		"where JWTs alone are taken":  {app: func(a *authz.App) { a.Machines.ServiceTokens = false }, want: authz.CodeTokenInvalid},
		"unknown":                     {secret: "bgs_" + strings.Repeat("A", 43), want: authz.CodeTokenInvalid},
		"cut":                         {secret: secret[:len(secret)-1], want: authz.CodeTokenInvalid},
		"in capitals":                 {secret: strings.ToUpper(secret), want: authz.CodeTokenInvalid},
		"the hash instead of the key": {secret: "bgs_" + hash, want: authz.CodeTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			kept.set(hash, &good)
			if s, code := w.ask(w.crm, secret); s == nil { // so that there is something to remember
				t.Fatal(code)
			}
			token, app, bearer := good, *w.crm, secret
			if c.edit != nil {
				c.edit(&token)
			}
			if c.app != nil {
				c.app(&app)
			}
			if c.secret != "" {
				bearer = c.secret
			}
			kept.set(hash, &token)
			s, code := w.ask(w.crm, bearer)
			if c.app != nil {
				s, code = w.ask(&app, bearer)
			}
			is(t, s, code, c.want)
		})
	}
	t.Run("revoked is dead at once", func(t *testing.T) {
		kept.set(hash, &good)
		s, code := w.ask(w.crm, secret)
		is(t, s, code, "")
		kept.set(hash, nil)
		s, code = w.ask(w.crm, secret)
		is(t, s, code, authz.CodeTokenInvalid)
	})
	t.Run("with other roles is another session at once", func(t *testing.T) {
		kept.set(hash, &good)
		w.ask(w.crm, secret)
		less := good
		less.Roles = []string{"member"}
		kept.set(hash, &less)
		s, _ := w.ask(w.crm, secret)
		if s == nil || !reflect.DeepEqual(s.Claims["roles"], []string{"member"}) {
			t.Errorf("got %+v", s)
		}
	})
}

func TestSecretsOfServiceTokens(t *testing.T) {
	a, hashA := machines.NewServiceToken()
	b, hashB := machines.NewServiceToken()
	if a == b || hashA == hashB || !strings.HasPrefix(a, "bgs_") || len(a) != 47 || len(hashA) != 64 || machines.HashServiceToken(a) != hashA || strings.Contains(hashA, a[4:]) {
		t.Errorf("%q %q", a, hashA)
	}
}

func TestUseIsToldOnceAMinute(t *testing.T) {
	kept := &tokens{byHash: map[string]machines.Token{}}
	var told []string
	w := newWorld(t, func(o *machines.Options) {
		o.ServiceTokens = kept
		o.Used = func(id string, at time.Time) { told = append(told, id+" "+at.Format("15:04:05")) }
	})
	secret, hash := machines.NewServiceToken()
	kept.set(hash, &machines.Token{ID: "st_1", OrganizationID: "org_acme", Apps: []string{"crm.acme"}, ExpiresAt: noon.Add(time.Hour)})
	for _, wait := range []time.Duration{0, time.Second, 58 * time.Second, time.Second, time.Second} {
		w.clock.Advance(wait)
		w.ask(w.crm, secret)
		w.ask(w.crm, "bgs_nobody")
	}
	if got := strings.Join(told, ", "); got != "st_1 12:00:00, st_1 12:01:00" {
		t.Errorf("told %s", got)
	}
}
