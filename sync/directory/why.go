package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How a fact came.
const (
	SourceWebhook   = "webhook"
	SourceEvents    = "events"    // the Events API
	SourceReconcile = "reconcile" // a reading of the REST API
)

// whyLimit bounds the reads behind an answer of View.Why.
const whyLimit = 5 * time.Second

// Why explains a directory user's roles.
type Why struct {
	User   User       `json:"user"`
	Source string     `json:"source"` // RolesFromMappings or RolesFromWorkOS
	Paused bool       `json:"paused"` // then nothing is granted
	Roles  []RoleWhy  `json:"roles"`  // those in force, by role and group
	Groups []GroupWhy `json:"groups"` // every group of the user, mapped or not
}

// RoleWhy is one reason for one role: a group's mapping, or, where roles are
// WorkOS's, the user's own record (then Group is empty).
type RoleWhy struct {
	Role     string    `json:"role"`
	Group    *GroupWhy `json:"group,omitempty"`
	MappedBy string    `json:"mapped_by,omitempty"`
	MappedAt time.Time `json:"mapped_at,omitzero"`
	ByName   string    `json:"by_name,omitempty"` // the name that the mapping was bound by
	Fact
}

// GroupWhy is a membership and how it is known.
type GroupWhy struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Fact
}

// Fact says since when something is known, from which event, and how it came.
// EventID is empty for what a reading saw; Time is then its watermark.
type Fact struct {
	EventID string    `json:"event_id,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	Source  string    `json:"fact_source,omitempty"`
}

// Why explains the roles that a directory user of an organization has now. user
// is its id, or an e-mail that one user of it bears. It reads the memberships'
// registers from the store; if those cannot be read, their Facts are empty.
func (v *View) Why(org, user string) (Why, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), whyLimit)
	defer cancel()
	w, ok, _ := v.Explain(ctx, org, user)
	return w, ok
}

// Explain is Why, with the caller's context and the store's error.
func (v *View) Explain(ctx context.Context, org, user string) (w Why, ok bool, err error) {
	o, n := v.findUser(org, user)
	if n == nil {
		return Why{}, false, nil
	}
	u, ok := v.UserByID(n.id)
	if !ok {
		return Why{}, false, nil
	}
	w = Why{User: u, Source: v.RoleSource(org).Source, Paused: v.paused(u.DirectoryID), Roles: []RoleWhy{}, Groups: []GroupWhy{}}
	for _, id := range u.Groups {
		g := GroupWhy{ID: id}
		if rec, ok := v.groups.Get([]byte(id)); ok {
			g.Name = rec.Name
		}
		r, problem := get[edgeRecord](reader{ctx, v.store}, edgeKey(n.id, id))
		if problem != nil {
			err = fmt.Errorf("explain roles: %w", problem)
		} else {
			g.Fact = r.fact()
		}
		w.Groups = append(w.Groups, g)
	}
	for _, role := range v.rolesOf(o, n.rec, u.Groups) {
		w.Roles = append(w.Roles, v.reasons(o, n.rec, role, w.Groups)...)
	}
	return w, true, err
}

// reasons are all that give a user one role.
func (v *View) reasons(o *organizationNode, rec *userRecord, role string, groups []GroupWhy) []RoleWhy {
	if o.sourced(RolesFromWorkOS) {
		return []RoleWhy{{Role: role, Fact: recordFact(rec.Stamp)}}
	}
	var out []RoleWhy
	for i := range groups {
		for _, m := range o.mappings.rec.Mappings {
			if m.group() == groups[i].ID && slices.Contains(m.Roles, role) {
				out = append(out, RoleWhy{Role: role, Group: &groups[i], MappedBy: o.mappings.rec.By,
					MappedAt: instant(o.mappings.rec.At), ByName: m.GroupName, Fact: groups[i].Fact})
			}
		}
	}
	return out
}

func (r edgeRecord) fact() Fact {
	f := recordFact(r.Stamp)
	if r.Source != "" {
		f.Source = r.Source
	}
	return f
}

func recordFact(s stamp) Fact {
	f := Fact{EventID: s.ID, Time: instant(s.At)}
	if s.At != 0 && s.ID == "" {
		f.Source = SourceReconcile
	}
	return f
}

// findUser is a live user of an organization by id or by e-mail.
func (v *View) findUser(org, user string) (*organizationNode, *userNode) {
	o, ok := v.organizations.Get([]byte(org))
	if !ok || !o.alive() {
		return nil, nil
	}
	if n, ok := v.users.Get([]byte(user)); ok && n.rec != nil && n.rec.alive() && n.rec.OrganizationID == org {
		return o, n
	}
	var found *userNode
	for _, id := range v.identity(org, kindEmail, strings.ToLower(user)) {
		n, _ := v.users.Get([]byte(id))
		if n == nil || n.rec == nil || !n.rec.alive() || !v.holds(n.rec.DirectoryID, org) {
			continue
		}
		if found != nil {
			return nil, nil
		}
		found = n
	}
	return o, found
}
