package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"battery.app/gate/sso/oidc"
	"battery.app/gate/sync/workosapi"
)

// providers is which organizations bring their own OpenID provider. Everybody
// else signs in through WorkOS.
type providers struct {
	byOrganization map[string]*oidc.Provider
	byID           map[string]*oidc.Provider
}

func newProviders(list []*oidc.Provider) (providers, error) {
	p := providers{byOrganization: map[string]*oidc.Provider{}, byID: map[string]*oidc.Provider{}}
	for _, x := range list {
		switch {
		case x == nil:
			return p, errors.New("an OpenID provider is nil")
		case p.byID[x.ID()] != nil:
			return p, fmt.Errorf("two OpenID providers are called %s", x.ID())
		case p.byOrganization[x.OrganizationID()] != nil:
			return p, fmt.Errorf("organization %s has two OpenID providers", x.OrganizationID())
		}
		p.byID[x.ID()], p.byOrganization[x.OrganizationID()] = x, x
	}
	return p, nil
}

// callbackPath is where a provider's answers come in; connection is empty for
// WorkOS. Each has an address of its own, registered there and nowhere else, so
// that none can send people on to another and be brought the code that they come
// back with (mix-up, RFC 9700 §4.4.2.2).
func callbackPath(connection string) string {
	if connection == "" {
		return "/callback"
	}
	return "/callback/" + connection
}

func (s *Service) redirectURI(connection string) string {
	return s.public.origin() + callbackPath(connection)
}

// authorize finds where the person signs in, and completes the attempt with
// what the answer will be checked against.
func (s *Service) authorize(ctx context.Context, a *attempt, hint string, again []Link) (string, error) {
	p := s.providers.byOrganization[a.Organization]
	if p != nil {
		a.Connection, a.Nonce, a.Verifier = p.ID(), newVerifier(), newVerifier()
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		location, err := p.AuthorizationURL(ctx, s.protocol(*a), hint)
		if err != nil {
			s.count(ctx, "login", "provider_failed")
			return "", providerProblem(err, again)
		}
		return location, nil
	}
	location, err := s.workos.AuthorizationURL(workosapi.AuthorizationRequest{
		Organization: a.Organization, LoginHint: hint, RedirectURI: s.redirectURI(""), State: a.State,
	})
	if err != nil || a.MaxAge == 0 {
		return location, err
	}
	return askAnew(location)
}

func (s *Service) protocol(a attempt) oidc.Attempt {
	return oidc.Attempt{RedirectURI: s.redirectURI(a.Connection), State: a.State, Nonce: a.Nonce, Verifier: a.Verifier,
		MaxAge: time.Duration(a.MaxAge) * time.Second}
}

// arrival is who came back from an identity provider: the record of a session
// to be, and what its provider wants back at logout.
type arrival struct {
	record
	idToken string
}

// arrive finds out who came back with an answer, from WorkOS or from the
// provider that the attempt went to.
func (s *Service) arrive(ctx context.Context, a attempt, code, iss string, again []Link) (arrival, error) {
	if a.Connection != "" {
		return s.fromProvider(ctx, a, code, iss, again)
	}
	profile, err := s.exchange(ctx, code)
	if err != nil {
		return arrival{}, exchangeProblem(err, again)
	}
	out := arrival{record: record{
		Kind: kindSSO, UserID: profile.ID, IdpID: profile.IdpID, Email: profile.Email, OrganizationID: profile.OrganizationID,
		ConnectionID: profile.ConnectionID, Claims: claimsOf(profile),
	}}
	if a.MaxAge > 0 {
		// WorkOS does not say when the person signed in, but it was asked not to
		// take a remembered login.
		out.AuthenticatedAt = s.now().UTC()
	}
	return out, nil
}

func (s *Service) fromProvider(ctx context.Context, a attempt, code, iss string, again []Link) (arrival, error) {
	p := s.providers.byOrganization[a.Organization]
	if p == nil || p.ID() != a.Connection {
		return arrival{}, &PageError{Status: http.StatusBadRequest, Title: "Signing in changed meanwhile", Links: again,
			Text: "Your organization's sign-in was set up anew while you were signing in. Try again."}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	id, err := p.Exchange(ctx, s.protocol(a), code, iss)
	if err != nil {
		return arrival{}, providerProblem(err, again)
	}
	return arrival{idToken: id.IDToken, record: record{
		Kind: kindOIDC, UserID: id.UserID, IdpID: id.Subject, Email: id.Email, OrganizationID: p.OrganizationID(),
		ConnectionID: p.ID(), Claims: claimsOfIdentity(id), AuthenticatedAt: id.AuthTime.UTC(), ProviderSession: id.SessionID,
		begun: time.UnixMilli(a.Begun),
	}}, nil
}

// claimsOfIdentity is what of an identity policies may see beside who it is. An
// address that is not verified is there, under a name that says so: nothing is
// linked by it. Groups are the provider's word at sign-in; roles do not come
// from them unless a policy says so.
func claimsOfIdentity(id oidc.Identity) map[string]any {
	out := map[string]any{}
	for k, v := range map[string]string{"first_name": id.GivenName, "last_name": id.FamilyName, "email_unverified": id.Unverified} {
		if v != "" {
			out[k] = v
		}
	}
	if id.Groups != nil {
		groups := make([]any, len(id.Groups))
		for i, g := range id.Groups {
			groups[i] = g
		}
		out["groups"] = groups
	}
	if id.GroupsMissing {
		out["groups_missing"] = true
	}
	return out
}

// providerProblem explains what went wrong at an OpenID provider.
func providerProblem(err error, again []Link) *PageError {
	p := &PageError{Status: http.StatusForbidden, Title: "You were not signed in", Links: again, Cause: err}
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		p.Status, p.Title = http.StatusBadGateway, "Your identity provider does not answer"
		p.Text = "Your organization's identity provider could not be reached. Try again in a moment; if it stays so, ask your administrator."
	case errors.Is(err, oidc.ErrRefused):
		p.Status, p.Title = http.StatusBadRequest, "This sign-in did not work"
		p.Text = "It was used before or is too old. Try again."
	case errors.Is(err, oidc.ErrNotFresh):
		p.Text = "This app asks for a fresh sign-in, and your identity provider did not ask you again. Sign out there, then try again."
	case errors.Is(err, oidc.ErrConfig):
		p.Text = "Your organization's sign-in is not set up right. Ask your administrator to check the client's id and secret."
	default:
		p.Text = "What your identity provider sent could not be trusted. Try again; if it stays so, ask your administrator."
	}
	return p
}
