package directory

import (
	"context"
	"errors"
	"fmt"

	"battery.app/gate/store"
)

// Organization is a customer. Slug is ours: it names the organization in its
// apps' hosts, is given once by an operator and never to anyone else. Domains
// are what the customer claims; they prove nothing.
type Organization struct {
	ID      string   `json:"id"`
	Slug    string   `json:"slug"`
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
}

// PutOrganization makes an organization known, claims its slug and sets its
// name and domains; later events of WorkOS may change those two. An empty slug
// keeps the one it has; ChangeOrganization changes it. Errors: ErrInvalid, ErrSlugTaken, ErrSlugFixed,
// ErrNotFound if the organization was deleted, or the store's.
func (d *Directory) PutOrganization(ctx context.Context, o Organization) (uint64, error) {
	switch {
	case !validID(o.ID):
		return 0, fmt.Errorf("%w: organization id", ErrInvalid)
	case o.Slug != "" && !validSlug(o.Slug):
		return 0, fmt.Errorf("%w: slug: lower-case letters, digits and inner hyphens, at most 63", ErrInvalid)
	case tooLong(o.Name) || tooLong(o.Domains...) || len(o.Domains) > maxDomains:
		return 0, fmt.Errorf("%w: name or domains are too long", ErrInvalid)
	}
	now := d.now().UnixMilli()
	rev, err := d.store.Update(ctx, func(tx store.Tx) error { return putOrganization(tx, o, now) })
	if err != nil {
		return 0, fmt.Errorf("put organization: %w", err)
	}
	return rev, nil
}

func putOrganization(tx store.Tx, o Organization, now int64) error {
	r, err := get[organizationRecord](tx, organizationKey(o.ID))
	if err != nil {
		return err
	}
	switch {
	case r.deleted():
		return fmt.Errorf("%w: the organization was deleted", ErrNotFound)
	case o.Slug == "" && r.Slug == "":
		return fmt.Errorf("%w: the organization needs a slug", ErrInvalid)
	case o.Slug != "" && r.Slug != "" && o.Slug != r.Slug:
		return ErrSlugFixed
	}
	if r.Slug == "" {
		if err := claimSlug(tx, o.Slug, o.ID); err != nil {
			return err
		}
		r.Slug = o.Slug
	}
	r.told(o.Name, o.Domains, now)
	return put(tx, organizationKey(o.ID), r)
}

// claimSlug gives slug to an organization for good: the claim outlives it, so
// that no later customer inherits its hosts, cookies and links.
func claimSlug(tx store.Tx, slug, organization string) error {
	r, err := get[slugRecord](tx, slugKey(slug))
	switch {
	case err != nil:
		return err
	case r.known() && r.OrganizationID != organization:
		return ErrSlugTaken
	case r.known():
		return nil
	}
	return put(tx, slugKey(slug), slugRecord{V: version, OrganizationID: organization})
}

// validSlug: one DNS label (RFC 1123), lower case.
func validSlug(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// SlugFree reports whether no organization has or ever had a slug.
func (d *Directory) SlugFree(ctx context.Context, slug string) (bool, error) {
	if !validSlug(slug) {
		return false, nil
	}
	_, err := d.store.Get(ctx, slugKey(slug))
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up slug: %w", err)
	}
	return false, nil
}
