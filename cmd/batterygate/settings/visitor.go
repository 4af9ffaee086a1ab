package settings

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
)

// The actions that the admin policy is asked about.
const (
	actionRead   = "settings.read"
	actionUpdate = "role-mappings.update"
	actionGrant  = "role-mappings.grant" // api.GrantableChange asks the same of what changes
	actionPortal = "portal-links.create"
)

// portalAge is how old a login may be for a portal link: whoever finds an
// unlocked screen must not be able to change how a customer signs in.
const portalAge = 10 * time.Minute

// visitor is who is at the browser, signed in to the organization whose page
// this is. All of one request is answered from one view.
type visitor struct {
	session *authz.Session
	org     directory.Organization
	view    *directory.View
	actor   engine.Actor
}

// visitor finds who is there. Roles are the directory user's of now: a user who
// is not active, not known or not clear has none.
func (p *Pages) visitor(r *http.Request, slug string) (*visitor, bool) {
	view := p.Directory.View()
	org, ok := view.OrganizationBySlug(slug)
	if !ok {
		return nil, false
	}
	session, ok := p.SignIn.SignedIn(r, org.ID, 0)
	if !ok || session.OrganizationID != org.ID {
		return nil, false
	}
	user, ended := view.User(session)
	if ended {
		return nil, false
	}
	roles := []string{}
	if user != nil && user.State == "active" {
		roles = user.Roles
	}
	return &visitor{session: session, org: org, view: view,
		actor: engine.Actor{Kind: "session", ID: session.ID, OrganizationID: session.OrganizationID, Roles: roles, Scopes: []string{}}}, true
}

// renamed is the slug of now of an organization that bore this one once, for
// its own signed-in people alone; empty otherwise.
func (p *Pages) renamed(r *http.Request, slug string) string {
	view := p.Directory.View()
	id, current, ok := view.SlugOwner(slug)
	if !ok || current {
		return ""
	}
	org, ok := view.Organization(id)
	if _, signedIn := p.SignIn.SignedIn(r, id, 0); !ok || !signedIn || org.Slug == slug {
		return ""
	}
	return org.Slug
}

func (v *visitor) organization() engine.Resource {
	return engine.Resource{Type: "organization", ID: v.org.ID, OrganizationID: v.org.ID}
}

// may asks the admin policy. No answer is a no.
func (p *Pages) may(ctx context.Context, v *visitor, action string, resource engine.Resource) bool {
	verdict, err := p.Policy.Decide(ctx, engine.AdminInput{Actor: v.actor, Action: action, Resource: resource})
	if err != nil {
		p.Log.ErrorContext(ctx, "admin policy failed; denied", "action", action, "actor", v.actor.ID, "error", err)
		return false
	}
	return verdict.Allow
}

// mayGrant asks whether a role may be given and taken away.
func (p *Pages) mayGrant(ctx context.Context, v *visitor, role string) bool {
	return p.may(ctx, v, actionGrant, engine.Resource{Type: "role", ID: role, OrganizationID: v.org.ID})
}

// refused is the page for somebody who is signed in and may not. It says who
// they are, which they know, and nothing of their organization.
func refused(v *visitor) *sso.PageError {
	return &sso.PageError{Status: http.StatusForbidden, Title: "These settings are not open to you",
		Text: "You are signed in as " + v.session.Email + ". This page is for the IT administrators of an organization. " +
			"If you should be one, ask your IT department to put you into the group that makes you one, or ask the people who run this service.",
		Links: []sso.Link{{Label: "Sign out", URL: "/logout"}}}
}

// foreignForm is the page for a POST that did not come from this page. A page
// that lay open for an hour looks the same.
func foreignForm(slug string) *sso.PageError {
	return &sso.PageError{Status: http.StatusForbidden, Title: "Nothing was changed",
		Text:  "This did not come from the settings page, or that page lay open for more than an hour. Open it again and repeat what you did.",
		Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}}
}

// checkForm takes a POST of this page's own forms alone. The origin is looked at
// twice, here by the standard library's rules.
func (p *Pages) checkForm(w http.ResponseWriter, r *http.Request, v *visitor, slug, action string, limit int64) error {
	if p.cross.Check(r) != nil {
		return foreignForm(slug)
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil {
		return &sso.PageError{Status: http.StatusBadRequest, Title: "Nothing was changed", Text: "The form was malformed or too large.",
			Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}}
	}
	if err := p.SignIn.CheckForm(r, v.session, action); err != nil {
		return foreignForm(slug)
	}
	return nil
}

// signInScreen is the same for every slug, existing or not.
type signInScreen struct {
	Action string
	Text   string
	Failed bool
}

const (
	askText = "Enter your work e-mail address. You will be led to your organization's sign-in and back to this page."
	noWay   = "There is no way from this e-mail address to these settings. Check the address of this page and your e-mail. " +
		"If both are right, open an app of your organization, sign in there, and then open this page again."
	signedOutText = "You are not signed in here any more, so nothing was changed. Enter your work e-mail address to sign in again."
)

// askSignIn shows it. Its answer leads to an identity provider, whose address
// is not known here, and browsers hold every redirect of a form against
// form-action; so that is wide on this page, which shows nothing that anybody
// sent.
func (p *Pages) askSignIn(w http.ResponseWriter, slug string, status int, text string) error {
	allowed := []string{"'self'", "https:"}
	if p.PublicURL.Scheme == "http" {
		allowed = append(allowed, "http:")
	}
	return p.render(w, status, "sign-in", signInScreen{Action: base(slug) + "/sign-in", Text: text, Failed: text == noWay}, allowed...)
}

// postSignIn leads from an e-mail address to the organization's sign-in, if its
// domain is one that the organization claims. The claim proves nothing: it only
// says where to sign in. Whatever else comes of it is one answer.
func (p *Pages) postSignIn(w http.ResponseWriter, r *http.Request, slug string) error {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil || len(r.PostForm["email"]) != 1 {
		return p.askSignIn(w, slug, http.StatusOK, noWay)
	}
	email := strings.TrimSpace(r.PostForm.Get("email"))
	local, domain, _ := strings.Cut(email, "@")
	org, ok := p.Directory.View().OrganizationBySlug(slug)
	if claimed := claims(org, domain); !ok || !claimed || local == "" {
		return p.askSignIn(w, slug, http.StatusOK, noWay)
	}
	p.SignIn.SignInAs(w, r, org.ID, base(slug), email, 0)
	return nil
}

func claims(org directory.Organization, domain string) bool {
	for _, d := range org.Domains {
		if domain != "" && strings.EqualFold(d, domain) {
			return true
		}
	}
	return false
}

// freshSignIn asks for a new login of somebody who is signed in. It is a link
// and not what a form answers, because a form's redirects would have to be
// allowed on the page that shows what identity providers name.
func (p *Pages) freshSignIn(w http.ResponseWriter, r *http.Request, slug string) error {
	v, ok := p.visitor(r, slug)
	if !ok {
		return p.askSignIn(w, slug, http.StatusOK, askText)
	}
	p.SignIn.SignInAs(w, r, v.org.ID, base(slug)+"?"+url.Values{"signed-in": {"again"}}.Encode(), v.session.Email, portalAge)
	return nil
}
