package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

// tokenPrefix makes our tokens recognisable to secret scanners.
const (
	tokenPrefix = "bgt_"
	tokenKeys   = "admin/token/"
)

// ErrUnknownToken: no live token has this secret or id.
var ErrUnknownToken = errors.New("unknown or expired token")

// rolePattern is a role's slug.
var rolePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9:_-]{0,63}$`)

// breakGlassTime is the longest life of a break-glass token.
const breakGlassTime = time.Hour

// ErrInvalidToken: a token of this kind is not made; the text says why.
var ErrInvalidToken = errors.New("token is not valid")

// Token is an API token as it is shown: its secret is told once, when it is
// made, and kept only as a hash.
type Token struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
	// OrganizationID binds the token to an organization; empty: to none.
	OrganizationID string `json:"organization_id"`
	// BreakGlass tokens may do everything, whatever the admin policy says, for
	// an hour at most. They are made on the host alone.
	BreakGlass bool       `json:"break_glass"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsed   *time.Time `json:"last_used"` // to within a minute
}

// actor is who acts with the token.
func (t Token) actor() engine.Actor {
	kind := kindToken
	if t.BreakGlass {
		kind = kindBreakGlass
	}
	return engine.Actor{Kind: kind, ID: t.ID, OrganizationID: t.OrganizationID, Scopes: t.Scopes, Roles: []string{}}
}

type tokenRecord struct {
	V int `json:"v"`
	Token
	Hash string `json:"hash"` // hex SHA-256 of the secret
}

// Tokens keeps API tokens in the store. They are looked up there at every
// request, so a revoked one is dead at once. When they were used is written
// down by Run.
type Tokens struct {
	Store store.Store
	Now   func() time.Time
	Log   *slog.Logger // nil: slog.Default()

	uses uses
}

// Create makes a token that is bound to no organization. ttl 0 never expires.
// It returns the token and its secret, which cannot be had again. Errors:
// ErrInvalidToken, or the store's.
func (t *Tokens) Create(ctx context.Context, name string, scopes []string, ttl time.Duration) (Token, string, error) {
	return t.CreateBound(ctx, "", name, scopes, ttl)
}

// CreateBound is Create for a token that is bound to an organization.
func (t *Tokens) CreateBound(ctx context.Context, organizationID, name string, scopes []string, ttl time.Duration) (Token, string, error) {
	known := Scopes()
	for _, s := range scopes {
		if !slices.Contains(known, s) {
			return Token{}, "", fmt.Errorf("%w: there is no scope %q; there are: %s", ErrInvalidToken, s, knownScopes())
		}
	}
	switch {
	case len(scopes) == 0:
		return Token{}, "", fmt.Errorf("%w: it needs at least one scope", ErrInvalidToken)
	case len(scopes) > 100 || len(organizationID) > 200:
		return Token{}, "", fmt.Errorf("%w: at most 100 scopes, and 200 bytes of an organization", ErrInvalidToken)
	case ttl < 0:
		return Token{}, "", fmt.Errorf("%w: the lifetime is negative", ErrInvalidToken)
	}
	return t.store(ctx, Token{Name: name, Scopes: scopes, OrganizationID: organizationID}, ttl)
}

// CreateBreakGlass makes a token for the hour in which nothing else helps: the
// admin policy is not asked about it. ttl is an hour at most; 0 is an hour.
// Nothing that can be reached by network may call it: whoever may run a command
// on the host, as the owner of the store, may have such a token. Errors are
// Create's.
func (t *Tokens) CreateBreakGlass(ctx context.Context, name string, ttl time.Duration) (Token, string, error) {
	if ttl == 0 {
		ttl = breakGlassTime
	}
	if ttl < 0 || ttl > breakGlassTime {
		return Token{}, "", fmt.Errorf("%w: a break-glass token lives an hour at most", ErrInvalidToken)
	}
	return t.store(ctx, Token{Name: name, Scopes: []string{}, BreakGlass: true}, ttl)
}

func (t *Tokens) store(ctx context.Context, token Token, ttl time.Duration) (Token, string, error) {
	if len(token.Name) > 200 {
		return Token{}, "", fmt.Errorf("%w: the name is longer than 200 bytes", ErrInvalidToken)
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails: it ends the program instead
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	rec := tokenRecord{V: 1, Token: token}
	rec.ID, rec.Hash = tokenID(secret)
	rec.CreatedAt = t.Now().UTC()
	if ttl > 0 {
		at := rec.CreatedAt.Add(ttl)
		rec.ExpiresAt = &at
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return Token{}, "", fmt.Errorf("encode token: %w", err)
	}
	if _, err := t.Store.Update(ctx, func(tx store.Tx) error { return tx.Put(tokenKeys+rec.ID, value) }); err != nil {
		return Token{}, "", fmt.Errorf("store token: %w", err)
	}
	return rec.Token, secret, nil
}

// Find returns the live token with this secret, or ErrUnknownToken.
func (t *Tokens) Find(ctx context.Context, secret string) (Token, error) {
	if !strings.HasPrefix(secret, tokenPrefix) || len(secret) > 100 {
		return Token{}, ErrUnknownToken
	}
	id, hash := tokenID(secret)
	e, err := t.Store.Get(ctx, tokenKeys+id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Token{}, ErrUnknownToken
	case err != nil:
		return Token{}, fmt.Errorf("read token: %w", err)
	}
	var rec tokenRecord
	if err := json.Unmarshal(e.Value, &rec); err != nil {
		return Token{}, fmt.Errorf("decode token %s: %w", id, err)
	}
	if subtle.ConstantTimeCompare([]byte(rec.Hash), []byte(hash)) != 1 || t.expired(rec) {
		return Token{}, ErrUnknownToken
	}
	t.uses.note(rec.ID, t.Now().UTC())
	return rec.Token, nil
}

// expired reports whether a token is over. A break-glass token that claims more
// than its hour was not made by CreateBreakGlass, and is none.
func (t *Tokens) expired(rec tokenRecord) bool {
	if rec.BreakGlass && (rec.ExpiresAt == nil || rec.ExpiresAt.Sub(rec.CreatedAt) > breakGlassTime) {
		return true
	}
	return rec.ExpiresAt != nil && !t.Now().Before(*rec.ExpiresAt)
}

// Get returns the live token of an id, or ErrUnknownToken.
func (t *Tokens) Get(ctx context.Context, id string) (Token, error) {
	e, err := t.Store.Get(ctx, tokenKeys+id)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalidKey), errors.Is(err, store.ErrTooLarge):
		return Token{}, ErrUnknownToken
	case err != nil:
		return Token{}, fmt.Errorf("read token: %w", err)
	}
	rec, err := t.decode(e)
	if err != nil {
		return Token{}, err
	}
	if rec.ID != id || t.expired(rec) {
		return Token{}, ErrUnknownToken
	}
	return rec.Token, nil
}

// decode reads a record, with the last use that is not written down yet.
func (t *Tokens) decode(e store.Entry) (rec tokenRecord, err error) {
	if err := json.Unmarshal(e.Value, &rec); err != nil {
		return rec, fmt.Errorf("decode %s: %w", e.Key, err)
	}
	if at, ok := t.uses.last(rec.ID); ok {
		rec.LastUsed = &at
	}
	return rec, nil
}

// List returns every token that has not expired, by id.
func (t *Tokens) List(ctx context.Context) ([]Token, error) {
	entries, _, err := t.Store.List(ctx, tokenKeys)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	out := []Token{}
	for _, e := range entries {
		rec, err := t.decode(e)
		if err != nil {
			return nil, err
		}
		if !t.expired(rec) {
			out = append(out, rec.Token)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}

// Revoke ends a token, or returns ErrUnknownToken.
func (t *Tokens) Revoke(ctx context.Context, id string) error {
	_, err := t.Store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(tokenKeys + id); err != nil {
			return err
		}
		return tx.Delete(tokenKeys + id)
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalidKey) || errors.Is(err, store.ErrTooLarge) {
		return ErrUnknownToken
	}
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// tokenKept is how long the record of an expired token stays. Nothing shows it
// any more; the audit holds how the token was made.
const tokenKept = 30 * 24 * time.Hour

// Collect deletes the records of tokens that expired long ago, and returns how
// many. A record that it cannot read stays.
func (t *Tokens) Collect(ctx context.Context) (int, error) {
	entries, _, err := t.Store.List(ctx, tokenKeys)
	if err != nil {
		return 0, fmt.Errorf("list tokens: %w", err)
	}
	old := []string{}
	for _, e := range entries {
		if t.isOld(e.Value) {
			old = append(old, e.Key)
		}
	}
	n := 0
	for part := range slices.Chunk(old, usesAtOnce) {
		var gone []string
		_, err := t.Store.Update(ctx, func(tx store.Tx) error {
			gone = nil
			for _, key := range part {
				if _, err := tx.Get(key); errors.Is(err, store.ErrNotFound) {
					continue // revoked in between
				} else if err != nil {
					return err
				}
				if err := tx.Delete(key); err != nil {
					return err
				}
				gone = append(gone, strings.TrimPrefix(key, tokenKeys))
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("delete expired tokens: %w", err)
		}
		t.uses.forget(gone)
		n += len(gone)
	}
	return n, nil
}

func (t *Tokens) isOld(record []byte) bool {
	var rec tokenRecord
	return json.Unmarshal(record, &rec) == nil && rec.ExpiresAt != nil && t.Now().Sub(*rec.ExpiresAt) > tokenKept
}

// tokenID derives the id from the secret, so that a lookup needs no search;
// the id is a part of the hash and tells nothing of the secret.
func tokenID(secret string) (id, hash string) {
	sum := sha256.Sum256([]byte(secret))
	hash = hex.EncodeToString(sum[:])
	return "token_" + hash[:24], hash
}
