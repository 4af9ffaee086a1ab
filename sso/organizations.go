package sso

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"battery.app/gate/sync/workosapi"
)

var (
	// ErrInvalidOrganization: name, slug or domains are not usable; the text
	// says which.
	ErrInvalidOrganization = errors.New("organization is not valid")
	// ErrSlugTaken: another organization has the slug, or once had it.
	ErrSlugTaken = errors.New("slug is taken")
	// ErrHalfCreated: WorkOS has the organization, but it could not be claimed
	// here. The text holds its id.
	ErrHalfCreated = errors.New("organization exists at WorkOS but was not claimed here")
	// ErrNoOrganization: there is no organization of that id.
	ErrNoOrganization = errors.New("no such organization")
	// ErrSlugInUse: apps have hosts under the slug that is to be given up. The
	// text names them.
	ErrSlugInUse = errors.New("slug is in use")
	// ErrHalfUpdated: WorkOS took the change, but it is not in force here.
	ErrHalfUpdated = errors.New("organization was changed at WorkOS but not here")
	// ErrHalfDeleted: WorkOS deleted the organization, but it is still in force
	// here.
	ErrHalfDeleted = errors.New("organization was deleted at WorkOS but not here")
	// ErrOperators: the operators' own organization is not deleted through here.
	ErrOperators = errors.New("this is the operators' own organization")
)

// Organization is a customer. Slug is ours, chosen by an operator and never
// used again for another; the rest is WorkOS's.
type Organization struct {
	ID      string   `json:"id"`
	Slug    string   `json:"slug"`
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
}

// NewOrganization is what an operator gives to create one.
type NewOrganization struct {
	Name    string   `json:"name"`
	Slug    string   `json:"slug"`
	Domains []string `json:"domains"`
}

// OrganizationRecords is where organizations are kept.
type OrganizationRecords interface {
	Organizations() []Organization
	Organization(id string) (Organization, bool)
	// SlugFree reports whether no organization has or had the slug.
	SlugFree(ctx context.Context, slug string) (bool, error)
	// Put makes the organization known and claims its slug for good. It returns
	// when readers here see it; ErrSlugTaken if the slug is another's.
	Put(ctx context.Context, o Organization) error

	OrganizationChanger
}

// OrganizationChanger changes organizations where they are kept.
type OrganizationChanger interface {
	// SlugOwner is the organization that has or had a slug.
	SlugOwner(slug string) (organizationID string, ok bool)
	// AppsUnder names the apps of an organization that have hosts under a slug,
	// those of the config file too.
	AppsUnder(organizationID, slug string) []string
	// Change changes a known organization in one step. It returns when readers
	// here see it; ErrSlugTaken, ErrNoOrganization.
	Change(ctx context.Context, id string, c OrganizationChange) error
	// Remove does what WorkOS's organization.deleted does, for good. It returns
	// when decisions are made without the organization.
	Remove(ctx context.Context, id string) error
}

// WorkOSOrganizations is what WorkOS does with organizations.
type WorkOSOrganizations interface {
	CreateOrganization(ctx context.Context, n workosapi.NewOrganization) (workosapi.Organization, error)
	UpdateOrganization(ctx context.Context, id string, p workosapi.OrganizationPatch) (workosapi.Organization, error)
	DeleteOrganization(ctx context.Context, id string) error
	ListOrganizationDomains(ctx context.Context, id string) ([]workosapi.OrganizationDomain, error)
}

var _ WorkOSOrganizations = (*workosapi.Client)(nil)

// Organizations creates, changes and deletes customers, in WorkOS and here, and
// reads them.
type Organizations struct {
	WorkOS  WorkOSOrganizations
	Records OrganizationRecords
	// Operators is the organization of the operators, which Delete refuses. Empty:
	// there is none.
	Operators string
}

// List returns every organization.
func (o *Organizations) List() []Organization { return o.Records.Organizations() }

// Get returns one organization, or ErrNoOrganization.
func (o *Organizations) Get(id string) (Organization, error) {
	got, ok := o.Records.Organization(id)
	if !ok {
		return Organization{}, ErrNoOrganization
	}
	return got, nil
}

// ByDomain finds the one organization that claims an e-mail domain, for
// Finder.Domain. A domain that two claim is nobody's. It looks at all of them
// whatever it finds, so that how long it takes tells nothing.
func (o *Organizations) ByDomain(domain string) (organizationID string, ok bool) {
	claims := 0
	for _, each := range o.Records.Organizations() {
		if slices.ContainsFunc(each.Domains, func(d string) bool { return domain != "" && strings.EqualFold(d, domain) }) {
			organizationID = each.ID
			claims++
		}
	}
	if claims != 1 {
		return "", false
	}
	return organizationID, true
}

// Create makes an organization at WorkOS and claims its slug here. The slug is
// looked up first, because what WorkOS made is not taken back: if it is lost
// to someone else in between, the error (ErrHalfCreated) names what is left
// over. Other errors: ErrInvalidOrganization, also for what WorkOS refuses,
// ErrSlugTaken, and workosapi's.
func (o *Organizations) Create(ctx context.Context, n NewOrganization) (Organization, error) {
	n.Name = strings.TrimSpace(n.Name)
	if err := n.check(); err != nil {
		return Organization{}, err
	}
	free, err := o.Records.SlugFree(ctx, n.Slug)
	if err != nil {
		return Organization{}, fmt.Errorf("create organization: %w", err)
	}
	if !free {
		return Organization{}, fmt.Errorf("create organization: %w: %s", ErrSlugTaken, n.Slug)
	}
	made, err := o.WorkOS.CreateOrganization(ctx, workosapi.NewOrganization{Name: n.Name, Domains: n.Domains})
	if err != nil {
		return Organization{}, fmt.Errorf("create organization: %w", refused(err))
	}
	out := Organization{ID: made.ID, Slug: n.Slug, Name: n.Name, Domains: n.Domains}
	if out.Domains == nil {
		out.Domains = []string{}
	}
	if err := o.Records.Put(ctx, out); err != nil {
		return Organization{}, fmt.Errorf("%w: %s; choose another slug for it or delete it at WorkOS: %w", ErrHalfCreated, made.ID, err)
	}
	return out, nil
}

func (n NewOrganization) check() error {
	if err := checkName(n.Name); err != nil {
		return err
	}
	if err := checkSlug(n.Slug); err != nil {
		return err
	}
	return checkDomains(n.Domains)
}

func checkName(name string) error {
	if name == "" || len(name) > 200 {
		return fmt.Errorf("%w: the name must have 1 to 200 bytes", ErrInvalidOrganization)
	}
	return nil
}

func checkSlug(slug string) error {
	if !isLabel(slug) {
		return fmt.Errorf("%w: the slug %.80q must be a DNS label: 1 to 63 lower-case letters, digits and inner hyphens", ErrInvalidOrganization, slug)
	}
	return nil
}

func checkDomains(domains []string) error {
	if len(domains) > 50 {
		return fmt.Errorf("%w: at most 50 domains", ErrInvalidOrganization)
	}
	for _, d := range domains {
		if !isDomain(d) {
			return fmt.Errorf("%w: %.80q is not a domain name", ErrInvalidOrganization, d)
		}
	}
	return nil
}

// isLabel: one DNS label (RFC 1123 §2.1), lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func isDomain(s string) bool {
	labels := strings.Split(s, ".")
	if len(s) > 253 || len(labels) < 2 {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	for _, l := range labels {
		if !isLabel(l) {
			return false
		}
	}
	return true
}
