package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sso"
)

// visitor is who is at the browser, as of this request.
type visitor struct {
	seat  seat
	actor engine.Actor
	name  string    // e-mail, or the token's name
	ends  time.Time // of what it stands on; zero: it does not end by itself
}

const kindBreakGlass = "break-glass"

// errNobody: what a console session stood on is gone.
var errNobody = errors.New("nobody is signed in")

// visitor finds who is there. Nothing but the cookie's session is remembered from
// one request to the next: token, SSO session and roles are looked up. Errors are
// errNobody, a page that says why not, or a fault.
func (c *Console) visitor(r *http.Request) (*visitor, error) {
	id := c.cookie(r, cookieSeat)
	s, ok := c.seats.find(id, c.Now())
	if !ok {
		return nil, errNobody
	}
	v, err := c.identify(r.Context(), s.from)
	var shown *sso.PageError
	if errors.Is(err, errNobody) || errors.As(err, &shown) && shown.Status == http.StatusForbidden {
		c.seats.end(id)
	}
	if err != nil {
		return nil, err
	}
	v.seat = s
	return v, nil
}

func (c *Console) identify(ctx context.Context, from source) (*visitor, error) {
	if from.token != "" {
		return c.byToken(ctx, from.token)
	}
	return c.bySession(from.session)
}

func (c *Console) byToken(ctx context.Context, id string) (*visitor, error) {
	t, err := c.Tokens.Live(ctx, id)
	if errors.Is(err, api.ErrUnknownToken) {
		return nil, errNobody
	}
	if err != nil {
		return nil, err
	}
	v := &visitor{actor: t.Actor(), name: t.Name}
	if t.ExpiresAt != nil {
		v.ends = *t.ExpiresAt
	}
	return v, nil
}

// bySession is a person of the operators' organization with the roles that the
// directory gives them at this moment. What they may do is the policy's word; who
// has none of its roles at all has no business here and is told so.
func (c *Console) bySession(id string) (*visitor, error) {
	if c.Operators == "" {
		return nil, errNobody
	}
	session, ok := c.SignIn.Live(id)
	if !ok {
		return nil, errNobody
	}
	if session.OrganizationID != c.Operators {
		return nil, c.notForYou("You are signed in as " + words.Quoted(session.Email) + ", who is not of the operators' organization. IT admins of an organization " +
			"have a page of their own, /orgs/{organization}/settings on the public address.")
	}
	user, ended := c.Directory().User(session)
	if ended {
		return nil, errNobody
	}
	as := "You are signed in as " + words.Quoted(session.Email) + " of the operators' organization, "
	switch {
	case user == nil:
		return nil, c.notForYou(as + "whom its directory does not know, or not clearly, and who has no role for that reason. Ask whoever runs the directory.")
	case user.State != "active":
		return nil, c.notForYou(as + "who is not active in its directory.")
	case !slices.ContainsFunc(user.Roles, isOurs):
		return nil, c.notForYou(as + "and have no role here: the role battery:operator or battery:auditor is missing. An operator gives it by mapping one of your groups to it.")
	}
	return &visitor{name: session.Email, ends: session.ExpiresAt, actor: engine.Actor{
		Kind: "session", ID: session.ID, OrganizationID: session.OrganizationID, Roles: slices.Clone(user.Roles), Scopes: []string{},
	}}, nil
}

func isOurs(role string) bool { return strings.HasPrefix(role, "battery:") }

func (c *Console) notForYou(text string) *sso.PageError {
	return &sso.PageError{Status: http.StatusForbidden, Title: "The console is not open to you", Text: text, Links: []sso.Link{
		{Label: "Sign in another way", URL: "/"}, {Label: "Sign out to be somebody else", URL: c.PublicURL.Scheme + "://" + c.PublicURL.Host + "/logout"}}}
}

// signedIn lets nobody on who is not signed in.
func (c *Console) signedIn(h signedInHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := c.visitor(r)
		if errors.Is(err, errNobody) {
			text := "You are not signed in here, or not any more."
			if r.Method == http.MethodPost {
				text += " Nothing was done."
			}
			return c.askSignIn(w, r, http.StatusUnauthorized, text)
		}
		if err != nil {
			return err
		}
		return h(w, r, v)
	}
}

// within is the organization in which a visitor may do an action of a kind of
// thing: all of them (""), or the one that their token is bound to.
func (c *Console) within(ctx context.Context, v *visitor, action, kind string) (org string, ok bool) {
	if c.API.May(ctx, v.actor, action, engine.Resource{Type: kind}) {
		return "", true
	}
	org = v.actor.OrganizationID
	return org, org != "" && c.API.May(ctx, v.actor, action, engine.Resource{Type: kind, OrganizationID: org})
}
