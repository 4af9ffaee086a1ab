package workosapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The states of a domain that an organization claims. WorkOS has two more,
// older ones: legacy_verified and unverified.
const (
	DomainVerified = "verified" // its owner proved it
	DomainPending  = "pending"  // the DNS record is not there yet
	DomainFailed   = "failed"   // it was not there in time
)

// OrganizationDomain is a domain that an organization claims. Who must prove it
// puts VerificationToken into a TXT record at VerificationPrefix.Domain.
type OrganizationDomain struct {
	ID                 string
	OrganizationID     string
	Domain             string
	State              string // DomainVerified, …; empty if WorkOS does not say
	VerificationPrefix string // with the token: public, not a secret
	VerificationToken  string
	CreatedAt          time.Time
	UpdatedAt          time.Time
}

// Verified reports whether WorkOS calls the domain proven.
func (d OrganizationDomain) Verified() bool {
	return d.State == DomainVerified || d.State == "legacy_verified"
}

// ListOrganizationDomains returns the domains that an organization claims. WorkOS
// has no list of its own for them: they come with the organization. ErrNotFound:
// there is no such organization.
func (c *Client) ListOrganizationDomains(ctx context.Context, organizationID string) ([]OrganizationDomain, error) {
	const op = "list organization domains"
	o, err := getOne[wireOrganization](ctx, c, op, "/organizations", prefixOrganization, organizationID)
	if err != nil {
		return nil, err
	}
	for i := range o.Claims {
		d := &o.Claims[i]
		if d.OrganizationID == "" {
			d.OrganizationID = organizationID
		}
		if checkID(prefixDomain, d.ID) != nil || d.Domain == "" || d.OrganizationID != organizationID {
			return nil, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errNotList)
		}
	}
	return o.Claims, nil
}

// GetOrganizationDomain returns one domain by its id, or ErrNotFound.
func (c *Client) GetOrganizationDomain(ctx context.Context, id string) (OrganizationDomain, error) {
	return getOne[wireDomain](ctx, c, "get organization domain", "/organization_domains", prefixDomain, id)
}

// CreateOrganizationDomain claims a domain for an organization; it begins as
// pending. It is not retried. An *APIError of status 409: an organization has
// the domain already.
func (c *Client) CreateOrganizationDomain(ctx context.Context, organizationID, domain string) (OrganizationDomain, error) {
	const op = "create organization domain"
	if err := checkID(prefixOrganization, organizationID); err != nil {
		return OrganizationDomain{}, fmt.Errorf("%s: %w", op, err)
	}
	if domain == "" {
		return OrganizationDomain{}, fmt.Errorf("%s: %w: it needs a name", op, ErrInvalid)
	}
	body := struct {
		OrganizationID string `json:"organization_id"`
		Domain         string `json:"domain"`
	}{organizationID, domain}
	var got wireDomain
	if err := c.raw(ctx, http.MethodPost, "/organization_domains", body, &got); err != nil {
		return OrganizationDomain{}, fail(op, err)
	}
	if checkID(prefixDomain, got.ID) != nil || got.OrganizationID != organizationID || !strings.EqualFold(got.Domain, domain) {
		return OrganizationDomain{}, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errNotObject)
	}
	return got.value(), nil
}

// VerifyOrganizationDomain asks WorkOS to look for the DNS record, and returns
// the domain as it is then: usually still pending, because that takes a while.
// An *APIError of status 400: it is verified already.
func (c *Client) VerifyOrganizationDomain(ctx context.Context, id string) (OrganizationDomain, error) {
	const op = "verify organization domain"
	if err := checkID(prefixDomain, id); err != nil {
		return OrganizationDomain{}, fmt.Errorf("%s: %w", op, err)
	}
	var got wireDomain
	if err := c.raw(ctx, http.MethodPost, "/organization_domains/"+id+"/verify", nil, &got); err != nil {
		return OrganizationDomain{}, fail(op, err)
	}
	if got.ID != id {
		return OrganizationDomain{}, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errNotObject)
	}
	return got.value(), nil
}

// DeleteOrganizationDomain takes a domain from its organization. ErrNotFound: it
// is gone already.
func (c *Client) DeleteOrganizationDomain(ctx context.Context, id string) error {
	const op = "delete organization domain"
	if err := checkID(prefixDomain, id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fail(op, c.raw(ctx, http.MethodDelete, "/organization_domains/"+id, nil, nil))
}

type wireDomain struct {
	ID                 string `json:"id"`
	OrganizationID     string `json:"organization_id"`
	Domain             string `json:"domain"`
	State              string `json:"state"`
	VerificationPrefix string `json:"verification_prefix"`
	VerificationToken  string `json:"verification_token"`
	CreatedAt          string `json:"created_at"`
	UpdatedAt          string `json:"updated_at"`
}

func (w wireDomain) key() string { return w.ID }

func (w wireDomain) value() OrganizationDomain {
	return OrganizationDomain{
		ID: w.ID, OrganizationID: w.OrganizationID, Domain: w.Domain, State: w.State,
		VerificationPrefix: w.VerificationPrefix, VerificationToken: w.VerificationToken,
		CreatedAt: parseTime(w.CreatedAt), UpdatedAt: parseTime(w.UpdatedAt),
	}
}
