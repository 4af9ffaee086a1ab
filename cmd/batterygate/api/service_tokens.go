package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/machines"
	"battery.app/gate/store"
)

const (
	serviceKeys     = "machines/token/"
	maxServiceToken = 400 * 24 * time.Hour // the longest life: a token that is forgotten must end by itself
)

// ServiceToken is a machine's token for apps, as it is shown. Its secret is
// told once, when it is made.
type ServiceToken struct {
	ID             string     `json:"id"`
	OrganizationID string     `json:"organization_id"`
	Name           string     `json:"name"`
	Apps           []string   `json:"apps"`
	Roles          []string   `json:"roles"`
	CreatedAt      time.Time  `json:"created_at"`
	ExpiresAt      time.Time  `json:"expires_at"`
	LastUsed       *time.Time `json:"last_used"`
}

type serviceRecord struct {
	V int `json:"v"`
	ServiceToken
}

// ServiceTokens keeps service tokens by the hash of their secret. Requests are
// answered from memory, fed by the store like every other view; what was used
// when is written down once a minute.
type ServiceTokens struct {
	Store store.Store
	Now   func() time.Time
	Log   *slog.Logger

	mu     sync.RWMutex
	byHash map[string]serviceRecord
	hashes map[string]string // id → hash

	uses uses
}

var _ machines.ServiceTokens = (*ServiceTokens)(nil)

// Find returns a token by the hash of its secret. Whether it has expired is the
// verifier's to say.
func (s *ServiceTokens) Find(hash string) (machines.Token, bool) {
	s.mu.RLock()
	r, ok := s.byHash[hash]
	s.mu.RUnlock()
	if !ok {
		return machines.Token{}, false
	}
	return machines.Token{ID: r.ID, OrganizationID: r.OrganizationID, Apps: r.Apps, Roles: r.Roles, IssuedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt}, true
}

// Load replaces the view.
func (s *ServiceTokens) Load(entries []store.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byHash, s.hashes = map[string]serviceRecord{}, map[string]string{}
	for _, e := range entries {
		s.put(e)
	}
}

// Apply moves the view on by a change.
func (s *ServiceTokens) Apply(c store.Change) {
	for _, e := range c.Entries {
		if strings.HasPrefix(e.Key, serviceKeys) {
			s.mu.Lock()
			s.put(e)
			s.mu.Unlock()
		}
	}
}

func (s *ServiceTokens) put(e store.Entry) {
	hash, ok := strings.CutPrefix(e.Key, serviceKeys)
	if !ok {
		return
	}
	if old, known := s.byHash[hash]; known {
		delete(s.hashes, old.ID)
		delete(s.byHash, hash)
	}
	if e.Deleted {
		return
	}
	var r serviceRecord
	if err := json.Unmarshal(e.Value, &r); err != nil || r.V != 1 {
		s.Log.Error("service token is unreadable and counts as revoked", "key", e.Key, "error", err)
		return
	}
	s.byHash[hash], s.hashes[r.ID] = r, hash
}

// Used notes that a token was good. It never blocks on the store.
func (s *ServiceTokens) Used(id string, at time.Time) { s.uses.note(id, at.UTC()) }

// Run writes down uses once a minute, and a last time when ctx ends.
func (s *ServiceTokens) Run(ctx context.Context) error {
	s.uses.run(ctx, s.Store, s.writeUse, s.Log)
	return nil
}

func (s *ServiceTokens) writeUse(tx store.Tx, id string, at time.Time) (bool, error) {
	s.mu.RLock()
	hash, ok := s.hashes[id]
	s.mu.RUnlock()
	if !ok {
		return false, nil
	}
	return writeUseOf(tx, serviceKeys+hash, at, func(r *serviceRecord) **time.Time { return &r.LastUsed })
}

// list returns an organization's tokens, by id.
func (s *ServiceTokens) list(org string) []ServiceToken {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []ServiceToken{}
	for _, r := range s.byHash {
		if r.OrganizationID == org {
			t := r.ServiceToken
			if at, ok := s.uses.last(t.ID); ok && (t.LastUsed == nil || t.LastUsed.Before(at)) {
				t.LastUsed = &at
			}
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b ServiceToken) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (s *ServiceTokens) create(ctx context.Context, t ServiceToken) (ServiceToken, string, uint64, error) {
	secret, hash := machines.NewServiceToken()
	t.ID, t.CreatedAt = "service_"+hash[:24], s.Now().UTC()
	value, err := json.Marshal(serviceRecord{V: 1, ServiceToken: t})
	if err != nil {
		return t, "", 0, fmt.Errorf("encode service token: %w", err)
	}
	revision, err := s.Store.Update(ctx, func(tx store.Tx) error { return tx.Put(serviceKeys+hash, value) })
	if err != nil {
		return t, "", 0, fmt.Errorf("store service token: %w", err)
	}
	return t, secret, revision, nil
}

func (s *ServiceTokens) revoke(ctx context.Context, org, id string) (uint64, bool, error) {
	s.mu.RLock()
	hash, ok := s.hashes[id]
	ok = ok && s.byHash[hash].OrganizationID == org
	s.mu.RUnlock()
	if !ok {
		return 0, false, nil
	}
	revision, err := s.Store.Update(ctx, func(tx store.Tx) error { return tx.Delete(serviceKeys + hash) })
	return revision, true, err
}

func (a *API) listServiceTokens(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	return page(c, a.ServiceTokens.list(o.ID), func(t ServiceToken) string { return t.ID })
}

type newServiceToken struct {
	Name  string   `json:"name"`
	Apps  []string `json:"apps"`
	Roles []string `json:"roles"`
	TTL   string   `json:"ttl"`
}

func (a *API) createServiceToken(c *gin.Context) error {
	in, err := body[newServiceToken](c)
	if err != nil {
		return err
	}
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	t, err := a.checkServiceToken(in, o.ID)
	if err != nil {
		return err
	}
	token, secret, revision, err := a.ServiceTokens.create(c.Request.Context(), t)
	if err != nil {
		return err
	}
	made(c, token)
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "service token created", "token_id", token.ID, "organization_id", o.ID, "apps", token.Apps, "actor", actorID(c))
	c.JSON(http.StatusCreated, struct {
		ServiceToken
		Secret string `json:"token"`
	}{token, secret})
	return nil
}

// checkServiceToken: a token names apps of its own organization, roles that
// could be a user's, and an end.
func (a *API) checkServiceToken(in newServiceToken, org string) (ServiceToken, error) {
	var faults []FieldError
	fault := func(field, message string) { faults = append(faults, FieldError{field, message}) }
	ttl, err := time.ParseDuration(in.TTL)
	if err != nil || ttl <= 0 || ttl > maxServiceToken {
		fault("ttl", "must be a duration such as 720h, at most 9600h")
	}
	if len(in.Apps) == 0 || len(in.Apps) > 100 {
		fault("apps", "name 1 to 100 apps")
	}
	view := a.Apps.View()
	for i, id := range in.Apps {
		if app, ok := view.ByID(id); !ok || app.OrganizationID != org {
			fault(fmt.Sprintf("apps[%d]", i), "is not an app of this organization")
		}
	}
	for i, r := range in.Roles {
		if !rolePattern.MatchString(r) || strings.HasPrefix(r, "battery:") {
			fault(fmt.Sprintf("roles[%d]", i), "is not a role that a token may have")
		}
	}
	if len(in.Name) > 200 || len(in.Roles) > 32 {
		fault("name", "at most 200 bytes, and at most 32 roles")
	}
	if len(faults) > 0 {
		return ServiceToken{}, invalid("The service token is not valid.", faults)
	}
	roles := slices.Compact(slices.Sorted(slices.Values(in.Roles)))
	if roles == nil {
		roles = []string{}
	}
	return ServiceToken{OrganizationID: org, Name: in.Name, Apps: in.Apps, Roles: roles, ExpiresAt: a.ServiceTokens.Now().Add(ttl).UTC()}, nil
}

// serviceTokenState is what the audit shows of the token that a path names.
func (a *API) serviceTokenState(c *gin.Context) any {
	for _, t := range a.ServiceTokens.list(c.Param("id")) {
		if t.ID == c.Param("token") {
			return t
		}
	}
	return nil
}

func (a *API) revokeServiceToken(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	revision, ok, err := a.ServiceTokens.revoke(c.Request.Context(), o.ID, c.Param("token"))
	switch {
	case err != nil:
		return err
	case !ok:
		return problem(http.StatusNotFound, "The organization has no service token of this id.")
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "service token revoked", "token_id", c.Param("token"), "organization_id", o.ID, "actor", actorID(c))
	c.Status(http.StatusNoContent)
	return nil
}
