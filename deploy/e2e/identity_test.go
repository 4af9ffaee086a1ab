package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"
)

// one returns the single value under which an app received a header.
func (e echo) one(t *testing.T, name string) string {
	t.Helper()
	v := e.Headers.Values(name)
	if len(v) != 1 {
		t.Errorf("the app received %s %d times: %q", name, len(v), v)
		return ""
	}
	return v[0]
}

func sortedList(s string) string {
	parts := strings.Split(s, ",")
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

func TestAppsLearnWhoIsAsking(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		org := w.organizationID(t, "acme")
		p := w.newPerson(t)
		e, ok := p.login(t, "crm.acme", "ada@acme.test").reached()
		if !ok {
			t.Fatal("ada does not reach crm")
		}
		for name, want := range map[string]string{
			"Org-Id": org, "User-Email": "ada@acme.test", "Roles": "editor,member", "App-Id": "crm.acme",
		} {
			if got := e.one(t, "X-Battery-"+name); got != want {
				t.Errorf("X-Battery-%s is %q, want %q", name, got, want)
			}
		}
		user, decision := e.one(t, "X-Battery-User-Id"), e.one(t, "X-Battery-Decision-Id")
		if !strings.HasPrefix(user, "prof_") {
			t.Errorf("X-Battery-User-Id is %q, want a profile id", user)
		}
		if got := sortedList(e.one(t, "X-Battery-Groups")); got != "Engineering,Everyone" {
			t.Errorf("X-Battery-Groups is %q", got)
		}
		w.checkAssertion(t, e.one(t, "X-Battery-Assertion"), "crm.acme."+w.Domain, user, org)

		row := w.decision(t, decision)
		if row.Result != "allow" || row.UserID != user || row.AppID != "crm.acme" {
			t.Errorf("the record of %s says %+v", decision, row)
		}

		// An app that does not ask for groups and assertion gets them empty, and
		// so does everybody's app everything: no header may be missing, or the
		// client's own copy would stand in for it.
		e, ok = w.newPerson(t).fetch(t, "status.acme", "/").reached()
		if !ok {
			t.Fatal("status.acme does not answer")
		}
		for _, name := range []string{"User-Id", "User-Email", "Roles", "Groups", "Assertion"} {
			if w.front.dropsEmpty && len(e.Headers.Values("X-Battery-"+name)) == 0 {
				continue
			}
			if got := e.one(t, "X-Battery-"+name); got != "" {
				t.Errorf("anonymous: X-Battery-%s is %q, want it empty", name, got)
			}
		}
	})
}

// checkAssertion verifies the token as an app would: by the published keys.
func (w *world) checkAssertion(t *testing.T, token, audience, subject, org string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Errorf("X-Battery-Assertion is not a JWT: %q", token)
		return
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Sub, Org, Sid string
		Aud                any
		Roles              []string
		Exp, Iat           int64
	}
	decodePart(t, parts[0], &header)
	decodePart(t, parts[1], &claims)
	if header.Alg != "ES256" || claims.Iss != w.PublicURL || claims.Sub != subject || claims.Org != org || claims.Sid == "" ||
		strings.Join(claims.Roles, ",") != "editor,member" {
		t.Errorf("assertion: header %+v, claims %+v", header, claims)
	}
	if list, ok := claims.Aud.([]any); ok && len(list) == 1 {
		claims.Aud = list[0]
	}
	if claims.Aud != audience {
		t.Errorf("assertion: aud %v, want %s", claims.Aud, audience)
	}
	if left := time.Until(time.Unix(claims.Exp, 0)); left <= 0 || left > 5*time.Minute {
		t.Errorf("assertion: expires in %v, want at most 5 minutes", left)
	}

	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Y string }
	}
	if call(t, http.MethodGet, w.PublicURL+"/.well-known/jwks.json", "", nil, &set); len(set.Keys) == 0 {
		t.Fatal("no keys are published")
	}
	for _, k := range set.Keys {
		if k.Kid != header.Kid {
			continue
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, decoded(t, k.X)...), decoded(t, k.Y)...))
		if err != nil {
			t.Fatalf("key %s: %v", k.Kid, err)
		}
		sig, err := base64.RawURLEncoding.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err != nil || len(sig) != 64 || !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
			t.Error("assertion: the signature does not verify")
		}
		return
	}
	t.Errorf("assertion: key %q is not published", header.Kid)
}

func decodePart(t *testing.T, part string, v any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatalf("assertion: %v", err)
	}
}

func decoded(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("key: %v", err)
	}
	return raw
}

// Whatever a client sends under our names, in whatever spelling, an app never
// sees it.
func TestForgedIdentityNeverReachesAnApp(t *testing.T) {
	names := []string{"User-Id", "Org-Id", "User-Email", "Roles", "App-Id", "Decision-Id", "Groups", "Assertion", "Plan"}
	everyFront(t, func(t *testing.T, w *world) {
		p := w.newPerson(t)
		if _, ok := p.login(t, "wiki.acme", "bob@acme.test").reached(); !ok {
			t.Fatal("bob does not reach the wiki")
		}
		var plain []string
		for _, n := range names {
			plain = append(plain, "X-Battery-"+n+": forged", "x-battery-"+strings.ToLower(n)+": forged")
		}
		tries := map[string][]string{"the very names": plain}
		for _, form := range []string{"X_Battery_Roles", "X-Battery_Roles", "X.Battery.Roles", "X_BATTERY_USER_ID", "x~battery~roles", "X-Battery-User_Id", "X!Battery!Assertion"} {
			tries[form] = []string{form + ": forged"}
		}
		tries["hop by hop"] = []string{"Connection: X-Battery-User-Id, X-Battery-Roles", "X-Battery-Roles: forged"}
		tries["spoofed forwarding"] = []string{"X-Forwarded-Host: forged", "X-Forwarded-Uri: /forged", "X-Forwarded-Method: FORGED", "X-Forwarded-Proto: forged", "X-Forwarded-Prefix: /forged"}

		for _, app := range []string{"wiki.acme", "status.acme"} {
			for name, headers := range tries {
				r := p.fetch(t, app, "/", headers...)
				e, ok := r.reached()
				if !ok {
					if r.Status != http.StatusBadRequest && r.Status != http.StatusForbidden {
						t.Errorf("%s at %s: status %d, want the app, 400 or 403", name, app, r.Status)
					}
					continue
				}
				if raw, _ := json.Marshal(e.Headers); name != "spoofed forwarding" && strings.Contains(strings.ToLower(string(raw)), "forged") {
					t.Errorf("%s at %s: the app received %s", name, app, raw)
				}
				if app == "wiki.acme" {
					if mail, roles := e.one(t, "X-Battery-User-Email"), e.one(t, "X-Battery-Roles"); mail != "bob@acme.test" || roles != "member" {
						t.Errorf("%s: the wiki takes bob for %q with roles %q", name, mail, roles)
					}
				}
			}
		}
		// Being somebody else takes more than saying so.
		anonymous := w.newPerson(t)
		if r := anonymous.fetch(t, "crm.acme", "/", "X-Battery-User-Id: prof_x", "X-Battery-Roles: admin", "X-Forwarded-User: root"); r.Status != http.StatusUnauthorized {
			t.Errorf("an anonymous request with forged roles: status %d, want 401", r.Status)
		}
	})
}

// The app's own cookies arrive; ours do not, where the gateway can take them out.
func TestOurCookiesAreNotTheAppsBusiness(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		p := w.newPerson(t)
		if _, ok := p.login(t, "crm.acme", "ada@acme.test").reached(); !ok {
			t.Fatal("ada does not reach crm")
		}
		mine := p.cookies(t, "crm.acme") // the session, as the browser holds it
		if mine == "" {
			t.Fatal("signing in left no cookie")
		}
		tail := "; theirs=1; also=two"
		bare := &person{w: w, hc: loopback()} // sends Cookie as told
		e, ok := bare.fetch(t, "crm.acme", "/", "Cookie: before=0; "+mine+tail).reached()
		if !ok {
			t.Fatal("the cookie does not open crm")
		}
		got := strings.Join(e.Headers.Values("Cookie"), "; ")
		if !strings.Contains(got, "before=0") || !strings.Contains(got, "theirs=1") || !strings.Contains(got, "also=two") {
			t.Errorf("the app's own cookies are lost: it received %q", got)
		}
		if strings.Contains(got, "battery") {
			t.Errorf("the app received our cookie: %d bytes of Cookie that name battery", len(got))
		}
		// On several lines, as some balancers write the crumbs of HTTP/2.
		e, ok = bare.fetch(t, "crm.acme", "/", "Cookie: before=0", "Cookie: "+mine+tail, "Cookie: battery_login=ours").reached()
		if got := strings.Join(e.Headers.Values("Cookie"), "; "); !ok || !strings.Contains(got, "before=0") || !strings.Contains(got, "also=two") || strings.Contains(got, "battery") {
			t.Errorf("cookies on three lines: reached %t, and of %d bytes of Cookie the app lacks its own or has ours", ok, len(got))
		}
		e, ok = bare.fetch(t, "status.acme", "/", "Cookie: theirs=1").reached()
		if !ok || strings.Join(e.Headers.Values("Cookie"), "; ") != "theirs=1" {
			t.Errorf("an anonymous visitor's cookies are lost: the app received %q", e.Headers.Values("Cookie"))
		}
	})
}

// Policy and app read the same path: what the record says is what the app got,
// or the app got nothing.
func TestPolicyAndAppReadTheSamePath(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		ada := w.newPerson(t)
		ada.login(t, "crm.acme", "ada@acme.test")
		reached := 0
		for _, path := range []string{
			"/", "/plain", "/a/b/", "/a%20b", "/%61bc", "/%C3%BC", "/a+b", "/a:b@c", "/x?y=/../z", "/a?b=%2e%2e%2fc&d=;e",
			"//a", "/a//b", "/a/./b", "/a/../b", "/a/%2e%2e/b", "/a/%2E/b", "/a%2fb", "/a%2Fb", "/a%5cb", "/a/..%2fb", "/a/..;/b",
			"/a;v=1/b", "/a%3bb", "/a%252fb", "/a%00b", "/a%23b", "/a%3fb", "/a/...", "/a/..", "/../a", "/a%2e%2e%2fb",
		} {
			r := ada.fetch(t, "crm.acme", path)
			e, ok := r.reached()
			if !ok {
				if r.Status != http.StatusForbidden && r.Status != http.StatusBadRequest {
					t.Errorf("%s: status %d, want the app, 400 or 403", path, r.Status)
				}
				continue
			}
			reached++
			if row := w.decision(t, e.one(t, "X-Battery-Decision-Id")); row.Path != e.Path {
				t.Errorf("%s: decided for %q, the app got %q", path, row.Path, e.Path)
			}
			// Traefik encodes ";", which no reader takes for something else.
			if _, query, _ := strings.Cut(path, "?"); strings.ReplaceAll(e.Query, "%3B", ";") != query {
				t.Errorf("%s: the app got the query %q", path, e.Query)
			}
		}
		if reached < 8 {
			t.Errorf("only %d paths reached the app", reached)
		}
	})
}
