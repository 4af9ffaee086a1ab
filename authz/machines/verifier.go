package machines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
)

// maxToken is the longest bearer token that is looked at, in bytes. The doors
// cap it, too; gateways' own limits on headers are higher.
const maxToken = 8 << 10

// Verifier knows machines by their tokens. It is safe for concurrent use; Run
// keeps its issuers' keys.
type Verifier struct {
	opt     Options
	issuers map[string]*issuer
	cache   *cache
	used    *usage
}

var _ authz.Machines = (*Verifier)(nil)

// issuer is a configured issuer and what is known of its keys. Its pointer
// stands for its configuration, which never changes.
type issuer struct {
	Issuer
	algs []jose.SignatureAlgorithm

	keys   atomic.Pointer[fetched]
	wanted chan struct{} // a token named a key that is not known
	tried  atomic.Int64  // when keys were last asked for, Unix ns
	broken atomic.Pointer[string]
}

// New checks the options and returns a Verifier, which starts nothing. Keys in
// files are read here, so that a missing file is found at the start; keys at
// addresses come with Run. The error says everything that is wrong.
func New(o Options) (*Verifier, error) {
	o = o.complete()
	v := &Verifier{opt: o, issuers: map[string]*issuer{}, cache: newCache(o.CacheSize), used: newUsage(o.Used)}
	var errs []error
	if len(o.Issuers) > maxIssuers {
		errs = append(errs, fmt.Errorf("machines: more than %d issuers", maxIssuers))
	}
	for _, c := range o.Issuers {
		if err := c.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		if v.issuers[c.URL] != nil {
			errs = append(errs, fmt.Errorf("machines: issuer %q is listed twice", c.URL))
			continue
		}
		i := &issuer{Issuer: c, algs: supported(), wanted: make(chan struct{}, 1)}
		if len(c.Algorithms) > 0 {
			i.algs = nil
			for _, a := range c.Algorithms {
				i.algs = append(i.algs, jose.SignatureAlgorithm(a))
			}
		}
		v.issuers[c.URL] = i
		if c.JWKSFile != "" {
			if err := v.refresh(context.Background(), i); err != nil {
				errs = append(errs, fmt.Errorf("machines: issuer %q: %w", c.URL, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return v, nil
}

// Machine is as in authz.Machines: the session of whoever the token is, or nil
// and a reason code. The app must be one that a snapshot gave, since its pointer
// stands for its configuration.
func (v *Verifier) Machine(_ context.Context, now time.Time, app *authz.App, bearer string) (*authz.Session, string) {
	if app == nil || bearer == "" || len(bearer) > maxToken {
		return nil, authz.CodeTokenInvalid
	}
	id := cacheKey{token: digest(bearer), app: app}
	if isServiceToken(bearer) {
		return v.serviceToken(now, app, id)
	}
	if e, ok := v.cache.get(id); ok && e.good(now, v.opt.MaxStale) {
		return e.session, ""
	}
	i, session, keys, code := v.verify(now, app, bearer)
	if code != "" {
		return nil, code
	}
	session.ID = "jwt_" + hex.EncodeToString(id.token[:12])
	v.cache.put(id, &entry{session: session, issuer: i, keys: keys})
	return session, ""
}

// digest is the SHA-256 of a token. Most fit on the stack, which spares a copy on
// the heap at every request.
func digest(token string) [sha256.Size]byte {
	var b [2 << 10]byte
	if len(token) > len(b) {
		return sha256.Sum256([]byte(token))
	}
	return sha256.Sum256(b[:copy(b[:], token)])
}

// good reports whether what was verified once still holds: the token has not
// expired and its issuer still has the very keys it was verified with, fetched
// not too long ago.
func (e *entry) good(now time.Time, maxStale time.Duration) bool {
	if e.issuer == nil || !now.Before(e.session.ExpiresAt) || e.session.IssuedAt.After(now.Add(skew)) {
		return false
	}
	f := e.issuer.keys.Load()
	return f != nil && f.set == e.keys && now.Sub(f.at) < maxStale
}

// Problems says, in words for an operator, which of the issuers that an app
// lists can never be good there: one that is not configured, or one of another
// organization. It is for whoever creates apps, and for the start.
func (v *Verifier) Problems(app *authz.App) []string {
	var out []string
	for _, url := range app.Machines.Issuers {
		switch i := v.issuers[url]; {
		case i == nil:
			out = append(out, fmt.Sprintf("token issuer %q is not configured", url))
		case i.OrganizationID != app.OrganizationID:
			out = append(out, fmt.Sprintf("token issuer %q belongs to another organization", url))
		}
	}
	if app.Machines.ServiceTokens && v.opt.ServiceTokens == nil {
		out = append(out, "no service tokens are kept here")
	}
	return out
}

// Status is what is known of one issuer's keys, for operators.
type Status struct {
	Issuer         string    `json:"issuer"`
	OrganizationID string    `json:"organization_id"`
	Revision       string    `json:"revision"` // of its configuration
	Keys           int       `json:"keys"`
	FetchedAt      time.Time `json:"fetched_at"` // zero: never
	Error          string    `json:"error,omitempty"`
}

// Status returns one line per issuer, in the order of the configuration.
func (v *Verifier) Status() []Status {
	out := make([]Status, 0, len(v.issuers))
	for _, c := range v.opt.Issuers {
		i := v.issuers[c.URL]
		s := Status{Issuer: i.URL, OrganizationID: i.OrganizationID, Revision: i.revision()}
		if f := i.keys.Load(); f != nil {
			s.Keys, s.FetchedAt = f.set.count, f.at
		}
		if e := i.broken.Load(); e != nil {
			s.Error = *e
		}
		out = append(out, s)
	}
	return out
}
