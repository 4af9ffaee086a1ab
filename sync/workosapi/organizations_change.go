package workosapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// OrganizationPatch is what UpdateOrganization changes: what is nil stays as it
// is. Domains, if given, is the whole list; an empty one removes all.
type OrganizationPatch struct {
	Name       *string
	Domains    *[]string
	ExternalID *string // empty: takes it away
}

// domainData is a domain in a body of /organizations.
type domainData struct {
	Domain string `json:"domain"`
	State  string `json:"state"`
}

// UpdateOrganization changes an organization and returns it as it is then. It
// sends what was given and nothing else, because WorkOS reads a list that is
// there as the whole list. Domains keep the state they have at WorkOS, which is
// read first: only a domain it calls verified is sent as that, and a new one, or
// one whose verification failed, begins as pending. It is not retried. Errors:
// ErrNotFound; ErrInvalid for an id, a name or a patch that cannot be sent; an
// *APIError of status 409 or 422 for what WorkOS refuses. Raw: the SDK sends
// every field under a wrong name.
func (c *Client) UpdateOrganization(ctx context.Context, id string, p OrganizationPatch) (Organization, error) {
	const op = "update organization"
	if err := checkID(prefixOrganization, id); err != nil {
		return Organization{}, fmt.Errorf("%s: %w", op, err)
	}
	switch {
	case p.Name == nil && p.Domains == nil && p.ExternalID == nil:
		return Organization{}, fmt.Errorf("%s: %w: there is nothing to change", op, ErrInvalid)
	case p.Name != nil && strings.TrimSpace(*p.Name) == "":
		return Organization{}, fmt.Errorf("%s: %w: it needs a name", op, ErrInvalid)
	}
	body := map[string]any{}
	if p.Name != nil {
		body["name"] = *p.Name
	}
	if p.ExternalID != nil {
		body["external_id"] = nil // the one null that WorkOS takes, and only where it is meant
		if *p.ExternalID != "" {
			body["external_id"] = *p.ExternalID
		}
	}
	if p.Domains != nil {
		now, err := c.GetOrganization(ctx, id)
		if err != nil {
			return Organization{}, fmt.Errorf("%s: %w", op, err)
		}
		body["domain_data"] = withStates(*p.Domains, now.Claims)
	}
	var got wireOrganization
	if err := c.raw(ctx, http.MethodPut, "/organizations/"+id, body, &got); err != nil {
		return Organization{}, fail(op, err)
	}
	if got.ID != id {
		return Organization{}, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errNotObject)
	}
	return got.value(), nil
}

// withStates is never nil: a list that is empty must say so.
func withStates(domains []string, now []OrganizationDomain) []domainData {
	out := make([]domainData, 0, len(domains))
	for _, d := range domains {
		state := DomainPending
		for _, had := range now {
			if strings.EqualFold(had.Domain, d) && had.Verified() {
				state = DomainVerified
			}
		}
		out = append(out, domainData{d, state})
	}
	return out
}

// DeleteOrganization deletes an organization with everything that is in it: its
// connections, directories and domains. WorkOS finishes the work later (202). It
// is retried, as a delete may be. ErrNotFound: it is gone already. Raw: the SDK
// calls another path.
func (c *Client) DeleteOrganization(ctx context.Context, id string) error {
	const op = "delete organization"
	if err := checkID(prefixOrganization, id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fail(op, c.raw(ctx, http.MethodDelete, "/organizations/"+id, nil, nil))
}
