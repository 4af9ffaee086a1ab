package machines

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"battery.app/gate/authz"
)

// ServiceTokenPrefix begins every service token, so that secret scanners and
// people know one.
const ServiceTokenPrefix = "bgs_"

// NewServiceToken makes the secret of a service token: 32 random bytes. Only its
// hash is to be kept.
func NewServiceToken() (secret, hash string) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails: it ends the program instead
	secret = ServiceTokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	return secret, HashServiceToken(secret)
}

// HashServiceToken is how a service token is kept: the SHA-256 of all of it, in
// hexadecimal digits. The secret has 256 random bits, so no slower hash is
// needed.
func HashServiceToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func isServiceToken(bearer string) bool { return strings.HasPrefix(bearer, ServiceTokenPrefix) }

// serviceToken looks a token up at every request, so that a revoked one is dead
// at once; the cache only spares making the same session again.
func (v *Verifier) serviceToken(now time.Time, app *authz.App, id cacheKey) (*authz.Session, string) {
	if !app.Machines.ServiceTokens || v.opt.ServiceTokens == nil {
		return nil, authz.CodeTokenInvalid
	}
	t, ok := v.opt.ServiceTokens.Find(hex.EncodeToString(id.token[:]))
	switch {
	case !ok || t.ID == "" || t.OrganizationID == "":
		return nil, authz.CodeTokenInvalid
	case !now.Before(t.ExpiresAt):
		return nil, authz.CodeTokenExpired
	case t.OrganizationID != app.OrganizationID || !slices.Contains(t.Apps, app.ID):
		return nil, authz.CodeTokenAudience
	}
	v.used.note(t.ID, now)
	if e, ok := v.cache.get(id); ok && e.issuer == nil && sameToken(&e.token, &t) {
		return e.session, ""
	}
	session := &authz.Session{
		ID: t.ID, UserID: t.ID, OrganizationID: t.OrganizationID, Kind: authz.KindServiceToken,
		IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt,
		Claims: map[string]any{authz.ClaimRoles: grantable(t.Roles)},
	}
	v.cache.put(id, &entry{session: session, token: t})
	return session, ""
}

func sameToken(a, b *Token) bool {
	return a.ID == b.ID && a.OrganizationID == b.OrganizationID && a.IssuedAt.Equal(b.IssuedAt) &&
		a.ExpiresAt.Equal(b.ExpiresAt) && slices.Equal(a.Roles, b.Roles)
}

// grantable are the roles that a machine may have, sorted, each once, never nil.
func grantable(roles []string) []string {
	out := make([]string, 0, len(roles))
	for _, r := range roles {
		if checkRole(r) == nil {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// usage tells of each token's use at most once a minute, so that a busy token
// does not become a stream of writes. Forgetting costs one more telling.
type usage struct {
	tell func(id string, at time.Time)
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	tellEvery = time.Minute
	maxUsage  = 1 << 16
)

func newUsage(tell func(string, time.Time)) *usage {
	return &usage{tell: tell, last: map[string]time.Time{}}
}

func (u *usage) note(id string, now time.Time) {
	if u.tell == nil {
		return
	}
	u.mu.Lock()
	last, known := u.last[id]
	fresh := known && now.Sub(last) < tellEvery
	if !fresh {
		if len(u.last) >= maxUsage {
			clear(u.last)
		}
		u.last[id] = now
	}
	u.mu.Unlock()
	if !fresh {
		u.tell(id, now)
	}
}
