package workosapi

import (
	"context"
	"fmt"
	"net/url"

	"github.com/workos/workos-go/v4/pkg/sso"
)

// AuthorizationRequest says who should sign in and where to return. Exactly
// one of Organization, Connection and Provider is set: WorkOS refuses several,
// and with none anyone could sign in from anywhere.
type AuthorizationRequest struct {
	Organization string // org_…
	Connection   string // conn_…
	Provider     string // "GoogleOAuth", "MicrosoftOAuth", …
	RedirectURI  string // where WorkOS sends the browser back; registered there
	State        string // comes back verbatim, on errors too
	LoginHint    string // e-mail for the identity provider's form; optional
	DomainHint   string // optional
}

// AuthorizationURL is where the browser goes to sign in. Nothing is sent.
// It fails, matching ErrInvalid, if the request is not complete.
func (c *Client) AuthorizationURL(r AuthorizationRequest) (string, error) {
	const op = "make authorization URL"
	selectors := 0
	for _, s := range []string{r.Organization, r.Connection, r.Provider} {
		if s != "" {
			selectors++
		}
	}
	switch {
	case selectors != 1:
		return "", fmt.Errorf("%s: %w: exactly one of organization, connection and provider is needed, %d are set", op, ErrInvalid, selectors)
	case r.State == "":
		return "", fmt.Errorf("%s: %w: without a state the answer cannot be bound to the browser", op, ErrInvalid)
	}
	if u, err := url.Parse(r.RedirectURI); err != nil || !u.IsAbs() || u.Host == "" {
		return "", fmt.Errorf("%s: %w: the redirect URI must be absolute", op, ErrInvalid)
	}
	if r.Organization != "" {
		if err := checkID(prefixOrganization, r.Organization); err != nil {
			return "", fmt.Errorf("%s: %w", op, err)
		}
	}
	if r.Connection != "" {
		if err := checkID(prefixConnection, r.Connection); err != nil {
			return "", fmt.Errorf("%s: %w", op, err)
		}
	}
	u, err := c.sso.GetAuthorizationURL(sso.GetAuthorizationURLOpts{
		Organization: r.Organization, Connection: r.Connection, Provider: sso.ConnectionType(r.Provider),
		RedirectURI: r.RedirectURI, State: r.State, LoginHint: r.LoginHint, DomainHint: r.DomainHint,
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, ErrInvalid)
	}
	return u.String(), nil
}

// Profile is who signed in, as the identity provider vouched for it.
// OrganizationID is empty where WorkOS says null: such a profile belongs to no
// customer and must not open anything. The e-mail proves nothing beyond its
// organization.
type Profile struct {
	ID             string
	IdpID          string
	OrganizationID string
	ConnectionID   string
	ConnectionType string
	Email          string
	FirstName      string
	LastName       string
	Role           string // slug of WorkOS's own role; may be empty
	Groups         []string
	Attributes     map[string]any // the custom attributes
}

// ProfileByCode exchanges the code of a callback. A code works once, within
// ten minutes; the exchange is never retried. The error is an *APIError with
// code "invalid_grant" for a code that is wrong, old or used.
func (c *Client) ProfileByCode(ctx context.Context, code string) (Profile, error) {
	const op = "exchange code for profile"
	if code == "" || len(code) > 1024 {
		return Profile{}, fmt.Errorf("%s: %w: the code is empty or too long", op, ErrInvalid)
	}
	got, err := c.sso.GetProfileAndToken(ctx, sso.GetProfileAndTokenOpts{Code: code})
	if err != nil {
		return Profile{}, fail(op, err)
	}
	p := got.Profile
	if p.ID == "" {
		return Profile{}, fmt.Errorf("%s: %w: the answer names no profile", op, ErrUnavailable)
	}
	return Profile{
		ID: p.ID, IdpID: p.IdpID, OrganizationID: p.OrganizationID,
		ConnectionID: p.ConnectionID, ConnectionType: string(p.ConnectionType),
		Email: p.Email, FirstName: p.FirstName, LastName: p.LastName,
		Role: p.Role.Slug, Groups: p.Groups, Attributes: p.CustomAttributes,
	}, nil
}

// Connection is a customer's link to an identity provider.
type Connection struct {
	ID             string
	OrganizationID string
	Name           string
	Type           string // "OktaSAML", …
	State          string // draft, active, inactive, validating, requires_type, deleting
}

// ListConnections returns every connection of an organization, or of all if
// organizationID is empty.
func (c *Client) ListConnections(ctx context.Context, organizationID string) ([]Connection, error) {
	const op = "list connections"
	q, err := within(op, organizationID)
	if err != nil {
		return nil, err
	}
	return listAll[wireConnection](ctx, c, op, "/connections", prefixConnection, q)
}

// GetConnection returns one connection, or ErrNotFound.
func (c *Client) GetConnection(ctx context.Context, id string) (Connection, error) {
	return getOne[wireConnection](ctx, c, "get connection", "/connections", prefixConnection, id)
}

type wireConnection struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Name           string `json:"name"`
	Type           string `json:"connection_type"`
	State          string `json:"state"`
}

func (w wireConnection) key() string { return w.ID }

func (w wireConnection) value() Connection { return Connection(w) }
