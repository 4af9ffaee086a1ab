package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"battery.app/gate/store"
)

// OrganizationChange is what an operator changes of an organization.
type OrganizationChange struct {
	// Slug is the new one; empty keeps what there is. It is claimed for good, and
	// so stays the old one: nobody else ever gets either.
	Slug string
	// Details are name and domains as WorkOS has them now; nil keeps both.
	Details *OrganizationDetails
}

// OrganizationDetails are the parts of an organization that are WorkOS's.
type OrganizationDetails struct {
	Name    string
	Domains []string // claimed; they prove nothing
}

// ChangeOrganization changes an organization that is known, in one step. Later
// events of WorkOS may change its details again. Nothing here looks at the hosts
// under the old slug: who calls this does. Errors: ErrInvalid, ErrSlugTaken,
// ErrNotFound if the organization is not alive, or the store's.
func (d *Directory) ChangeOrganization(ctx context.Context, id string, c OrganizationChange) (uint64, error) {
	switch {
	case !validID(id):
		return 0, fmt.Errorf("%w: organization id", ErrInvalid)
	case c.Slug != "" && !validSlug(c.Slug):
		return 0, fmt.Errorf("%w: slug: lower-case letters, digits and inner hyphens, at most 63", ErrInvalid)
	case c.Details != nil && (tooLong(c.Details.Name) || tooLong(c.Details.Domains...) || len(c.Details.Domains) > maxDomains):
		return 0, fmt.Errorf("%w: name or domains are too long", ErrInvalid)
	}
	now := d.now().UnixMilli()
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		r, err := get[organizationRecord](tx, organizationKey(id))
		switch {
		case err != nil:
			return err
		case !r.alive():
			return fmt.Errorf("%w: organization", ErrNotFound)
		}
		if c.Slug != "" && c.Slug != r.Slug {
			if err := claimSlug(tx, c.Slug, id); err != nil {
				return err
			}
			r.Slug = c.Slug
		}
		if c.Details != nil {
			r.told(c.Details.Name, c.Details.Domains, now)
		}
		return put(tx, organizationKey(id), r)
	})
	if err != nil {
		return 0, fmt.Errorf("change organization: %w", err)
	}
	return rev, nil
}

// told writes an operator's word: it counts even if the last event is dated a
// little ahead.
func (r *organizationRecord) told(name string, domains []string, now int64) {
	at := moment{stamp: stamp{At: max(now, r.Stamp.At+1)}, received: now}
	r.upsert(at, false, false, true)
	r.Name, r.Domains = name, nil
	for _, s := range domains {
		if s = strings.ToLower(s); s != "" && !slices.Contains(r.Domains, s) {
			r.Domains = append(r.Domains, s)
		}
	}
}

// RemoveOrganization deletes an organization as WorkOS's organization.deleted
// does, at once and for good: its sessions end, its people and roles count for
// nothing, its slugs stay taken. WorkOS's own event, when it comes, changes
// nothing of that. An organization that is not known, or is deleted already, is
// deleted all the same; repeating it does nothing. Errors: ErrInvalid, or the
// store's.
func (d *Directory) RemoveOrganization(ctx context.Context, id string) (uint64, error) {
	if !validID(id) {
		return 0, fmt.Errorf("%w: organization id", ErrInvalid)
	}
	now := d.now().UnixMilli()
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		key := organizationKey(id)
		r, err := get[organizationRecord](tx, key)
		if err != nil || r.deleted() {
			return err
		}
		// Later than everything known, so that no delete which readings took back
		// and no event dated ahead stands against an operator's word.
		at := moment{stamp: stamp{At: max(now, r.Stamp.At+1), ID: removedHere}, received: now}
		if undone := r.undone(); undone != nil {
			at.At = max(at.At, undone.At+1)
		}
		if _, o := r.bury(at); !o.writes() {
			return nil
		}
		return put(tx, key, r)
	})
	if err != nil {
		return 0, fmt.Errorf("remove organization: %w", err)
	}
	return rev, nil
}

// removedHere stands for the event's id in a tombstone that an operator made.
const removedHere = "removed-here"

func (r *organizationRecord) undone() *stamp {
	if r.Read == nil {
		return nil
	}
	return r.Read.Undone
}

// SlugOwner is the organization that a slug was ever given to, alive or not, and
// whether it is the one that this organization bears now. A slug that is not
// current belongs to nobody else: no host under it may be another's.
func (v *View) SlugOwner(slug string) (organization string, current, ok bool) {
	id, ok := v.slugs.Get([]byte(slug))
	if !ok {
		return "", false, false
	}
	o, known := v.organizations.Get([]byte(id))
	return id, known && o.alive() && o.rec.Slug == slug, true
}

// OrganizationGone reports whether an organization was deleted, or is absent
// from WorkOS's list. One that was never heard of is not gone.
func (v *View) OrganizationGone(id string) bool {
	o, _ := v.organizations.Get([]byte(id))
	return o.gone()
}
