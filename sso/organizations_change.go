package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/sync/workosapi"
)

// OrganizationPatch is what an operator changes: what is nil stays as it is.
// Domains is the whole list; an empty one removes all.
type OrganizationPatch struct {
	Name    *string   `json:"name"`
	Slug    *string   `json:"slug"`
	Domains *[]string `json:"domains"`
}

// OrganizationChange is what a change comes to where organizations are kept.
type OrganizationChange struct {
	Slug    string               // empty: as it is
	Details *OrganizationDetails // nil: as they are
}

// OrganizationDetails are the parts of an organization that are WorkOS's.
type OrganizationDetails struct {
	Name    string
	Domains []string
}

// The states of an OrganizationDomain.
const (
	DomainVerified = "verified" // the customer proved it to WorkOS
	DomainPending  = "pending"  // not yet
	DomainFailed   = "failed"   // not in time
)

// OrganizationDomain is a domain that an organization claims, as WorkOS knows it
// now. No decision rests on it.
type OrganizationDomain struct {
	ID     string `json:"id"`
	Domain string `json:"domain"`
	State  string `json:"state"` // DomainVerified, DomainPending or DomainFailed
}

// settling bounds what is done here after WorkOS has agreed. It does not end with
// the request: a client that hangs up must not leave a half of the change.
const settling = 15 * time.Second

// Update changes an organization. Name and domains are WorkOS's, which is asked
// first; the slug is ours alone. A new slug is claimed for good and the old one
// stays this organization's for good, so that neither ever names another
// customer; a former one of its own may be taken up again.
//
// The slug is refused while apps have hosts under the old one (ErrSlugInUse, with
// their names): a host that moves ends sessions and breaks links and bookmarks,
// and that is for an operator to do knowingly, app by app.
//
// If WorkOS does not agree, nothing changes here. If WorkOS agreed and the change
// could not be kept here, that is ErrHalfUpdated. In either case the same call
// again puts it right. Other errors: ErrNoOrganization, ErrInvalidOrganization,
// also for what WorkOS refuses, ErrSlugTaken, and workosapi's.
func (o *Organizations) Update(ctx context.Context, id string, p OrganizationPatch) (Organization, error) {
	now, err := o.Get(id)
	if err != nil {
		return Organization{}, fmt.Errorf("update organization: %w", err)
	}
	if err := p.tidy(); err != nil {
		return Organization{}, fmt.Errorf("update organization: %w", err)
	}
	change := OrganizationChange{}
	if p.Slug != nil && *p.Slug != now.Slug {
		if err := o.maySlug(now, *p.Slug); err != nil {
			return Organization{}, fmt.Errorf("update organization: %w", err)
		}
		change.Slug = *p.Slug
	}
	if p.Name != nil || p.Domains != nil {
		if change.Details, err = o.tellWorkOS(ctx, id, p); err != nil {
			return Organization{}, fmt.Errorf("update organization: %w", err)
		}
	}
	if change == (OrganizationChange{}) {
		return now, nil
	}
	return o.keepChange(ctx, id, change)
}

// keepChange is the half of Update that is done here.
func (o *Organizations) keepChange(ctx context.Context, id string, change OrganizationChange) (Organization, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settling)
	defer cancel()
	switch err := o.Records.Change(ctx, id, change); {
	case err == nil:
	case change.Details == nil:
		return Organization{}, fmt.Errorf("update organization: %w", err)
	case errors.Is(err, ErrSlugTaken):
		return Organization{}, fmt.Errorf("%w: send it again with another slug; name and domains follow by themselves: %w", ErrHalfUpdated, err)
	default:
		return Organization{}, fmt.Errorf("%w: send it again; name and domains also follow by themselves, a slug does not: %w", ErrHalfUpdated, err)
	}
	out, err := o.Get(id)
	if err != nil {
		return Organization{}, fmt.Errorf("update organization: it was deleted meanwhile: %w", err)
	}
	return out, nil
}

// tidy makes a patch canonical and checks it. It never changes what it was given.
func (p *OrganizationPatch) tidy() error {
	if p.Name != nil {
		name := strings.TrimSpace(*p.Name)
		if p.Name = &name; checkName(name) != nil {
			return checkName(name)
		}
	}
	if p.Slug != nil {
		if err := checkSlug(*p.Slug); err != nil {
			return err
		}
	}
	if p.Domains != nil {
		if err := checkDomains(*p.Domains); err != nil {
			return err
		}
		list := slices.Compact(slices.Sorted(slices.Values(*p.Domains)))
		p.Domains = &list
	}
	return nil
}

// maySlug looks before WorkOS is asked, because what WorkOS took is not taken
// back. Where the slug is kept decides again, for good.
func (o *Organizations) maySlug(now Organization, slug string) error {
	if owner, ok := o.Records.SlugOwner(slug); ok && owner != now.ID {
		return fmt.Errorf("%w: %s", ErrSlugTaken, slug)
	}
	if now.Slug == "" {
		return nil
	}
	if apps := o.Records.AppsUnder(now.ID, now.Slug); len(apps) > 0 {
		return fmt.Errorf("%w: %s have hosts under %s; give them other hosts, or delete them, before the slug changes",
			ErrSlugInUse, strings.Join(apps, ", "), now.Slug)
	}
	return nil
}

// tellWorkOS changes the organization there and returns what it is then.
func (o *Organizations) tellWorkOS(ctx context.Context, id string, p OrganizationPatch) (*OrganizationDetails, error) {
	got, err := o.WorkOS.UpdateOrganization(ctx, id, workosapi.OrganizationPatch{Name: p.Name, Domains: p.Domains})
	switch {
	case errors.Is(err, workosapi.ErrNotFound):
		return nil, fmt.Errorf("%w: WorkOS has it no more; delete it here, or wait until that is known: %w", ErrNoOrganization, err)
	case err != nil:
		return nil, fmt.Errorf("WorkOS did not confirm the change, so nothing was changed here; send it again: %w", refused(err))
	}
	return &OrganizationDetails{Name: got.Name, Domains: got.Domains}, nil
}

// refused marks what WorkOS understood and will not do as the operator's to mend.
func refused(err error) error {
	var api *workosapi.APIError
	if errors.As(err, &api) {
		switch api.Status {
		case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
			return fmt.Errorf("%w: WorkOS refuses it: %w", ErrInvalidOrganization, err)
		}
	}
	return err
}

// Delete deletes an organization at WorkOS and then here, where it is in force
// when Delete returns: its sessions end at the next request, nobody of it signs
// in again, and its slugs stay taken. It is final. That WorkOS does not know it
// counts as deleted there.
//
// If WorkOS does not agree, nothing changes here. If it agreed and the deletion
// could not be kept here, that is ErrHalfDeleted: the same call again completes
// it, and so does WorkOS's own event. Other errors: ErrNoOrganization if neither
// side has it, ErrOperators, and workosapi's.
func (o *Organizations) Delete(ctx context.Context, id string) error {
	if id != "" && id == o.Operators {
		return fmt.Errorf("delete organization: %w: name another one in the configuration first, or nobody could administer this", ErrOperators)
	}
	_, known := o.Records.Organization(id)
	switch err := o.WorkOS.DeleteOrganization(ctx, id); {
	case err == nil:
	case errors.Is(err, workosapi.ErrNotFound) && known:
	case errors.Is(err, workosapi.ErrNotFound), errors.Is(err, workosapi.ErrInvalid):
		return fmt.Errorf("delete organization: %w: %w", ErrNoOrganization, err)
	default:
		return fmt.Errorf("delete organization: WorkOS did not confirm it, so nothing was deleted here; try again: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settling)
	defer cancel()
	if err := o.Records.Remove(ctx, id); err != nil {
		return fmt.Errorf("%w: delete it again, or it goes with WorkOS's event: %w", ErrHalfDeleted, err)
	}
	return nil
}

// Domains are the domains that an organization claims, as WorkOS has them now.
// Errors: ErrNoOrganization, and workosapi's.
func (o *Organizations) Domains(ctx context.Context, id string) ([]OrganizationDomain, error) {
	if _, err := o.Get(id); err != nil {
		return nil, fmt.Errorf("domains of organization: %w", err)
	}
	all, err := o.WorkOS.ListOrganizationDomains(ctx, id)
	if errors.Is(err, workosapi.ErrNotFound) {
		return nil, fmt.Errorf("domains of organization: %w: WorkOS has it no more: %w", ErrNoOrganization, err)
	}
	if err != nil {
		return nil, fmt.Errorf("domains of organization: %w", err)
	}
	out := make([]OrganizationDomain, 0, len(all))
	for _, d := range all {
		state := DomainPending // also what WorkOS calls unverified, or nothing
		switch {
		case d.Verified():
			state = DomainVerified
		case d.State == workosapi.DomainFailed:
			state = DomainFailed
		}
		out = append(out, OrganizationDomain{ID: d.ID, Domain: d.Domain, State: state})
	}
	return out, nil
}
