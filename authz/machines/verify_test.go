package machines_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
	"battery.app/gate/authz/machines"
)

func TestAGoodTokenIsAMachinesSession(t *testing.T) {
	w := newWorld(t)
	s, code := w.ask(w.crm, w.token(with(w.good(), "client_id", "ci", "level", json.Number("9007199254740993"), "email", "ada@acme.test", "roles", []string{"admin"})))
	is(t, s, code, "")
	want := &authz.Session{
		ID: s.ID, UserID: "ci@acme", OrganizationID: "org_acme", Kind: authz.KindJWT,
		IssuedAt: noon.Add(-10 * time.Second), ExpiresAt: noon.Add(5 * time.Minute),
		Claims: map[string]any{"iss": w.acme.URL, "roles": []string{"editor"}, "client_id": "ci", "level": json.Number("9007199254740993")},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	if !strings.HasPrefix(s.ID, "jwt_") || len(s.ID) != 28 {
		t.Errorf("session id %q", s.ID)
	}
}

func TestEveryAsymmetricAlgorithm(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		alg jose.SignatureAlgorithm
		kid string
		key any
	}{
		{jose.RS256, "rsa", rsaKey()}, {jose.RS384, "rsa", rsaKey()}, {jose.RS512, "rsa", rsaKey()},
		{jose.PS256, "rsa", rsaKey()}, {jose.PS384, "rsa", rsaKey()}, {jose.PS512, "rsa", rsaKey()},
		{jose.ES256, "ec", ecKey()}, {jose.ES384, "ec384", ec384()}, {jose.ES512, "ec521", ec521()}, {jose.EdDSA, "ed", edKey()},
	} {
		t.Run(string(c.alg), func(t *testing.T) {
			good := sign(c.key, c.alg, c.kid, w.good())
			s, code := w.ask(w.crm, good)
			is(t, s, code, "")
			s, code = w.ask(w.crm, flip(good))
			is(t, s, code, authz.CodeTokenInvalid)
		})
	}
}

// TestBadTokens is what attackers and mistakes send. Each is refused, with no
// session to go with it.
func TestBadTokens(t *testing.T) {
	w := newWorld(t)
	good := w.good()
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(rsaKey().Public()))})
	publicDER := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	hs := func(secret []byte) string {
		return forge(map[string]any{"alg": "HS256", "kid": "rsa"}, good, func(in string) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write([]byte(in))
			return m.Sum(nil)
		})
	}
	none := func(alg string) string {
		return forge(map[string]any{"alg": alg, "kid": "rsa"}, good, func(string) []byte { return nil })
	}
	mine := must(rsa.GenerateKey(rand.Reader, 2048)) // the attacker's
	at := noon.Unix()
	signed := w.token(good)
	parts := strings.Split(signed, ".")
	swapped := parts[0] + "." + base64.RawURLEncoding.EncodeToString(must(json.Marshal(with(good, "scope", "deals:admin")))) + "." + parts[2]

	for name, c := range map[string]struct{ token, want string }{
		"nothing":                              {"", authz.CodeTokenInvalid},
		"words":                                {"hello", authz.CodeTokenInvalid},
		"two parts":                            {parts[0] + "." + parts[1], authz.CodeTokenInvalid},
		"four parts":                           {signed + ".x", authz.CodeTokenInvalid},
		"five parts, as encrypted tokens have": {signed + ".x.y", authz.CodeTokenInvalid},
		"JSON serialization":                   {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, authz.CodeTokenInvalid},
		"1 MB":                                 {strings.Repeat("a", 1<<20), authz.CodeTokenInvalid},
		"1 MB of claims, well signed":          {w.token(with(good, "x", strings.Repeat("a", 1<<20))), authz.CodeTokenInvalid},
		"alg none":                             {none("none"), authz.CodeTokenInvalid},
		"alg None":                             {none("None"), authz.CodeTokenInvalid},
		"alg empty":                            {none(""), authz.CodeTokenInvalid},
		"HS256 with the public key as secret, PEM": {hs(publicPEM), authz.CodeTokenInvalid},
		"HS256 with the public key as secret, DER": {hs(publicDER), authz.CodeTokenInvalid},
		"HS256 with an empty secret":               {hs(nil), authz.CodeTokenInvalid},
		"another type of key than kid's":           {sign(ecKey(), jose.ES256, "rsa", good), authz.CodeTokenInvalid},
		"a curve that kid's key is not on":         {sign(ec384(), jose.ES384, "ec", good), authz.CodeTokenInvalid},
		"another's key under a known kid":          {sign(mine, jose.RS256, "rsa", good), authz.CodeTokenInvalid},
		"an unknown kid":                           {sign(mine, jose.RS256, "mine", good), authz.CodeTokenKey},
		"no kid, where the issuer has several":     {sign(rsaKey(), jose.RS256, "", good), authz.CodeTokenKey},
		"a kid that is a path":                     {sign(mine, jose.RS256, "../../../../dev/null", good), authz.CodeTokenKey},
		"a kid that is an address":                 {sign(mine, jose.RS256, "https://evil.test/jwks#k", good), authz.CodeTokenKey},
		"a kid that is SQL":                        {sign(mine, jose.RS256, "x' UNION SELECT 'k", good), authz.CodeTokenKey},
		"a kid of 1000 bytes":                      {sign(mine, jose.RS256, strings.Repeat("k", 1000), good), authz.CodeTokenInvalid},
		"a kid that is a number":                   {forge(map[string]any{"alg": "RS256", "kid": 1}, good, func(string) []byte { return []byte("x") }), authz.CodeTokenInvalid},
		"the attacker's key in jwk":                {sign(mine, jose.RS256, "rsa", good, "jwk", jose.JSONWebKey{Key: mine.Public(), KeyID: "rsa"}), authz.CodeTokenInvalid},
		"the attacker's address in jku":            {sign(mine, jose.RS256, "rsa", good, "jku", "https://evil.test/jwks"), authz.CodeTokenInvalid},
		"the attacker's address in x5u":            {sign(mine, jose.RS256, "rsa", good, "x5u", "https://evil.test/cert"), authz.CodeTokenInvalid},
		"a critical extension":                     {sign(rsaKey(), jose.RS256, "rsa", good, "crit", []string{"exp"}, "exp", 1), authz.CodeTokenInvalid},
		"an unencoded payload":                     {sign(rsaKey(), jose.RS256, "rsa", good, "b64", true), authz.CodeTokenInvalid},
		"a token for something else":               {sign(rsaKey(), jose.RS256, "rsa", good, "typ", "logout+jwt"), authz.CodeTokenInvalid},
		"a type that is no string":                 {sign(rsaKey(), jose.RS256, "rsa", good, "typ", 1), authz.CodeTokenInvalid},
		"changed claims under a seen signature":    {swapped, authz.CodeTokenInvalid},
		"a changed signature":                      {flip(signed), authz.CodeTokenInvalid},
		"no signature":                             {parts[0] + "." + parts[1] + ".", authz.CodeTokenInvalid},
		"an unknown issuer":                        {w.token(with(good, "iss", "https://evil.test")), authz.CodeTokenInvalid},
		"the issuer with a slash":                  {w.token(with(good, "iss", w.acme.URL+"/")), authz.CodeTokenInvalid},
		"no issuer":                                {w.token(with(good, "iss", nil)), authz.CodeTokenInvalid},
		"two issuers":                              {w.token(with(good, "iss", []string{w.acme.URL})), authz.CodeTokenInvalid},
		"an issuer of another organization":        {sign(rsaKey2(), jose.RS256, "rsa", with(good, "iss", w.globex.URL)), authz.CodeTokenInvalid},
		"the other organization's key":             {sign(rsaKey2(), jose.RS256, "rsa", good), authz.CodeTokenInvalid},
		"another audience":                         {w.token(with(good, "aud", "https://wiki.acme.test")), authz.CodeTokenAudience},
		"an audience that only begins like it":     {w.token(with(good, "aud", "https://crm.acme.test.evil.test")), authz.CodeTokenAudience},
		"the audience in capitals":                 {w.token(with(good, "aud", "https://CRM.acme.test")), authz.CodeTokenAudience},
		"no audience":                              {w.token(with(good, "aud", nil)), authz.CodeTokenAudience},
		"an empty audience":                        {w.token(with(good, "aud", "")), authz.CodeTokenAudience},
		"an audience that is an object":            {w.token(with(good, "aud", map[string]any{"x": "https://crm.acme.test"})), authz.CodeTokenAudience},
		"an audience with a number in it":          {w.token(with(good, "aud", []any{1, "https://crm.acme.test"})), authz.CodeTokenAudience},
		"expired":                                  {w.token(with(good, "iat", at-400, "exp", at-60)), authz.CodeTokenExpired},
		"no expiry":                                {w.token(with(good, "exp", nil)), authz.CodeTokenInvalid},
		"an expiry that is text":                   {w.token(with(good, "exp", "tomorrow")), authz.CodeTokenInvalid},
		"an expiry that is null":                   {w.token(with(good, "exp", json.RawMessage("null"))), authz.CodeTokenInvalid},
		"an expiry beyond all years":               {w.token(with(good, "exp", json.RawMessage("1e300"))), authz.CodeTokenInvalid},
		"a negative expiry":                        {w.token(with(good, "exp", -1)), authz.CodeTokenInvalid},
		"not yet valid":                            {w.token(with(good, "nbf", at+61)), authz.CodeTokenInvalid},
		"a begin that is text":                     {w.token(with(good, "nbf", "x")), authz.CodeTokenInvalid},
		"issued in the future":                     {w.token(with(good, "iat", at+61)), authz.CodeTokenInvalid},
		"issued at no time":                        {w.token(with(good, "iat", nil)), authz.CodeTokenInvalid},
		"issued after it expires":                  {w.token(with(good, "iat", at+30, "exp", at+30)), authz.CodeTokenInvalid},
		"no subject":                               {w.token(with(good, "sub", nil)), authz.CodeTokenInvalid},
		"an empty subject":                         {w.token(with(good, "sub", "")), authz.CodeTokenInvalid},
		"a subject that is a number":               {w.token(with(good, "sub", 7)), authz.CodeTokenInvalid},
		"a subject with a line break":              {w.token(with(good, "sub", "a\r\nX-Battery-Roles: admin")), authz.CodeTokenInvalid},
		"a subject with a delete character":        {w.token(with(good, "sub", "ci\x7fadmin")), authz.CodeTokenInvalid},
		"a subject with half a character":          {w.token(with(good, "sub", json.RawMessage(`"ci\ud800"`))), authz.CodeTokenInvalid},
		"a subject beyond its limit":               {w.token(with(good, "sub", strings.Repeat("a", 256))), authz.CodeTokenInvalid},
		"a subject like a person's":                {w.token(with(good, "sub", "prof_01ADA")), authz.CodeTokenInvalid},
		"a subject like another person's":          {w.token(with(good, "sub", "oidc_0123456789abcdef")), authz.CodeTokenInvalid},
		"a claim of absurd size":                   {w.token(with(good, "level", json.RawMessage(`[{"n":1e999999999}]`))), authz.CodeTokenInvalid},
		"bound to a key":                           {w.token(with(good, "cnf", map[string]any{"jkt": "x"})), authz.CodeTokenInvalid},
		"claims that are no object":                {sign(rsaKey(), jose.RS256, "rsa", []byte(`["x"]`)), authz.CodeTokenInvalid},
		"claims that are no JSON":                  {sign(rsaKey(), jose.RS256, "rsa", []byte(`{`)), authz.CodeTokenInvalid},
		"an audience that is there twice": {sign(rsaKey(), jose.RS256, "rsa",
			[]byte(strings.Replace(string(must(json.Marshal(good))), `{`, `{"aud":"https://other.test",`, 1))), authz.CodeTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // a refusal is not remembered as anything else
				s, code := w.ask(w.crm, c.token)
				is(t, s, code, c.want)
			}
		})
	}
	if s, code := w.ask(w.crm, signed); s == nil {
		t.Errorf("the good token is refused after all of them: %s", code)
	}
	for _, secret := range []string{"ci@acme", parts[1], parts[2]} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestToleratedTokens(t *testing.T) {
	w := newWorld(t)
	at := noon.Unix()
	for name, token := range map[string]string{
		"one of several audiences":         w.token(with(w.good(), "aud", []string{"x", "https://crm.acme.test"})),
		"clock behind by less than 60 s":   w.token(with(w.good(), "iat", at+59, "nbf", at+59)),
		"expired less than 60 s ago":       w.token(with(w.good(), "iat", at-400, "exp", at-59)),
		"times with a fraction":            w.token(with(w.good(), "exp", json.RawMessage("1893586000.75"))),
		"typ JWT":                          sign(rsaKey(), jose.RS256, "rsa", w.good(), "typ", "JWT"),
		"typ application/at+jwt, capitals": sign(rsaKey(), jose.RS256, "rsa", w.good(), "typ", "Application/AT+JWT"),
		"no typ":                           forgeRS256(map[string]any{"alg": "RS256", "kid": "rsa"}, w.good()),
		"unknown headers and claims":       sign(rsaKey(), jose.RS256, "rsa", with(w.good(), "future", 1), "zip2", "x", "x5t", "y"),
		"jku of anywhere, but a good key":  sign(rsaKey(), jose.RS256, "rsa", w.good(), "jku", "https://evil.test/jwks"),
	} {
		t.Run(name, func(t *testing.T) {
			s, code := w.ask(w.crm, token)
			is(t, s, code, "")
		})
	}
	if n := w.acme.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for known keys", n)
	}
}

func forgeRS256(header, claims any) string {
	return forge(header, claims, func(in string) []byte {
		sum := sha256.Sum256([]byte(in))
		return must(rsa.SignPKCS1v15(nil, rsaKey(), 5, sum[:]))
	})
}

// GHSA-4mq7-pvjg-xp2r: a token that was good at one app is tried at an app that
// trusts another issuer, or none, or names another audience.
func TestATokenIsGoodWhereItsIssuerIsTrustedAndNowhereElse(t *testing.T) {
	w := newWorld(t)
	token := w.token(with(w.good(), "aud", []string{"https://crm.acme.test", "https://desk.globex.test"}))
	for range 3 { // remembered or not
		s, code := w.ask(w.crm, token)
		is(t, s, code, "")
		s, code = w.ask(w.desk, token)
		is(t, s, code, authz.CodeTokenInvalid)
		greedy := *w.desk // an app that lists a stranger's issuer
		greedy.Machines.Issuers = []string{w.globex.URL, w.acme.URL}
		s, code = w.ask(&greedy, token)
		is(t, s, code, authz.CodeTokenInvalid)
		narrowed := *w.crm // the same app, after a change
		narrowed.Machines.Audience = "https://crm2.acme.test"
		s, code = w.ask(&narrowed, token)
		is(t, s, code, authz.CodeTokenAudience)
		closed := *w.crm
		closed.Machines = authz.MachineAccess{ServiceTokens: true}
		s, code = w.ask(&closed, token)
		is(t, s, code, authz.CodeTokenInvalid)
		nameless := *w.crm
		nameless.Machines.Audience = ""
		s, code = w.ask(&nameless, token)
		is(t, s, code, authz.CodeTokenInvalid)
		s, code = w.ask(nil, token)
		is(t, s, code, authz.CodeTokenInvalid)
	}
}

func TestRolesComeFromTheIssuersTableAlone(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		scope any
		want  []string
	}{
		"a value of the table":        {"deals:write", []string{"editor"}},
		"several, sorted, each once":  {"deals:write deals:admin", []string{"admin", "editor"}},
		"as a list":                   {[]string{"deals:admin"}, []string{"admin", "editor"}},
		"a role's own name is no key": {"admin editor", []string{}},
		"unknown values":              {"openid", []string{}},
		"nothing":                     {nil, []string{}},
		"a number":                    {7, []string{}},
		"a list with a number":        {[]any{"deals:write", 7}, []string{}},
		"an object":                   {map[string]any{"deals:write": true}, []string{}},
		"a list's entry with a space": {[]string{"deals:write deals:admin"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, code := w.ask(w.crm, w.token(with(w.good(), "scope", c.scope)))
			is(t, s, code, "")
			if s != nil && !reflect.DeepEqual(s.Claims["roles"], c.want) {
				t.Errorf("roles %v, want %v", s.Claims["roles"], c.want)
			}
		})
	}
	t.Run("from a nested claim", func(t *testing.T) {
		w := newWorld(t, func(o *machines.Options) {
			o.Issuers[0].RolesClaim, o.Issuers[0].Roles = "/realm_access/ro~1les", map[string][]string{"writer": {"editor"}}
		})
		for claim, want := range map[string][]string{
			`{"ro/les":["writer"]}`: {"editor"}, `{"roles":["writer"]}`: {}, `"writer"`: {}, `{"ro/les":null}`: {},
		} {
			s, code := w.ask(w.crm, w.token(with(w.good(), "realm_access", json.RawMessage(claim))))
			is(t, s, code, "")
			if s != nil && !reflect.DeepEqual(s.Claims["roles"], want) {
				t.Errorf("%s: roles %v, want %v", claim, s.Claims["roles"], want)
			}
		}
	})
	t.Run("without a claim to read", func(t *testing.T) {
		w := newWorld(t)
		s, code := w.ask(w.desk, sign(rsaKey2(), jose.RS256, "rsa", with(w.good(), "iss", w.globex.URL, "aud", "https://desk.globex.test", "roles", []string{"admin"})))
		is(t, s, code, "")
		if s != nil && !reflect.DeepEqual(s.Claims, map[string]any{"iss": w.globex.URL, "roles": []string{}}) {
			t.Errorf("claims %v", s.Claims)
		}
	})
}

func TestAnIssuersOwnListOfAlgorithms(t *testing.T) {
	w := newWorld(t, func(o *machines.Options) { o.Issuers[0].Algorithms = []string{"ES256"} })
	s, code := w.ask(w.crm, w.token(w.good()))
	is(t, s, code, authz.CodeTokenInvalid)
	s, code = w.ask(w.crm, sign(ecKey(), jose.ES256, "ec", w.good()))
	is(t, s, code, "")
}

func TestAnotherIssuerOfTheSameOrganizationIsAnotherIssuer(t *testing.T) {
	second := newAuthority(t, public("rsa", rsaKey()))
	w := newWorld(t, func(o *machines.Options) {
		o.Issuers = append(o.Issuers, machines.Issuer{URL: second.URL, OrganizationID: "org_acme", JWKSURL: second.URL})
	})
	token := w.token(with(w.good(), "iss", second.URL))
	s, code := w.ask(w.crm, token)
	is(t, s, code, authz.CodeTokenInvalid)
	both := *w.crm
	both.Machines.Issuers = []string{w.acme.URL, second.URL}
	s, code = w.ask(&both, token)
	is(t, s, code, "")
	s, code = w.ask(w.crm, token) // though it is remembered for another state of the app
	is(t, s, code, authz.CodeTokenInvalid)
}

func TestTokensThatLiveTooLong(t *testing.T) {
	w := newWorld(t, func(o *machines.Options) { o.Issuers[0].MaxLifetime = time.Hour })
	s, code := w.ask(w.crm, w.token(with(w.good(), "iat", noon.Unix(), "exp", noon.Unix()+3600)))
	is(t, s, code, "")
	s, code = w.ask(w.crm, w.token(with(w.good(), "iat", noon.Unix(), "exp", noon.Unix()+3601)))
	is(t, s, code, authz.CodeTokenInvalid)
	s, code = w.ask(w.crm, w.token(with(w.good(), "iat", noon.Unix()-7200, "exp", noon.Unix()+60))) // though it ends soon
	is(t, s, code, authz.CodeTokenInvalid)
}

func TestProblemsOfApps(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		access authz.MachineAccess
		want   []string
	}{
		"none":                       {authz.MachineAccess{Audience: "x", Issuers: []string{w.acme.URL}}, nil},
		"an issuer nobody knows":     {authz.MachineAccess{Audience: "x", Issuers: []string{"https://x.test"}}, []string{"is not configured"}},
		"a stranger's issuer":        {authz.MachineAccess{Audience: "x", Issuers: []string{w.globex.URL, w.acme.URL}}, []string{"another organization"}},
		"service tokens nobody kept": {authz.MachineAccess{ServiceTokens: true}, []string{"no service tokens"}},
	} {
		app := *w.crm
		app.Machines = c.access
		got := w.Problems(&app)
		if len(got) != len(c.want) || len(got) > 0 && !strings.Contains(got[0], c.want[0]) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
