package engine_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzVerdict: whatever strings a policy answers with, what comes out can be
// sent as headers and read again as what it was.
func FuzzVerdict(f *testing.F) {
	for _, s := range []string{"admin", "a,b", "a\r\nb", "\x00", "", " a", "ä", "\xff", "battery:operator", strings.Repeat("x", 2000)} {
		f.Add(s, s)
	}
	o := options(f)
	o.Headers = []string{"X-Plan"}
	snap := publish(compile(f, rules(`decision := {"allow": true, "roles": ["zeta", input.session.claims.role],
		"headers": {"X-Plan": input.session.claims.plan}}`), o), nil)
	f.Fuzz(func(t *testing.T, role, plan string) {
		in := question()
		in.Session.Claims = map[string]any{"role": role, "plan": plan}
		v, err := snap.Evaluate(context.Background(), in)
		if err != nil {
			if v.Allow || v.Roles != nil || v.Headers != nil {
				t.Fatalf("an error came with %+v", v)
			}
			return
		}
		if got := strings.Split(strings.Join(v.Roles, ","), ","); !slices.Equal(got, v.Roles) || !slices.Contains(got, role) {
			t.Errorf("roles %q read as %q", v.Roles, got)
		}
		var wire strings.Builder
		h := http.Header{}
		h.Set("X-Plan", v.Headers["X-Plan"])
		if err := h.Write(&wire); err != nil || strings.Count(wire.String(), "\r\n") != 1 || v.Headers["X-Plan"] != plan {
			t.Errorf("%q went out as %q (%v)", plan, wire.String(), err)
		}
	})
}
