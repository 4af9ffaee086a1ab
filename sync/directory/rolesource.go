package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"battery.app/gate/store"
)

// An organization's roles come from one place. Two at once could not be
// explained, and taking a role away in one would not take it away.
const (
	// RolesFromMappings: the organization's role mappings, group by group.
	RolesFromMappings = "mappings"
	// RolesFromWorkOS: the role slugs that WorkOS assigns to directory users,
	// those that could be roles here. Slugs that begin with "battery:" never
	// count: whoever configures WorkOS must not become operator of the gate.
	RolesFromWorkOS = "workos"
)

type sourceRecord struct {
	V      int    `json:"v"`
	Source string `json:"source"`
	By     string `json:"by,omitempty"`
	At     int64  `json:"at"`
}

func (r sourceRecord) known() bool { return r.V == version }

// RoleSource is where an organization's roles come from, and who chose that.
type RoleSource struct {
	Source string    `json:"source"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// sourceNode is an organization's role source in a View; nil is RolesFromMappings.
type sourceNode struct {
	rec     sourceRecord
	version uint64
}

// PutRoleSource chooses where an organization's roles come from; by says who
// did. Errors: ErrInvalid, ErrNotFound for an organization that is not alive, or
// the store's.
func (d *Directory) PutRoleSource(ctx context.Context, org, source, by string) (uint64, error) {
	if !validID(org) || len(by) > maxGroupName {
		return 0, fmt.Errorf("%w: organization id or author", ErrInvalid)
	}
	if source != RolesFromMappings && source != RolesFromWorkOS {
		return 0, fmt.Errorf("%w: a role source is %q or %q", ErrInvalid, RolesFromMappings, RolesFromWorkOS)
	}
	rec := sourceRecord{V: version, Source: source, By: by, At: d.now().UnixMilli()}
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		if o, err := get[organizationRecord](tx, organizationKey(org)); err != nil {
			return err
		} else if !o.alive() {
			return fmt.Errorf("%w: organization", ErrNotFound)
		}
		return put(tx, sourceKey(org), rec)
	})
	if err != nil {
		return 0, fmt.Errorf("put role source: %w", err)
	}
	return rev, nil
}

// RoleSource is where an organization's roles come from.
func (v *View) RoleSource(org string) RoleSource {
	if o, ok := v.organizations.Get([]byte(org)); ok && o.source != nil {
		return RoleSource{o.source.rec.Source, o.source.rec.By, instant(o.source.rec.At)}
	}
	return RoleSource{Source: RolesFromMappings}
}

// sourced reports whether an organization's roles come from a source. A source
// that cannot be read is neither, and grants nothing.
func (o *organizationNode) sourced(source string) bool {
	if o.source == nil {
		return source == RolesFromMappings
	}
	return o.source.rec.Source == source
}

// workosRoles are a user's roles by WorkOS's word that count.
func (v *View) workosRoles(org string, slugs []string) []string {
	var out []string
	for _, s := range slugs {
		if validRole(s) && !strings.HasPrefix(s, rolesReserved) && !v.roleGone(org, s) && !v.roleGone(everywhere, s) {
			out = append(out, s)
		}
	}
	return out
}

func (v *View) roleGone(org, slug string) bool {
	_, gone := v.rolesGone.Get([]byte(org + "/" + slug))
	return gone
}

// rolesOf are a user's roles, sorted: of what is active, in an organization's
// one source, and of a directory that is not paused.
func (v *View) rolesOf(o *organizationNode, rec *userRecord, groups []string) []string {
	out := []string{}
	switch {
	case rec.State != active || v.paused(rec.DirectoryID):
		return out
	case o.sourced(RolesFromWorkOS):
		out = append(out, v.workosRoles(o.id, rec.Roles)...)
	case o.sourced(RolesFromMappings) && o.mappings != nil:
		for _, g := range groups {
			out = append(out, o.mappings.roles[g]...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
