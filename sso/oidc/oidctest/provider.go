// Package oidctest is an OpenID provider for tests: a strict one, which checks
// what a client must send, and on demand a hostile or broken one.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The one client there is.
const (
	ClientID     = "battery"
	ClientSecret = "a secret/with+signs"
)

// Provider answers on loopback. Its fields may be set between requests; take Mu
// to set them while requests are under way.
type Provider struct {
	*httptest.Server
	Mu sync.Mutex

	Now func() time.Time
	// Subject and Extra are who signs in: sub, and other claims of the ID token.
	Subject string
	Extra   map[string]any
	// UserInfo is answered there; nil: sub and nothing else.
	UserInfo map[string]any
	// Tamper changes the claims of each ID token before it is signed; a nil
	// value removes a claim.
	Tamper func(claims map[string]any)
	// Sign makes the token of some claims; nil: with the newest key.
	Sign func(payload []byte) string
	// Refuse is the error that authorize sends back.
	Refuse string
	// Issuer is what the provider calls itself in answers (iss); "-": nothing.
	AnswerIssuer string
	// Metadata changes the discovery document.
	Metadata func(doc map[string]any)
	// Instead answers for a path: "/.well-known/openid-configuration", "/keys",
	// "/token", "/userinfo".
	Instead map[string]http.HandlerFunc

	Asked map[string]int // requests by path
	Last  url.Values     // of the last authorization request

	keys  []*ecdsa.PrivateKey // newest last
	codes map[string]url.Values
	n     int
}

// New starts a provider; Close ends it.
func New(now func() time.Time) *Provider {
	p := &Provider{
		Now: now, Subject: "sub-ada", Asked: map[string]int{}, Instead: map[string]http.HandlerFunc{}, codes: map[string]url.Values{},
		Extra: map[string]any{"email": "ada@acme.test", "email_verified": true, "given_name": "Ada", "sid": "op-session-1"},
	}
	p.Rotate(false)
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/.well-known/openid-configuration": p.discovery, "/keys": p.keySet,
		"/authorize": p.authorize, "/token": p.token, "/userinfo": p.userInfo, "/end": p.end,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			p.Mu.Lock()
			p.Asked[path]++
			instead := p.Instead[path]
			p.Mu.Unlock()
			if instead != nil {
				instead(w, r)
				return
			}
			p.Mu.Lock()
			defer p.Mu.Unlock()
			h(w, r)
		})
	}
	p.Server = httptest.NewServer(mux)
	return p
}

// Rotate makes a new signing key; keep says whether the old ones stay
// published.
func (p *Provider) Rotate(keep bool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	if !keep {
		p.keys = nil
	}
	p.keys = append(p.keys, key)
}

// Key is the newest signing key.
func (p *Provider) Key() *ecdsa.PrivateKey { return p.keys[len(p.keys)-1] }

// KeyID is the id under which a key is published.
func KeyID(key *ecdsa.PrivateKey) string {
	k := jose.JSONWebKey{Key: key.Public()}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum[:8])
}

// SignWith makes a compact token: any key, any algorithm, any typ.
func SignWith(key any, alg jose.SignatureAlgorithm, kid, typ string, payload []byte) string {
	o := (&jose.SignerOptions{}).WithHeader("kid", kid)
	if typ != "" {
		o = o.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		panic(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return out
}

func (p *Provider) sign(typ string, claims map[string]any) string {
	for k, v := range claims {
		if v == nil {
			delete(claims, k)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	if p.Sign != nil {
		return p.Sign(payload)
	}
	return SignWith(p.Key(), jose.ES256, KeyID(p.Key()), typ, payload)
}

// LogoutToken makes a logout token of what a good one holds and more; nil values
// remove claims.
func (p *Provider) LogoutToken(more map[string]any) string {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.n++
	now := p.Now()
	c := map[string]any{
		"iss": p.URL, "aud": ClientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": fmt.Sprint("jti-", p.n),
		"sub": p.Subject, "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for k, v := range more {
		c[k] = v
	}
	return p.sign("logout+jwt", c)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo", "end_session_endpoint": p.URL + "/end",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"ES256", "HS256", "none"},
		"authorization_response_iss_parameter_supported": true,
	}
	if p.Metadata != nil {
		p.Metadata(doc)
	}
	answer(w, http.StatusOK, doc)
}

func (p *Provider) keySet(w http.ResponseWriter, _ *http.Request) {
	var set jose.JSONWebKeySet
	for _, k := range p.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: KeyID(k), Algorithm: "ES256", Use: "sig"})
	}
	answer(w, http.StatusOK, set)
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.Last = q
	for name, want := range map[string]string{"response_type": "code", "client_id": ClientID, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			http.Error(w, name, http.StatusBadRequest)
			return
		}
	}
	back := url.Values{"state": {q.Get("state")}}
	switch p.AnswerIssuer {
	case "":
		back.Set("iss", p.URL)
	case "-":
	default:
		back.Set("iss", p.AnswerIssuer)
	}
	if p.Refuse != "" {
		back.Set("error", p.Refuse)
		back.Set("error_description", "<script>alert(1)</script>")
	} else {
		p.n++
		code := fmt.Sprint("code-", p.n)
		q.Set("subject", p.Subject)
		p.codes[code] = q
		back.Set("code", code)
	}
	redirect(w, q.Get("redirect_uri")+"?"+back.Encode())
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if u, err := url.QueryUnescape(secret); !ok || err != nil || id != ClientID || u != ClientSecret {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	code := r.PostFormValue("code")
	q, ok := p.codes[code]
	delete(p.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || r.Method != http.MethodPost || r.PostFormValue("grant_type") != "authorization_code" ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") || r.PostFormValue("redirect_uri") != q.Get("redirect_uri") {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "the code " + code})
		return
	}
	access := "access-" + code
	half := sha256.Sum256([]byte(access))
	now := p.Now()
	claims := map[string]any{
		"iss": p.URL, "sub": q.Get("subject"), "aud": ClientID, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"auth_time": now.Unix(), "nonce": q.Get("nonce"), "at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	}
	for k, v := range p.Extra {
		claims[k] = v
	}
	if p.Tamper != nil {
		p.Tamper(claims)
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": p.sign("JWT", claims),
	})
}

func (p *Provider) userInfo(w http.ResponseWriter, _ *http.Request) {
	out := map[string]any{"sub": p.Subject}
	for k, v := range p.UserInfo {
		out[k] = v
	}
	answer(w, http.StatusOK, out)
}

// end signs out and leads back.
func (p *Provider) end(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect(w, q.Get("post_logout_redirect_uri")+"?"+url.Values{"state": {q.Get("state")}}.Encode())
}

// redirect leads wherever it is told: this provider has no registered addresses.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that hung up is the test's business
}
