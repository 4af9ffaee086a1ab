package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"battery.app/gate/store"
)

// Pairing says that the people who sign in through a connection are those of a
// directory. While an organization has pairings, they alone say so: a connection
// without one has no directory. Without any, the automatic rule holds: one live
// connection and one live directory are a pair, and nothing else is.
//
// Without this rule an organization with several identity providers would trust
// each of them with the people of all: whoever administers one could assert an
// e-mail or idp_id of another's.
type Pairing struct {
	ConnectionID string `json:"connection_id"`
	DirectoryID  string `json:"directory_id"`
}

// maxPairings bounds a list: each takes two reads of the transaction that keeps
// it.
const maxPairings = 50

type pairingRecord struct {
	V        int       `json:"v"`
	Pairings []Pairing `json:"pairings"`
	By       string    `json:"by,omitempty"`
	At       int64     `json:"at"`
}

func (r pairingRecord) known() bool { return r.V == version }

// pairingNode is an organization's explicit pairings in a View. An empty one,
// of a record that cannot be read, pairs nothing; nil is the automatic rule.
type pairingNode struct {
	list []Pairing         // sorted by connection
	with map[string]string // connection → directory
}

// PutPairings replaces an organization's pairings; by says who did it. An empty
// list brings the automatic rule back. A connection is listed once; a directory
// may have several. Links that are pinned stay. It returns the revision to wait
// for.
//
// A pairing whose connection or directory is deleted later dangles: it grants
// nothing and stays, so that what is left is not paired by the automatic rule.
// Such a one may be listed again as it is. Errors: ErrInvalid (which says what);
// ErrNotFound for an organization that is not alive, and for a connection or
// directory that is not or is another organization's; or the store's.
func (d *Directory) PutPairings(ctx context.Context, org string, p []Pairing, by string) (uint64, error) {
	return d.putPairings(ctx, org, nil, p, by)
}

// ReplacePairings is PutPairings for whoever decided on p by the pairings that
// were there before: it fails with ErrChanged if those are not there any more.
func (d *Directory) ReplacePairings(ctx context.Context, org string, before, p []Pairing, by string) (uint64, error) {
	if before == nil {
		before = []Pairing{}
	}
	return d.putPairings(ctx, org, before, p, by)
}

// putPairings replaces whatever is there, or, where before is not nil, that alone.
func (d *Directory) putPairings(ctx context.Context, org string, before, p []Pairing, by string) (uint64, error) {
	list, err := acceptablePairings(org, p, by)
	if err != nil {
		return 0, err
	}
	rec := pairingRecord{V: version, Pairings: list, By: by, At: d.now().UnixMilli()}
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		if o, err := get[organizationRecord](tx, organizationKey(org)); err != nil {
			return err
		} else if !o.alive() {
			return fmt.Errorf("%w: organization", ErrNotFound)
		}
		old, err := get[pairingRecord](tx, pairingKey(org))
		if err != nil {
			return err
		}
		if before != nil && !slices.Equal(before, old.Pairings) {
			return fmt.Errorf("%w: the pairings", ErrChanged)
		}
		for _, each := range list {
			if slices.Contains(old.Pairings, each) {
				continue
			}
			if err := d.pairable(tx, org, each); err != nil {
				return err
			}
		}
		return put(tx, pairingKey(org), rec)
	})
	if err != nil {
		return 0, fmt.Errorf("put pairings: %w", err)
	}
	return rev, nil
}

// acceptablePairings checks a list and returns it sorted, never nil.
func acceptablePairings(org string, p []Pairing, by string) ([]Pairing, error) {
	if !validID(org) || len(by) > maxGroupName {
		return nil, fmt.Errorf("%w: organization id or author", ErrInvalid)
	}
	if len(p) > maxPairings {
		return nil, fmt.Errorf("%w: more than %d pairings", ErrInvalid, maxPairings)
	}
	list := append([]Pairing{}, p...)
	slices.SortFunc(list, func(a, b Pairing) int { return strings.Compare(a.ConnectionID, b.ConnectionID) })
	for i, each := range list {
		switch {
		case !validID(each.ConnectionID) || !validID(each.DirectoryID):
			return nil, fmt.Errorf("%w: a pairing needs a connection_id and a directory_id", ErrInvalid)
		case i > 0 && list[i-1].ConnectionID == each.ConnectionID:
			return nil, fmt.Errorf("%w: connection %s is paired twice: its people are those of one directory", ErrInvalid, each.ConnectionID)
		}
	}
	return list, nil
}

// pairable: both are there and the organization's. The one answer for all that
// is wrong tells nothing of another organization's.
func (d *Directory) pairable(g getter, org string, p Pairing) error {
	conn, err := get[linkedRecord](g, connectionKey(p.ConnectionID))
	if err != nil {
		return err
	}
	if own := conn.alive() && conn.OrganizationID == org; !own && (conn.known() || d.configured[org] != p.ConnectionID) {
		return fmt.Errorf("%w: the organization has no connection %s", ErrNotFound, p.ConnectionID)
	}
	dir, err := get[linkedRecord](g, directoryKey(p.DirectoryID))
	if err != nil {
		return err
	}
	if !dir.alive() || dir.OrganizationID != org {
		return fmt.Errorf("%w: the organization has no directory %s", ErrNotFound, p.DirectoryID)
	}
	return nil
}

// Pairings are an organization's explicit ones, by connection, those that dangle
// too; none where the automatic rule holds.
func (v *View) Pairings(org string) []Pairing {
	if o, ok := v.organizations.Get([]byte(org)); ok && o.alive() && o.pairings != nil {
		return slices.Clone(o.pairings.list)
	}
	return []Pairing{}
}

// counterpart is the live directory whose users sign in through a connection of
// the organization, or nil.
func (v *View) counterpart(o *organizationNode, connection string) *linkedNode {
	if o.pairings == nil {
		if dir := only(o.directories); dir != nil && v.alone(o, connection) {
			return dir
		}
		return nil
	}
	id, ok := o.pairings.with[connection]
	if !ok || !v.belongsTo(o, connection) {
		return nil
	}
	dir, ok := v.directories.Get([]byte(id))
	if !ok || !dir.rec.live() || dir.rec.OrganizationID != o.id {
		return nil
	}
	return dir
}

// belongsTo reports whether a connection is a live one of the organization: at
// WorkOS, or configured.
func (v *View) belongsTo(o *organizationNode, connection string) bool {
	conn, ok := v.connections.Get([]byte(connection))
	if !ok {
		return v.configured[o.id] == connection
	}
	return conn.rec.live() && conn.rec.OrganizationID == o.id
}

// pair takes in an organization's pairings.
func (b *builder) pair(org string, r stored[pairingRecord]) {
	o := b.change(org)
	o.pairings = nil
	switch {
	case r.broken:
		o.pairings = &pairingNode{list: []Pairing{}}
	case r.rec != nil && len(r.rec.Pairings) > 0:
		n := &pairingNode{list: r.rec.Pairings, with: make(map[string]string, len(r.rec.Pairings))}
		for _, p := range n.list {
			n.with[p.ConnectionID] = p.DirectoryID
		}
		o.pairings = n
	}
}
