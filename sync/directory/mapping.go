package directory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/store"
)

// Mapping gives roles to a group of the organization, named by its id or by its
// name: exactly one of the two.
type Mapping struct {
	GroupID   string   `json:"group_id,omitempty"`
	GroupName string   `json:"group_name,omitempty"`
	Roles     []string `json:"roles"`
}

// What a mapping is worth. Only a bound one grants its roles.
const (
	StatusBound     = "bound"     // its group exists
	StatusDangling  = "dangling"  // its group is not known, or not any more
	StatusAmbiguous = "ambiguous" // several groups bear its name
)

// BoundMapping is a Mapping as it is kept: BoundTo is the group that a name was
// bound to. It stays bound to that id, whatever the group is called later.
type BoundMapping struct {
	Mapping
	BoundTo string `json:"bound_group_id,omitempty"`
	Status  string `json:"status"`
}

// Mappings is an organization's whole set.
type Mappings struct {
	Mappings  []BoundMapping `json:"mappings"`
	UpdatedBy string         `json:"updated_by,omitempty"`
	UpdatedAt time.Time      `json:"updated_at,omitzero"`

	// RoleSource says whether the mappings are in force at all.
	RoleSource RoleSource `json:"role_source"`
}

// Limits of a set, so that it and the ids it will be bound to fit one value.
const (
	maxMappings  = 1000
	maxRoles     = 32
	maxGroupName = 512
	bindAtOnce   = 80 // names that one transaction looks up
)

type mappingRecord struct {
	V        int             `json:"v"`
	Mappings []storedMapping `json:"mappings"`
	By       string          `json:"by,omitempty"`
	At       int64           `json:"at"`
}

func (r mappingRecord) known() bool { return r.V == version }

type storedMapping struct {
	Mapping
	BoundTo string `json:"bound_group_id,omitempty"`
}

// group is the id whose members get the roles; empty while a name is unbound.
func (m *storedMapping) group() string {
	if m.GroupID != "" {
		return m.GroupID
	}
	return m.BoundTo
}

// PutMappings replaces an organization's role mappings; by says who did it. A
// name that was bound before stays bound to the same group; a new one is bound
// if exactly one group bears it, and otherwise as soon as that becomes true. It
// returns what is kept now and the revision to wait for. Errors: ErrInvalid
// (which says what), ErrNotFound for an organization that is not alive, or the
// store's.
func (d *Directory) PutMappings(ctx context.Context, org string, m []Mapping, by string) (Mappings, uint64, error) {
	return d.putMappings(ctx, org, nil, m, by)
}

// ReplaceMappings is PutMappings for whoever decided on m by what was there
// before: it fails with ErrChanged if that is not there any more. Without it, an
// IT admin who saves a table that an operator has just taken a role from would
// give the role back.
func (d *Directory) ReplaceMappings(ctx context.Context, org string, before, m []Mapping, by string) (Mappings, uint64, error) {
	if before == nil {
		before = []Mapping{}
	}
	return d.putMappings(ctx, org, before, m, by)
}

// putMappings replaces whatever is there, or, where before is not nil, that alone.
func (d *Directory) putMappings(ctx context.Context, org string, before, m []Mapping, by string) (Mappings, uint64, error) {
	wanted, err := d.acceptable(org, m, by)
	if err != nil {
		return Mappings{}, 0, err
	}
	wanted.By, wanted.At = by, d.now().UnixMilli()
	var kept mappingRecord
	var rev uint64
	// One transaction for all but the longest lists of names: it may look up
	// only so many keys. The rest are bound in steps, and grant nothing before.
	for from := 0; from == 0 || from < len(wanted.Mappings); from += bindAtOnce {
		names := map[string]bool{}
		for _, e := range wanted.Mappings[from:min(from+bindAtOnce, len(wanted.Mappings))] {
			names[e.GroupName] = e.GroupName != ""
		}
		rev, err = d.store.Update(ctx, func(tx store.Tx) error {
			if from == 0 {
				if err := replaceMappings(tx, org, before, wanted); err != nil {
					return err
				}
			}
			kept, err = bind(tx, org, names)
			return err
		})
		if err != nil {
			return Mappings{}, 0, fmt.Errorf("put role mappings: %w", err)
		}
	}
	out, err := d.describe(ctx, org, kept)
	return out, rev, err
}

// sameMappings compares what is said, not what names are bound to.
func sameMappings(a []Mapping, b []storedMapping) bool {
	return slices.EqualFunc(a, b, func(x Mapping, y storedMapping) bool {
		return x.GroupID == y.GroupID && x.GroupName == y.GroupName && slices.Equal(x.Roles, y.Roles)
	})
}

// acceptable checks an operator's list and returns it as it will be kept.
func (d *Directory) acceptable(org string, m []Mapping, by string) (mappingRecord, error) {
	rec := mappingRecord{V: version, Mappings: []storedMapping{}}
	if !validID(org) || len(by) > maxGroupName {
		return rec, fmt.Errorf("%w: organization id or author", ErrInvalid)
	}
	if len(m) > maxMappings {
		return rec, fmt.Errorf("%w: more than %d role mappings", ErrInvalid, maxMappings)
	}
	seen := map[[2]string]bool{}
	size := 0
	for i, e := range m {
		key := [2]string{e.GroupID, e.GroupName}
		switch {
		case (e.GroupID == "") == (e.GroupName == ""):
			return rec, fmt.Errorf("%w: mapping %d: exactly one of group_id and group_name", ErrInvalid, i)
		case e.GroupID != "" && !validID(e.GroupID), len(e.GroupName) > maxGroupName:
			return rec, fmt.Errorf("%w: mapping %d: group_id or group_name", ErrInvalid, i)
		case seen[key]:
			return rec, fmt.Errorf("%w: mapping %d: its group is listed twice", ErrInvalid, i)
		case len(e.Roles) == 0 || len(e.Roles) > maxRoles:
			return rec, fmt.Errorf("%w: mapping %d: 1 to %d roles", ErrInvalid, i, maxRoles)
		}
		seen[key] = true
		for _, role := range e.Roles {
			if !validRole(role) {
				return rec, fmt.Errorf("%w: mapping %d: a role is 1 to 64 of a-z 0-9 _ . : - and begins with a letter or digit", ErrInvalid, i)
			}
			if !mayHold(d.operators, org, role) {
				return rec, fmt.Errorf("%w: mapping %d: only the operators' organization may hold %s* roles", ErrInvalid, i, rolesReserved)
			}
			size += len(role) + 4
		}
		size += len(e.GroupName) + len(e.GroupID)
		roles := slices.Compact(slices.Sorted(slices.Values(e.Roles)))
		rec.Mappings = append(rec.Mappings, storedMapping{Mapping: Mapping{GroupID: e.GroupID, GroupName: e.GroupName, Roles: roles}})
	}
	if size > store.MaxValue/4 {
		return rec, fmt.Errorf("%w: the role mappings are too large together", ErrInvalid)
	}
	return rec, nil
}

// validRole: a slug that can stand in a comma-separated header.
func validRole(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || c != '_' && c != '.' && c != ':' && c != '-') {
			return false
		}
	}
	return true
}

// replaceMappings writes the list, with the bindings that its names had.
func replaceMappings(tx store.Tx, org string, before []Mapping, wanted mappingRecord) error {
	if o, err := get[organizationRecord](tx, organizationKey(org)); err != nil {
		return err
	} else if !o.alive() {
		return fmt.Errorf("%w: organization", ErrNotFound)
	}
	old, err := getMappings(tx, org)
	if err != nil {
		return err
	}
	if before != nil && !sameMappings(before, old.Mappings) {
		return fmt.Errorf("%w: the role mappings", ErrChanged)
	}
	bound := map[string]string{}
	for _, e := range old.Mappings {
		bound[e.GroupName] = e.BoundTo
	}
	wanted.Mappings = slices.Clone(wanted.Mappings)
	for i := range wanted.Mappings {
		if e := &wanted.Mappings[i]; e.GroupName != "" {
			e.BoundTo = bound[e.GroupName]
		}
	}
	return put(tx, mappingKey(org), wanted)
}

// describe says what each kept mapping is worth now.
func (d *Directory) describe(ctx context.Context, org string, rec mappingRecord) (Mappings, error) {
	g := reader{ctx, d.store}
	out, err := rec.describe(
		func(id string) (bool, error) {
			r, err := get[groupRecord](g, groupKey(id))
			if err != nil || !r.alive() || r.OrganizationID != org {
				return false, err
			}
			dir, err := get[linkedRecord](g, directoryKey(r.DirectoryID))
			return dir.alive() && dir.OrganizationID == org, err
		},
		func(name string) (bool, error) {
			found, many, err := bearers(g, org, name)
			return many || len(found) > 1, err
		})
	if err != nil {
		return out, err
	}
	source, err := get[sourceRecord](g, sourceKey(org))
	if out.RoleSource = (RoleSource{Source: RolesFromMappings}); source.known() {
		out.RoleSource = RoleSource{source.Source, source.By, instant(source.At)}
	}
	return out, err
}

func (r *mappingRecord) describe(exists, several func(string) (bool, error)) (Mappings, error) {
	out := Mappings{Mappings: []BoundMapping{}}
	if !r.known() {
		return out, nil
	}
	out.UpdatedBy, out.UpdatedAt = r.By, time.UnixMilli(r.At).UTC()
	for i := range r.Mappings {
		e := &r.Mappings[i]
		b := BoundMapping{Mapping: e.Mapping, BoundTo: e.BoundTo, Status: StatusDangling}
		b.Roles = slices.Clone(e.Roles)
		var yes bool
		var err error
		if id := e.group(); id != "" {
			if yes, err = exists(id); yes {
				b.Status = StatusBound
			}
		} else if yes, err = several(e.GroupName); yes {
			b.Status = StatusAmbiguous
		}
		if err != nil {
			return out, err
		}
		out.Mappings = append(out.Mappings, b)
	}
	return out, nil
}

// reader makes a getter of a store, for reading outside a transaction.
type reader struct {
	ctx context.Context // lives for one call
	st  store.Store
}

func (r reader) Get(key string) ([]byte, error) {
	e, err := r.st.Get(r.ctx, key)
	return e.Value, err
}
