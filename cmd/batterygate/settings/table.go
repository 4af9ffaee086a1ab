package settings

import (
	"context"
	"slices"

	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sync/directory"
)

// grantable are the roles, sorted, that a visitor may give and take away. It is
// asked once for each candidate.
func (p *Pages) grantable(ctx context.Context, v *visitor, mapped directory.Mappings) []string {
	candidates := slices.Clone(p.Roles(v.org.ID))
	for _, m := range mapped.Mappings {
		candidates = append(candidates, m.Roles...)
	}
	out := []string{}
	for _, role := range unique(candidates) {
		if p.mayGrant(ctx, v, role) {
			out = append(out, role)
		}
	}
	return out
}

// change is one mapping that a form makes different.
type change struct {
	Group   string   `json:"group"` // "id:…" or "name:…"
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// plan is what a form comes to.
type plan struct {
	next    []directory.Mapping
	changes []change
	faults  []fault
}

// fault is something to mend in the form, and where.
type fault struct {
	Field string // the id of the field
	Text  string
}

func (p *plan) differ(key string, before, after []string) {
	c := change{Group: key}
	for _, r := range after {
		if !slices.Contains(before, r) {
			c.Added = append(c.Added, r)
		}
	}
	for _, r := range before {
		if !slices.Contains(after, r) {
			c.Removed = append(c.Removed, r)
		}
	}
	if len(c.Added)+len(c.Removed) > 0 {
		p.changes = append(p.changes, c)
	}
}

// apply makes a plan of a form: the table in force, with what the form's rows
// say. Roles without a box stay; a role that a row names without having had a
// box for it is a change like any other, and the policy's to allow. It returns
// errMalformed for a row that the table does not have.
func apply(v *visitor, t typed, now directory.Mappings, grantable []string) (plan, error) {
	var p plan
	left := len(t.rows)
	for _, m := range now.Mappings {
		key, field := keyOf(m.Mapping), fieldOf(m.Mapping)
		row, ok := t.rows[field]
		if !ok { // on another page of the table
			p.next = append(p.next, m.Mapping)
			continue
		}
		left--
		if row.remove {
			p.differ(key, m.Roles, nil)
			continue
		}
		roles := slices.Clone(row.roles)
		for _, r := range m.Roles {
			if !slices.Contains(grantable, r) {
				roles = append(roles, r)
			}
		}
		if roles = unique(roles); len(roles) == 0 {
			p.faults = append(p.faults, fault{field, "Choose at least one role for " + words.Quoted(nameOf(v, m)) + ", or tick “Remove” in its row."})
			roles = m.Roles
		}
		p.differ(key, m.Roles, roles)
		p.next = append(p.next, directory.Mapping{GroupID: m.GroupID, GroupName: m.GroupName, Roles: roles})
	}
	if left != 0 {
		return p, errMalformed
	}
	p.add(v, t, now)
	return p, nil
}

// add adds the new group's row.
func (p *plan) add(v *visitor, t typed, now directory.Mappings) {
	if t.newGroup == "" && len(t.newRoles) == 0 {
		return
	}
	g, ok := v.view.GroupByID(t.newGroup)
	switch {
	case t.newGroup == "":
		p.faults = append(p.faults, fault{"new-group", "Choose the group that gets the roles you ticked under “Add a group”, or untick them."})
	case !ok || g.OrganizationID != v.org.ID:
		p.faults = append(p.faults, fault{"new-group", "The group you chose is not in your directory any more. Choose another."})
	case mapped(now)[g.ID]:
		p.faults = append(p.faults, fault{"new-group", "The group " + words.Quoted(g.Name) + " is in the table already. Change its row there."})
	case len(t.newRoles) == 0:
		p.faults = append(p.faults, fault{"new-roles", "Choose at least one role for the group " + words.Quoted(g.Name) + "."})
	default:
		m := directory.Mapping{GroupID: g.ID, Roles: t.newRoles}
		p.differ(keyOf(m), nil, m.Roles)
		p.next = append(p.next, m)
	}
}

// mapped are the groups that stand in the table, by their id or by a name that
// is bound to them.
func mapped(m directory.Mappings) map[string]bool {
	out := map[string]bool{}
	for _, e := range m.Mappings {
		out[e.GroupID], out[e.BoundTo] = true, true
	}
	delete(out, "")
	return out
}

// nameOf is what people call a mapping's group.
func nameOf(v *visitor, m directory.BoundMapping) string {
	if m.GroupID == "" {
		return m.GroupName
	}
	if g, ok := v.view.GroupByID(m.GroupID); ok && g.OrganizationID == v.org.ID {
		return g.Name
	}
	return m.GroupID
}
