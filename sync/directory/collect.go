package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// KeepFor is how long receipts, dead letters and tombstones are kept at the
// least. WorkOS retries for days and replays up to 90 days; what is older than
// this comes no more.
const KeepFor = 120 * 24 * time.Hour

// Collect drops what nothing needs any more as of now, and returns how many
// values: receipts and dead letters older than KeepFor, and users and groups
// that have been gone for KeepFor, by themselves or with their directory, and
// their memberships. A user that a profile
// is linked to and a group that a role mapping names stay as long as that. It
// works in small transactions, each of which looks again, and may be interrupted
// anywhere; once a day is enough.
func (d *Directory) Collect(ctx context.Context, now time.Time) (n int, err error) {
	before := now.Add(-KeepFor).UnixMilli()
	for _, sweep := range []func(context.Context, int64) (int, error){d.collectReceipts, d.collectDead, d.collectUsers, d.collectGroups} {
		did, err := sweep(ctx, before)
		if n += did; err != nil {
			return n, fmt.Errorf("collect: %w", err)
		}
	}
	return n, nil
}

func (d *Directory) collectReceipts(ctx context.Context, before int64) (int, error) {
	return d.collect(ctx, receiptKey(""), func(g getter, key string) (bool, error) {
		r, err := get[receiptRecord](g, key)
		return r.known() && r.At < before, err
	})
}

func (d *Directory) collectDead(ctx context.Context, before int64) (int, error) {
	return d.collect(ctx, deadKey(""), func(g getter, key string) (bool, error) {
		r, err := get[deadRecord](g, key)
		return r.known() && r.ReceivedAt.UnixMilli() < before, err
	})
}

// collect deletes the keys under a prefix that are done with. What cannot be
// read stays, for someone to look at.
func (d *Directory) collect(ctx context.Context, prefix string, done func(getter, string) (bool, error)) (int, error) {
	entries, _, err := d.store.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	keys := make([]string, len(entries))
	for i := range entries {
		keys[i] = entries[i].Key
	}
	return d.deleteIf(ctx, keys, done)
}

func (d *Directory) deleteIf(ctx context.Context, keys []string, done func(getter, string) (bool, error)) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	did := make([]bool, len(keys))
	_, err = d.inParts(ctx, len(keys), func(l *layer, i int) (err error) {
		if did[i], err = done(l, keys[i]); errors.Is(err, ErrCorrupt) {
			did[i], err = false, nil
		}
		if err == nil && did[i] {
			err = l.Delete(keys[i])
		}
		return err
	}, nil)
	if err != nil {
		return 0, err
	}
	for _, ok := range did {
		if ok {
			n++
		}
	}
	return n, nil
}

// collectUsers drops users that are gone, their memberships first: a membership
// must never be left for an id that is no longer known as deleted.
func (d *Directory) collectUsers(ctx context.Context, before int64) (n int, err error) {
	v := d.View()
	linked := map[string]bool{}
	v.links.Root().Walk(func(_ []byte, user string) bool { linked[user] = true; return false })
	var ids []string
	v.users.Root().Walk(func(_ []byte, u *userNode) bool {
		if at, gone := v.gone(u); gone && at < before && !linked[u.id] {
			ids = append(ids, u.id)
		}
		return false
	})
	still := func(g getter, key string) (bool, error) {
		r, err := get[userRecord](g, key)
		if err != nil || longGone(r.register, before) {
			return err == nil, err
		}
		return directoryGone(g, r.DirectoryID, before)
	}
	for _, id := range ids {
		did, err := d.collect(ctx, edgeKey(id, ""), func(g getter, _ string) (bool, error) { return still(g, userKey(id)) })
		if n += did; err != nil {
			return n, err
		}
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = userKey(id)
	}
	did, err := d.deleteIf(ctx, keys, still)
	return n + did, err
}

// collectGroups drops groups that are gone and that no user's membership and no
// mapping names any more.
func (d *Directory) collectGroups(ctx context.Context, before int64) (n int, err error) {
	v := d.View()
	gone := map[string]bool{}
	v.groups.Root().Walk(func(id []byte, g *groupRecord) bool {
		dir, ok := v.directories.Get([]byte(g.DirectoryID))
		if longGone(g.register, before) || ok && longGone(dir.rec.register, before) {
			gone[string(id)] = true
		}
		return false
	})
	v.organizations.Root().Walk(func(_ []byte, o *organizationNode) bool {
		for i := 0; o.mappings != nil && i < len(o.mappings.rec.Mappings); i++ {
			delete(gone, o.mappings.rec.Mappings[i].group())
		}
		return false
	})
	var edges, keys []string
	v.users.Root().Walk(func(_ []byte, u *userNode) bool {
		for _, g := range u.groups {
			if gone[g] {
				edges = append(edges, edgeKey(u.id, g))
			}
		}
		return false
	})
	for id := range gone {
		keys = append(keys, groupKey(id))
	}
	still := func(g getter, key string) (bool, error) {
		r, err := get[groupRecord](g, groupKey(key[strings.LastIndexByte(key, '/')+1:]))
		if err != nil || longGone(r.register, before) {
			return err == nil, err
		}
		return directoryGone(g, r.DirectoryID, before)
	}
	if n, err = d.deleteIf(ctx, edges, still); err != nil {
		return n, err
	}
	did, err := d.deleteIf(ctx, keys, still)
	return n + did, err
}

// directoryGone: the users and groups of a directory are gone with it. Its own
// tombstone stays for good: it is what keeps them from coming back.
func directoryGone(g getter, dir string, before int64) (bool, error) {
	if dir == "" {
		return false, nil
	}
	r, err := get[linkedRecord](g, directoryKey(dir))
	return longGone(r.register, before), err
}

// longGone reports whether an object was deleted or absent before a time, and
// nothing was heard of it since.
func longGone(r register, before int64) bool {
	at, gone := r.gone()
	return gone && at < before && r.Stamp.At < before
}
