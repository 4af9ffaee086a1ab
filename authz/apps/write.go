package apps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"battery.app/gate/authz"
	"battery.app/gate/store"
)

// Why an app cannot be written, beside *ValidationError.
var (
	ErrNotFound  = errors.New("no such app")
	ErrExists    = errors.New("an app with this id exists")
	ErrReadOnly  = errors.New("the app comes from the config file: change it there")
	ErrHostTaken = errors.New("the host is owned by another app")
	ErrChanged   = errors.New("the app was changed in between")
)

// Create adds an app and claims its hosts. It returns the app as it was kept,
// and the store's revision from which on it is served. Errors: *ValidationError,
// ErrExists, ErrHostTaken, or of the store.
func (r *Registry) Create(ctx context.Context, app authz.App) (*authz.App, uint64, error) {
	kept, revision, err := r.write(ctx, app, func(tx store.Tx) ([]byte, error) {
		if r.Configured(app.ID) {
			return nil, ErrExists
		}
		_, err := tx.Get(appKey(app.ID))
		switch {
		case err == nil:
			return nil, ErrExists
		case errors.Is(err, store.ErrNotFound):
			return nil, nil
		}
		return nil, err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("create app: %w", err)
	}
	return kept, revision, nil
}

// Replace puts another app in the place of the one with the same id, whole.
// Hosts that it no longer has are free at once. Errors: *ValidationError,
// ErrNotFound, ErrReadOnly, ErrHostTaken, or of the store.
func (r *Registry) Replace(ctx context.Context, app authz.App) (*authz.App, uint64, error) {
	return r.ReplaceIf(ctx, app, nil)
}

// ReplaceIf is Replace for whoever decided on app by what was there before. still
// is asked in the transaction, perhaps more than once, about what is there now;
// the answer no, and an app that cannot be read, is ErrChanged. nil is not asked.
func (r *Registry) ReplaceIf(ctx context.Context, app authz.App, still func(now *authz.App) bool) (*authz.App, uint64, error) {
	kept, revision, err := r.write(ctx, app, func(tx store.Tx) ([]byte, error) { return r.changeable(tx, app.ID, still) })
	if err != nil {
		return nil, 0, fmt.Errorf("replace app: %w", err)
	}
	return kept, revision, nil
}

// Delete removes an app and lets go of its hosts. Errors: ErrNotFound,
// ErrReadOnly, or of the store.
func (r *Registry) Delete(ctx context.Context, id string) (uint64, error) {
	return r.DeleteIf(ctx, id, nil)
}

// DeleteIf is to Delete what ReplaceIf is to Replace.
func (r *Registry) DeleteIf(ctx context.Context, id string, still func(now *authz.App) bool) (uint64, error) {
	revision, err := r.store.Update(ctx, func(tx store.Tx) error {
		old, err := r.changeable(tx, id, still)
		if err != nil {
			return err
		}
		if err := release(tx, id, old, nil); err != nil {
			return err
		}
		return tx.Delete(appKey(id))
	})
	if err != nil {
		return 0, fmt.Errorf("delete app: %w", err)
	}
	return revision, nil
}

// changeable returns the stored app under id for one that will change it.
func (r *Registry) changeable(tx store.Tx, id string, still func(*authz.App) bool) ([]byte, error) {
	if r.Configured(id) {
		return nil, ErrReadOnly
	}
	if !idPattern.MatchString(id) {
		return nil, ErrNotFound
	}
	old, err := tx.Get(appKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil || still == nil {
		return old, err
	}
	if now, err := r.decodeApp(id, old); err != nil || !still(now) {
		return nil, ErrChanged
	}
	return old, nil
}

// write keeps an app and moves its claims, in one transaction. before says
// whether that may be, and returns what is there now.
func (r *Registry) write(ctx context.Context, in authz.App, before func(store.Tx) ([]byte, error)) (*authz.App, uint64, error) {
	app, err := r.canonical(in)
	if err != nil {
		return nil, 0, err
	}
	if err := r.checkSlugs(app, true); err != nil {
		return nil, 0, err
	}
	value, err := json.Marshal(appRecord{V: version, App: *app})
	if err != nil {
		return nil, 0, err
	}
	claimed := bareNames(app.Hosts)
	revision, err := r.store.Update(ctx, func(tx store.Tx) error {
		old, err := before(tx)
		if err != nil {
			return err
		}
		for _, name := range claimed {
			if err := r.claim(tx, name, app.ID); err != nil {
				return err
			}
		}
		if err := release(tx, app.ID, old, claimed); err != nil {
			return err
		}
		return tx.Put(appKey(app.ID), value)
	})
	if err != nil {
		return nil, 0, err
	}
	return app, revision, nil
}

// claim makes id the owner of a host name, unless another app is.
func (r *Registry) claim(tx store.Tx, name, id string) error {
	if r.configuredHosts[name] != "" {
		return fmt.Errorf("%w: %s", ErrHostTaken, name)
	}
	raw, err := tx.Get(hostKey(name))
	if err == nil {
		taken, err := claimedByOther(tx, raw, id)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%w: %s", ErrHostTaken, name)
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	value, err := json.Marshal(hostRecord{V: version, AppID: id})
	if err != nil {
		return err
	}
	return tx.Put(hostKey(name), value)
}

// claimedByOther reports whether a claim is another app's. A claim stands as
// long as its app exists; one that cannot be read stands.
func claimedByOther(tx store.Tx, raw []byte, id string) (bool, error) {
	var c hostRecord
	if err := decode(raw, &c, &c.V); err != nil || c.AppID == "" {
		return true, nil
	}
	if c.AppID == id {
		return false, nil
	}
	_, err := tx.Get(appKey(c.AppID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return true, err
}

// release lets go of the hosts that the app had and does not keep.
func release(tx store.Tx, id string, old []byte, keep []string) error {
	for _, name := range bareNames(hostsIn(old)) {
		if valid, err := canonicalName(name); err != nil || valid != name || slices.Contains(keep, name) {
			continue
		}
		raw, err := tx.Get(hostKey(name))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var c hostRecord
		if decode(raw, &c, &c.V) != nil || c.AppID != id {
			continue // another's, or not ours to judge
		}
		if err := tx.Delete(hostKey(name)); err != nil {
			return err
		}
	}
	return nil
}

// bareNames are the names of host entries, each once.
func bareNames(hosts []string) []string {
	var names []string
	for _, h := range hosts {
		if name := bareName(h); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
