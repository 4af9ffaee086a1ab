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
	"regexp"
	"sort"
	"strings"
	"time"

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

var scopePattern = regexp.MustCompile(`^(operator|read|[a-z-]+\.(\*|[a-z]+))$`)

// Token is an API token as it is shown: its secret is told once, when it is
// made, and kept only as a hash.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

type tokenRecord struct {
	V int `json:"v"`
	Token
	Hash string `json:"hash"` // hex SHA-256 of the secret
}

// Tokens keeps API tokens in the store. They are looked up there at every
// request, so a revoked one is dead at once.
type Tokens struct {
	Store store.Store
	Now   func() time.Time
}

// Create makes a token. ttl 0 never expires. It returns the token and its
// secret, which cannot be had again.
func (t *Tokens) Create(ctx context.Context, name string, scopes []string, ttl time.Duration) (Token, string, error) {
	for _, s := range scopes {
		if !scopePattern.MatchString(s) {
			return Token{}, "", fmt.Errorf("scope %q is not operator, read, or of the form decisions.list or decisions.*", s)
		}
	}
	if len(scopes) == 0 {
		return Token{}, "", errors.New("a token needs at least one scope")
	}
	if len(name) > 200 || ttl < 0 {
		return Token{}, "", errors.New("the name is longer than 200 bytes or the lifetime is negative")
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails: it ends the program instead
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	id, hash := tokenID(secret)
	now := t.Now().UTC()
	rec := tokenRecord{V: 1, Hash: hash, Token: Token{ID: id, Name: name, Scopes: scopes, CreatedAt: now}}
	if ttl > 0 {
		at := now.Add(ttl)
		rec.ExpiresAt = &at
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return Token{}, "", fmt.Errorf("encode token: %w", err)
	}
	if _, err := t.Store.Update(ctx, func(tx store.Tx) error { return tx.Put(tokenKeys+id, value) }); err != nil {
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
	return rec.Token, nil
}

func (t *Tokens) expired(rec tokenRecord) bool {
	return rec.ExpiresAt != nil && !t.Now().Before(*rec.ExpiresAt)
}

// List returns every token that has not expired, by id.
func (t *Tokens) List(ctx context.Context) ([]Token, error) {
	entries, _, err := t.Store.List(ctx, tokenKeys)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	out := []Token{}
	for _, e := range entries {
		var rec tokenRecord
		if err := json.Unmarshal(e.Value, &rec); err != nil {
			return nil, fmt.Errorf("decode %s: %w", e.Key, err)
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

// tokenID derives the id from the secret, so that a lookup needs no search;
// the id is a part of the hash and tells nothing of the secret.
func tokenID(secret string) (id, hash string) {
	sum := sha256.Sum256([]byte(secret))
	hash = hex.EncodeToString(sum[:])
	return "token_" + hash[:24], hash
}
