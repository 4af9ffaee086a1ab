package directory

import (
	"errors"
	"slices"

	"battery.app/gate/store"
)

// A role mapping may name a group before WorkOS told us of it, and a
// transaction cannot search. So groups are indexed by name, in the transaction
// that changes them, and a name is bound in the transaction that makes its group
// the only one that bears it.

// maxBearers bounds an index entry. A name that so many groups bear at once is
// not told apart any more: its mapping must name the group's id.
const maxBearers = 48

type nameRecord struct {
	V      int      `json:"v"`
	Groups []bearer `json:"groups,omitempty"`
	Many   bool     `json:"many,omitempty"` // more than maxBearers: some are not listed
}

func (r nameRecord) known() bool { return r.V == version }

type bearer struct {
	ID          string `json:"id"`
	DirectoryID string `json:"directory_id"`
}

// getName reads an index entry. One that cannot be read stands for more groups
// than are listed: it binds nothing, and it must not stop the group's own events.
func getName(g getter, key string) (nameRecord, error) {
	r, err := get[nameRecord](g, key)
	if errors.Is(err, ErrCorrupt) {
		return nameRecord{V: version, Many: true}, nil
	}
	return r, err
}

// bearers are the groups of an organization that bear a name and are not gone,
// by themselves or with their directory. A directory that is only deactivated
// keeps its groups: binding its name to another group meanwhile would hand its
// roles to strangers.
func bearers(g getter, org, name string) (found []bearer, many bool, err error) {
	r, err := getName(g, groupNameKey(org, name))
	if err != nil {
		return nil, false, err
	}
	for _, b := range r.Groups {
		dir, err := get[linkedRecord](g, directoryKey(b.DirectoryID))
		if err != nil {
			return nil, false, err
		}
		if _, gone := dir.gone(); !gone && (dir.OrganizationID == "" || dir.OrganizationID == org) {
			found = append(found, b)
		}
	}
	return found, r.Many, nil
}

// renamed keeps the index when a group's register changes, and binds the
// mappings that waited for it.
func (w *writer) renamed(id string, before, after *groupRecord) error {
	var old, name string
	if before.alive() {
		old = before.Name
	}
	if after.alive() {
		name = after.Name
	}
	if old == name {
		return nil
	}
	org := after.OrganizationID
	if old != "" {
		if err := w.unname(org, old, id); err != nil {
			return err
		}
	}
	if name != "" {
		if err := w.name(org, name, bearer{id, after.DirectoryID}); err != nil {
			return err
		}
	}
	_, err := bind(w.tx, org, map[string]bool{old: old != "", name: name != ""})
	return err
}

func (w *writer) name(org, name string, b bearer) error {
	key := groupNameKey(org, name)
	r, err := getName(w.tx, key)
	if err != nil {
		return err
	}
	if len(r.Groups) >= maxBearers {
		if r.Groups, _, err = bearers(w.tx, org, name); err != nil {
			return err
		}
	}
	r.V = version
	if len(r.Groups) >= maxBearers {
		r.Many = true
	} else if !slices.Contains(r.Groups, b) {
		r.Groups = append(r.Groups, b)
	}
	return put(w.tx, key, r)
}

func (w *writer) unname(org, name, id string) error {
	key := groupNameKey(org, name)
	r, err := getName(w.tx, key)
	if err != nil {
		return err
	}
	r.Groups = slices.DeleteFunc(r.Groups, func(b bearer) bool { return b.ID == id })
	if len(r.Groups) == 0 && !r.Many {
		return w.tx.Delete(key)
	}
	return put(w.tx, key, r)
}

// bindAll binds what a directory's deletion made unique, as many names as one
// transaction can look up. A name left over is bound by the next event of its
// group, or when the mappings are put again: it must not stop the deletion.
func (w *writer) bindAll(org string) error {
	if org == "" {
		return nil
	}
	rec, err := getMappings(w.tx, org)
	if err != nil {
		return err
	}
	names := 0
	for _, e := range rec.Mappings {
		if e.group() != "" || names == bindAtOnce {
			continue
		}
		names++
		_, err := bind(w.tx, org, map[string]bool{e.GroupName: true})
		if errors.Is(err, errFull) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bind gives each of names that an organization maps, and that is not bound,
// the one group bearing it. It returns the mappings as they are then.
func bind(tx store.Tx, org string, names map[string]bool) (mappingRecord, error) {
	rec, err := getMappings(tx, org)
	if err != nil || !rec.known() {
		return rec, err
	}
	changed := false
	for i := range rec.Mappings {
		e := &rec.Mappings[i]
		if e.group() != "" || !names[e.GroupName] {
			continue
		}
		found, many, err := bearers(tx, org, e.GroupName)
		if err != nil {
			return rec, err
		}
		if len(found) == 1 && !many {
			e.BoundTo, changed = found[0].ID, true
		}
	}
	if !changed {
		return rec, nil
	}
	return rec, put(tx, mappingKey(org), rec)
}

// getMappings reads an organization's mappings. Where they cannot be read there
// are none, until an operator puts them again.
func getMappings(g getter, org string) (mappingRecord, error) {
	rec, err := get[mappingRecord](g, mappingKey(org))
	if errors.Is(err, ErrCorrupt) {
		return mappingRecord{}, nil
	}
	return rec, err
}
