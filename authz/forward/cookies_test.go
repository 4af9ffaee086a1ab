package forward_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/authz/forward"
	"battery.app/gate/sso"
)

const oursValue = "__Host-battery_session=t-ada"

// rewriting is a world whose HTTP gateways take the app's cookies from the answer.
func rewriting(t testing.TB) *world {
	return newWorld(t, func(o *forward.Options) {
		o.CookieRewrite = []string{forward.DoorForwardAuth, forward.DoorAuthRequest, forward.DoorExtAuthz}
	})
}

func TestOurCookiesDoNotReachTheApp(t *testing.T) {
	big := "big=" + strings.Repeat("x", 1<<20)
	for name, row := range map[string]struct {
		sent []string
		want string // what the app gets over gRPC
		http string // at an HTTP door, where that differs
	}{
		"between others":      {sent: []string{"a=1; " + oursValue + "; b=2"}, want: "a=1; b=2"},
		"first":               {sent: []string{oursValue + "; b=2"}, want: "b=2"},
		"last":                {sent: []string{"a=1; " + oursValue}, want: "a=1"},
		"alone":               {sent: []string{oursValue}, want: ""},
		"every copy":          {sent: []string{oursValue + "; a=1; " + oursValue + ";" + oursValue}, want: "a=1"},
		"on several lines":    {sent: []string{"a=1", oursValue, "b=2; c=3"}, want: "a=1; b=2; c=3"},
		"bytes and order":     {sent: []string{`z="q;u"; a==;; b ; ` + oursValue + `;c=%20,x`}, want: `z="q;u"; a==;; b ;c=%20,x`},
		"the others of ours":  {sent: []string{oursValue + "; __Host-battery_verifier_1=v; battery_session=p; battery_verifier_9=x; __Host-battery_login=l; battery_state_=s; a=1"}, want: "a=1"},
		"names like ours":     {sent: []string{oursValue + "; xbattery_session=1; __host-battery_session=2; battery=3; __Host-batter=4"}, want: "xbattery_session=1; __host-battery_session=2; battery=3; __Host-batter=4"},
		"a name with a space": {sent: []string{oursValue + "; __Host-battery_session =p; a=1"}, want: "a=1"},
		"joined by commas":    {sent: []string{"a=1," + oursValue + ",b=2, __Host-battery_login=l; c=3"}, want: "a=1;b=2; c=3"},
		"first of a comma":    {sent: []string{oursValue + "; battery_session=x,a=1,2; b=3,__Host-battery_verifier_1=v"}, want: "a=1,2; b=3"},
		"1 MB":                {sent: []string{oursValue + "; " + big}, want: big, http: "removed"},
	} {
		for door, do := range doors() {
			t.Run(door+"/"+name, func(t *testing.T) {
				w := rewriting(t)
				c := get("crm.acme.test", "/")
				c.header["Cookie"] = row.sent
				if door == forward.DoorGRPC {
					c.header["Cookie"] = []string{strings.Join(row.sent, "; ")} // as Envoy joins cookies
				}
				if strings.HasPrefix(name, "joined") {
					c.authority = "status.acme.test" // nobody is signed in by such a cookie
				}
				res := do(t, w, c)
				if res.status != 200 {
					t.Fatalf("%d %s", res.status, res.body)
				}
				want := row.want
				if row.http != "" && door != forward.DoorGRPC {
					want = ""
				}
				got, there := res.header["Cookie"]
				if want == "" && there || want != "" && (len(got) != 1 || got[0] != want) {
					t.Errorf("cookie %.80q, want %.80q", got, want)
				}
				if envoy := strings.HasPrefix(door, "ext-authz"); slices.Contains(res.removed(), "cookie") != (envoy && want == "") {
					t.Errorf("removed %v", res.removed())
				}
			})
		}
	}
	t.Run("an app's own cookies come back untouched where none is ours", func(t *testing.T) {
		for door, do := range doors() {
			w := rewriting(t)
			res := do(t, w, get("status.acme.test", "/", "Cookie: a=1;  b=2"))
			if want := map[bool]string{true: "", false: "a=1;  b=2"}[door == forward.DoorGRPC]; res.status != 200 || res.get("Cookie") != want || slices.Contains(res.removed(), "cookie") {
				t.Errorf("%s: %q %v", door, res.get("Cookie"), res.removed())
			}
			if res = do(t, w, get("status.acme.test", "/")); res.header["Cookie"] != nil || slices.Contains(res.removed(), "cookie") {
				t.Errorf("%s without cookies: %q %v", door, res.get("Cookie"), res.removed())
			}
		}
	})
	t.Run("no gateway is told that is not set up for it", func(t *testing.T) {
		for _, door := range []string{forward.DoorForwardAuth, forward.DoorAuthRequest, forward.DoorExtAuthz} {
			w := newWorld(t)
			if res := doors()[door](t, w, get("crm.acme.test", "/", ada)); res.status != 200 || res.header["Cookie"] != nil {
				t.Errorf("%s: %d %q", door, res.status, res.header["Cookie"])
			}
		}
		// Taking all cookies away needs no set-up at Envoy.
		w := newWorld(t)
		if res := extAuthz(t, w, get("crm.acme.test", "/", "Cookie: "+oursValue)); !slices.Contains(res.removed(), "cookie") {
			t.Errorf("removed %v", res.removed())
		}
	})
	t.Run("no refusal carries cookies of the client's", func(t *testing.T) {
		for door, do := range doors() {
			w := rewriting(t)
			for _, c := range []client{get("crm.acme.test", "/", bob), get("crm.acme.test", "/", "Cookie: a=1", browser), get("crm.acme.test", "/a/../b", ada)} {
				if res := do(t, w, c); res.status == 200 || res.header["Cookie"] != nil {
					t.Errorf("%s: %d %q", door, res.status, res.header["Cookie"])
				}
			}
		}
	})
}

// TestOurCookiesAreFoundHoweverTheyAreMixed compares with a slower way to the
// same end.
func TestOurCookiesAreFoundHoweverTheyAreMixed(t *testing.T) {
	w := rewriting(t)
	rapid.Check(t, func(rt *rapid.T) {
		pairs := rapid.SliceOfN(rapid.SampledFrom([]string{oursValue, "a=1", "b=", "c", "battery_session=x", "d=e=f", "__Host-battery_verifier_7=z", ""}), 0, 9).Draw(rt, "pairs")
		c := get("status.acme.test", "/")
		c.header["Cookie"] = []string{strings.Join(pairs, "; ")}
		res := forwardAuth(nil, w, c)
		var want []string
		for _, p := range pairs {
			if !strings.Contains(p, "battery") && p != "" {
				want = append(want, p)
			}
		}
		var got []string
		for _, p := range strings.Split(res.get("Cookie"), ";") {
			if p = strings.TrimSpace(p); p != "" {
				got = append(got, p)
			}
		}
		if res.status != 200 || !slices.Equal(got, want) {
			rt.Fatalf("%q became %q", c.header["Cookie"], res.get("Cookie"))
		}
	})
}

func TestTheSessionCookieIsOneOfOurs(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		w := rewriting(t)
		c := get("status.acme.test", "/", "Cookie: a=1; "+sso.SessionCookieName(scheme)+"=x")
		if res := forwardAuth(t, w, c); res.get("Cookie") != "a=1" {
			t.Errorf("%s: %q", scheme, res.get("Cookie"))
		}
	}
	o := newWorld(t).options
	o.CookieRewrite = []string{forward.DoorGRPC}
	if _, err := forward.New(o); err == nil {
		t.Error("a door is accepted that needs no such setting")
	}
}
