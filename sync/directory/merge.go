package directory

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"time"
)

// This file merges the facts of a reading, each as one step of a transaction.
// The registers are read anew there: what events changed in between wins by the
// same stamps as everywhere.

// edgeGrace is how long an event's removal of a membership outweighs a single
// reading that still shows it (design, "Full reconcile").
const edgeGrace = 24 * time.Hour

// userSeen merges that a reading saw a user.
func (w *writer) userSeen(p *userPayload, last int64) (verdict, error) {
	r, err := get[userRecord](w.tx, userKey(p.ID))
	if err != nil {
		return verdict{}, err
	}
	if r.known() && (r.DirectoryID != p.DirectoryID || r.OrganizationID != p.OrganizationID) {
		return verdict{}, malformed("a user cannot move to another directory or organization")
	}
	v := r.sighted(w.at, last, p.same(&r))
	if v.take {
		p.into(&r)
	}
	return v, w.keep(userKey(p.ID), v, r)
}

// userUnseen merges that a reading did not see a user.
func (w *writer) userUnseen(id string) (verdict, error) {
	r, err := get[userRecord](w.tx, userKey(id))
	if err != nil {
		return verdict{}, err
	}
	v := r.unsighted(w.at)
	return v, w.keep(userKey(id), v, r)
}

func (w *writer) groupSeen(p *groupPayload, last int64) (verdict, error) {
	r, err := get[groupRecord](w.tx, groupKey(p.ID))
	if err != nil {
		return verdict{}, err
	}
	if r.known() && (r.DirectoryID != p.DirectoryID || r.OrganizationID != p.OrganizationID) {
		return verdict{}, malformed("a group cannot move to another directory or organization")
	}
	before := r
	v := r.sighted(w.at, last, p.same(&r))
	if v.take {
		r = groupRecord{register: r.register, DirectoryID: p.DirectoryID, OrganizationID: p.OrganizationID,
			IdpID: p.IdpID, Name: p.Name}
	}
	if err := w.keep(groupKey(p.ID), v, r); err != nil || !v.write {
		return v, err
	}
	return v, w.renamed(p.ID, &before, &r)
}

func (w *writer) groupUnseen(id string) (verdict, error) {
	r, err := get[groupRecord](w.tx, groupKey(id))
	if err != nil {
		return verdict{}, err
	}
	before := r
	v := r.unsighted(w.at)
	if err := w.keep(groupKey(id), v, r); err != nil || !v.write {
		return v, err
	}
	return v, w.renamed(id, &before, &r)
}

// edgeSeen merges that a reading saw a membership.
func (w *writer) edgeSeen(e Edge, last int64) (verdict, error) {
	key := edgeKey(e.UserID, e.GroupID)
	r, err := get[edgeRecord](w.tx, key)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case r.known() && (r.Present || !r.Stamp.before(w.at.stamp)):
		return verdict{}, nil
	case r.known() && r.Stamp.ID != "" && w.at.At-r.Stamp.At < edgeGrace.Milliseconds() && !seenTwice(r.Again, last, w.at.At):
		v := verdict{op: opAdd, pending: true, write: r.Again != w.at.At}
		r.Again = w.at.At
		return v, w.keep(key, v, r)
	}
	v := verdict{op: opAdd, write: true}
	return v, w.keep(key, v, edgeRecord{V: version, Stamp: w.at.stamp, Present: true, Source: SourceReconcile})
}

// edgeUnseen merges that a reading of all the group's members did not see this.
func (w *writer) edgeUnseen(e Edge) (verdict, error) {
	key := edgeKey(e.UserID, e.GroupID)
	r, err := get[edgeRecord](w.tx, key)
	if err != nil || !r.Present || !r.Stamp.before(w.at.stamp) {
		return verdict{}, err
	}
	v := verdict{op: opRemove, write: true}
	return v, w.keep(key, v, edgeRecord{V: version, Stamp: w.at.stamp, Source: SourceReconcile})
}

// linkedSeen merges that a reading saw a connection or directory.
func (w *writer) linkedSeen(key string, p *linkedPayload, last int64) (verdict, error) {
	r, err := get[linkedRecord](w.tx, key)
	if err != nil {
		return verdict{}, err
	}
	if r.OrganizationID != "" && p.OrganizationID != "" && r.OrganizationID != p.OrganizationID {
		return verdict{}, malformed("a connection or directory cannot change its organization")
	}
	learned := r.OrganizationID == "" && p.OrganizationID != ""
	same := !learned && r.Name == p.Name && r.Type == p.Type && r.State == p.State
	v := r.sighted(w.at, last, same)
	if learned && !v.pending {
		r.OrganizationID = p.OrganizationID
		if v.write = true; v.op == "" {
			v.op = opUpdate
		}
	}
	if v.take {
		r.Name, r.Type, r.State = p.Name, p.Type, p.State
	}
	return v, w.keep(key, v, r)
}

func (w *writer) linkedUnseen(key string) (verdict, error) {
	r, err := get[linkedRecord](w.tx, key)
	if err != nil {
		return verdict{}, err
	}
	v := r.unsighted(w.at)
	return v, w.keep(key, v, r)
}

func (w *writer) organizationSeen(o *RemoteOrganization, last int64) (verdict, error) {
	r, err := get[organizationRecord](w.tx, organizationKey(o.ID))
	if err != nil {
		return verdict{}, err
	}
	v := r.sighted(w.at, last, r.Name == o.Name && slices.Equal(r.Domains, o.Domains))
	if v.take {
		r.Name, r.Domains = o.Name, o.Domains
	}
	return v, w.keep(organizationKey(o.ID), v, r)
}

func (w *writer) organizationUnseen(id string) (verdict, error) {
	r, err := get[organizationRecord](w.tx, organizationKey(id))
	if err != nil {
		return verdict{}, err
	}
	v := r.unsighted(w.at)
	return v, w.keep(organizationKey(id), v, r)
}

func (w *writer) keep(key string, v verdict, rec any) error {
	if !v.write {
		return nil
	}
	return put(w.tx, key, rec)
}

// same reports whether a record says what the payload says.
func (p *userPayload) same(r *userRecord) bool {
	next := *r
	p.into(&next)
	return next.IdpID == r.IdpID && next.Email == r.Email && next.FirstName == r.FirstName && next.LastName == r.LastName &&
		next.Username == r.Username && next.JobTitle == r.JobTitle && next.State == r.State &&
		slices.Equal(slices.Sorted(slices.Values(next.Roles)), slices.Sorted(slices.Values(r.Roles))) &&
		sameJSON(next.Attributes, r.Attributes)
}

func (p *groupPayload) same(r *groupRecord) bool { return p.IdpID == r.IdpID && p.Name == r.Name }

// sameJSON compares two objects; the order of their keys means nothing.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	return reflect.DeepEqual(attributes(a), attributes(b))
}
