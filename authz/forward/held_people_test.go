package forward_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

// holdsAddress: what an address seems to say of its owner's domain proves nothing
// and is never taken apart. The app gets it whole.
func holdsAddress(t *testing.T, _ string, ask ask) {
	for _, email := range []string{"attacker@evil.test@acme.test", "attacker@evil.test,ada@acme.test", "\"@evil.test\"@acme.test"} {
		w := newWorld(t)
		w.sessions["t-eve"] = &authz.Session{ID: "s9", UserID: "prof_eve", Email: email, OrganizationID: "org_acme"}
		cookie := "Cookie: __Host-battery_session=t-eve"
		res := ask(t, w, get("crm.acme.test", "/", cookie))
		if rec := w.one(t); res.status != 403 || rec.Reasons[0].Code != authz.CodeUserUnknown {
			t.Errorf("%s: %d %v", email, res.status, rec.Reasons)
		}
		if res := ask(t, w, get("status.acme.test", "/", cookie)); res.status != 200 || res.get("X-Battery-User-Email") != email {
			t.Errorf("%s: %d %q", email, res.status, res.get("X-Battery-User-Email"))
		}
	}
}

// holdsEnded: a cookie from before a login, or of a session that was ended, opens
// nothing, alone or beside a good one.
func holdsEnded(t *testing.T, _ string, ask ask) {
	for cookie, want := range map[string]int{
		"__Host-battery_session=t-ada": 200, "__Host-battery_session=t-old": 401,
		"__Host-battery_session=t-old; __Host-battery_session=t-ada": 401, "__Host-battery_session=t-ada; __Host-battery_session=t-old": 401,
	} {
		w := newWorld(t)
		if res := ask(t, w, get("crm.acme.test", "/", "Cookie: "+cookie)); res.status != want {
			t.Errorf("%s: %d, want %d", cookie, res.status, want)
		}
	}
}

// holdsIssuer: the app that is asked for says whose tokens count, at every
// question anew.
func holdsIssuer(t *testing.T, _ string, ask ask) {
	w := newWorld(t)
	for _, row := range []struct {
		host string
		want int
	}{{"api.acme.test", 200}, {"bots.acme.test", 401}, {"api.acme.test", 200}, {"bots.acme.test", 401}} {
		if res := ask(t, w, get(row.host, "/", "Authorization: Bearer "+goodJWT, ada)); res.status != row.want {
			t.Errorf("%s: %d, want %d", row.host, res.status, row.want)
		}
	}
}

// holdsSecrets: no refusal shows the credential that came with the question, nor
// makes one.
func holdsSecrets(t *testing.T, _ string, ask ask) {
	for _, c := range []client{
		get("crm.acme.test", "/", bob, browser), get("crm.acme.test", "/", bob, fetch), get("crm.acme.test", "/a/../b", ada, browser), get("nobody.test", "/", ada),
		get("api.acme.test", "/", "Authorization: Bearer "+poorJWT), get("bots.acme.test", "/", "Authorization: Bearer "+goodBGS),
		get("crm.acme.test", "/.battery/userinfo", ada), get("crm.acme.test", "/", "Content-Type: application/grpc", bob),
	} {
		w := newWorld(t)
		res := ask(t, w, c)
		if res.status == 200 {
			t.Fatalf("%s%s: 200", c.authority, c.uri)
		}
		said := res.body
		for name, values := range res.header {
			said += "\n" + name + ": " + strings.Join(values, ",")
		}
		for _, secret := range []string{"t-ada", "t-bob", poorJWT, goodBGS, "jwt.", "prof_"} {
			if strings.Contains(said, secret) {
				t.Errorf("%s%s: the refusal shows %q: %s", c.authority, c.uri, secret, said)
			}
		}
	}
}

// TestTheOtherAdvisoriesAreReplayedElsewhere: those that are no door's have their
// tests in the room that they are about.
func TestTheOtherAdvisoriesAreReplayedElsewhere(t *testing.T) {
	for id, test := range map[string]string{
		"CVE-2026-47203 (ban check by spelling)":                 "sso.TestLimiter", // limits know addresses; nobody types a name here
		"GHSA-36f2-fcrx-fp4j, GHSA-35vc-w93w-75c2 (logout to)":   "sso.TestLogoutOfWhoIsSignedInLeadsNowhereElse",
		"GHSA-fv82-r8qv-ch4v (login to)":                         "sso.TestReturnAddresses",
		"GHSA-f24x-5g9q-753f (session before the login)":         "sso.TestNobodyIsSignedInAsAnother",
		"GHSA-4mq7-pvjg-xp2r (cache without issuer)":             "authz/machines.TestFromTheDoorToThePolicy",
		"CVE-2026-25227 (policy tests that run code)":            "authz/engine.TestForbiddenBuiltinsDoNotCompile",
		"CVE-2026-25748 (cookies, with the keys that are real)":  "sso.TestSpoiledCookiesOpenNothing",
		"CVE-2024-47616 (a service's token at the admin's door)": "cmd/batterygate.TestMachinesOpenAppsThatOptIn",
	} {
		dir, name, _ := strings.Cut(test, ".")
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(b), "\nfunc "+name+"(")
		}
		if !found {
			t.Errorf("%s: there is no test %s", id, test)
		}
	}
}
