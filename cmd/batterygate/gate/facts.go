package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"battery.app/gate/authz/apps"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

// room is a part of the program that keeps a view of what the store holds.
// Load replaces it, Apply moves it on by one change. Both are called by one
// goroutine, and both ignore keys of other rooms.
type room interface {
	Load(entries []store.Entry)
	Apply(change store.Change)
}

// source is what facts ask of the store.
type source interface {
	// ListExcept is List of all keys but those that start with a prefix.
	ListExcept(ctx context.Context, except string) ([]store.Entry, uint64, error)
	Watch(ctx context.Context, prefix string, from uint64, fn func([]store.Change) error) error
}

// facts keeps every view in step with the store. All rooms move through the
// same changes in the same order, and only then is the revision published: a
// snapshot that says revision 7 holds all of revision 7, of every room.
type facts struct {
	store   source
	rooms   []room
	publish func(revision uint64)
	log     *slog.Logger
}

// load reads everything but the audit, of which no room has a view and which
// may be years long, and publishes it. It returns the revision to watch from.
func (f *facts) load(ctx context.Context) (uint64, error) {
	entries, revision, err := f.store.ListExcept(ctx, audit.Prefix)
	if err != nil {
		return 0, fmt.Errorf("read store: %w", err)
	}
	for _, r := range f.rooms {
		r.Load(entries)
	}
	// What wrote last may not be among the entries: a room that waits for a
	// revision must know that it has come so far.
	for _, r := range f.rooms {
		r.Apply(store.Change{Revision: revision})
	}
	f.publish(revision)
	return revision, nil
}

// run follows the store from revision until ctx ends. Falling too far behind
// is answered by reading everything again.
func (f *facts) run(ctx context.Context, revision uint64) error {
	for {
		err := f.store.Watch(ctx, "", revision, func(changes []store.Change) error {
			all := joined(changes)
			for _, r := range f.rooms {
				r.Apply(all)
			}
			revision = all.Revision
			f.publish(revision)
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, store.ErrCompacted):
			return fmt.Errorf("watch store: %w", err)
		}
		f.log.WarnContext(ctx, "fell behind the store; reading all of it again", "revision", revision)
		if revision, err = f.load(ctx); err != nil {
			return err
		}
	}
}

// joined is several changes as one: under a flood of webhooks they come in
// batches, and one next view for all of a batch costs a fraction of one each.
// Entries keep their order, so the last of a key is what counts.
func joined(changes []store.Change) store.Change {
	if len(changes) == 1 {
		return changes[0]
	}
	n := 0
	for _, c := range changes {
		n += len(c.Entries)
	}
	all := store.Change{Revision: changes[len(changes)-1].Revision, Entries: make([]store.Entry, 0, n)}
	for _, c := range changes {
		all.Entries = append(all.Entries, c.Entries...)
	}
	return all
}

// slugs lets the apps look again at whose hosts are whose when an organization
// gains or loses its slug.
type slugs struct{ apps *apps.Registry }

// Load comes after the directory's and the apps' own.
func (s slugs) Load([]store.Entry) { s.apps.Recheck() }

// Apply is O(apps), for a change that operators make now and then.
func (s slugs) Apply(c store.Change) {
	for _, e := range c.Entries {
		if strings.HasPrefix(e.Key, directory.Prefix+"slug/") || strings.HasPrefix(e.Key, directory.Prefix+"organization/") {
			s.apps.Recheck()
			return
		}
	}
}
