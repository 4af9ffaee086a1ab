package settings

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

// SignIn says who is at the browser, and serves pages of the public host.
type SignIn interface {
	// SignedIn finds the live session that the browser has for an organization;
	// with a maxAge above zero, one whose login is no older.
	SignedIn(r *http.Request, organizationID string, maxAge time.Duration) (*authz.Session, bool)
	// SignInAs answers with the way to the organization's sign-in, for whoever hint
	// says it is, and back to uri.
	SignInAs(w http.ResponseWriter, r *http.Request, organizationID, uri, hint string, maxAge time.Duration)
	// FormToken makes a form's hidden field "token"; CheckForm takes it and the
	// request's origin, or returns an error.
	FormToken(session *authz.Session, action string) (string, error)
	CheckForm(r *http.Request, session *authz.Session, action string) error
	// Page serves a handler with the headers of such a page, and shows its error.
	Page(h func(w http.ResponseWriter, r *http.Request) error) http.Handler
}

// AdminPolicy answers who may do what.
type AdminPolicy interface {
	Decide(ctx context.Context, in engine.AdminInput) (authz.Verdict, error)
}

// Directory is what is shown, and where role mappings are kept.
type Directory interface {
	View() *directory.View
	ReplaceMappings(ctx context.Context, org string, before, m []directory.Mapping, by string) (directory.Mappings, uint64, error)
}

// Portal makes Admin Portal links at WorkOS.
type Portal interface {
	PortalLink(ctx context.Context, organization, intent, returnURL, successURL string) (string, error)
}

var (
	_ SignIn      = (*sso.Service)(nil)
	_ AdminPolicy = (*engine.AdminPolicy)(nil)
	_ Directory   = (*directory.Directory)(nil)
	_ Portal      = (*workosapi.Client)(nil)
)

// Options of New. Those up to PortalHosts are required.
type Options struct {
	PublicURL *url.URL // scheme and host where browsers reach this page
	SignIn    SignIn
	Policy    AdminPolicy
	Directory Directory
	Portal    Portal
	Audit     Audit
	// Published returns when decisions are made from at least this revision, so
	// that what the page confirms is in force.
	Published func(ctx context.Context, revision uint64) error
	// PortalHosts are the hosts, with a port where there is one, that a portal
	// link may lead to: by https, and by plain http on loopback alone.
	PortalHosts []string

	// Roles are those that may be offered for an organization's groups, beside
	// the ones that they already map to. Which of them a person may grant is the
	// policy's word. nil: no others.
	Roles func(organizationID string) []string
	// OwnProvider says whether an organization signs in at an OpenID provider
	// that the operators configured, which no portal can change. nil: none does.
	OwnProvider func(organizationID string) bool
	// ClientIP is where a request comes from, for the audit. nil: not said.
	ClientIP func(*http.Request) netip.Addr
	// Limited wraps what asks for an e-mail address, which anybody may send.
	// nil: no limit.
	Limited func(http.Handler) http.Handler

	Now func() time.Time // default: time.Now
	Log *slog.Logger     // default: nothing is logged
}

// Pages are the page and what its buttons do. It is safe for concurrent use.
type Pages struct {
	Options
	refusals audit.Refusals
	portal   map[string]bool // hosts
	targets  []string        // where forms may lead, for the page's policy
	tmpl     *template.Template
	cross    *http.CrossOriginProtection
	writing  locks
	counts   counts
}

// New makes the pages. It starts nothing.
func New(o Options) (*Pages, error) {
	if o.PublicURL == nil || o.PublicURL.Host == "" || o.SignIn == nil || o.Policy == nil || o.Directory == nil || o.Portal == nil ||
		o.Audit == nil || o.Published == nil {
		return nil, errors.New("make settings pages: public URL, sign-in, policy, directory, portal, audit and published are required")
	}
	if len(o.PortalHosts) == 0 {
		return nil, errors.New("make settings pages: no host is named that portal links may lead to")
	}
	if o.Roles == nil {
		o.Roles = func(string) []string { return nil }
	}
	if o.OwnProvider == nil {
		o.OwnProvider = func(string) bool { return false }
	}
	if o.Limited == nil {
		o.Limited = func(h http.Handler) http.Handler { return h }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	tmpl, err := parse()
	if err != nil {
		return nil, fmt.Errorf("make settings pages: %w", err)
	}
	p := &Pages{Options: o, portal: map[string]bool{}, targets: []string{"'self'"}, tmpl: tmpl, cross: http.NewCrossOriginProtection()}
	for _, h := range o.PortalHosts {
		if !isHost(h) {
			return nil, fmt.Errorf("make settings pages: %q is not a host that portal links may lead to", h)
		}
		h = strings.ToLower(h)
		p.portal[h] = true
		p.targets = append(p.targets, schemeOf(h)+"://"+h)
	}
	return p, nil
}

// Mount adds the page to the public listener.
func (p *Pages) Mount(r gin.IRouter) {
	const at = "/orgs/:slug/settings"
	r.GET(at, p.page(p.show))
	r.POST(at+"/role-mappings", p.page(p.postMappings))
	r.POST(at+"/portal", p.page(p.postPortal))
	// A form's answer may be reloaded or gone back to by its address.
	r.GET(at+"/role-mappings", p.page(home))
	r.GET(at+"/portal", p.page(home))
	r.GET(at+"/sign-in", p.page(p.freshSignIn))
	r.POST(at+"/sign-in", func(c *gin.Context) {
		p.Limited(p.handler(c.Param("slug"), p.postSignIn)).ServeHTTP(c.Writer, c.Request)
	})
}

type handler func(w http.ResponseWriter, r *http.Request, slug string) error

func (p *Pages) page(h handler) gin.HandlerFunc {
	return func(c *gin.Context) { p.handler(c.Param("slug"), h).ServeHTTP(c.Writer, c.Request) }
}

func (p *Pages) handler(slug string, h handler) http.Handler {
	return p.SignIn.Page(func(w http.ResponseWriter, r *http.Request) error { return h(w, r, slug) })
}

func home(w http.ResponseWriter, _ *http.Request, slug string) error {
	w.Header().Set("Location", base(slug))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// base is the page's path.
func base(slug string) string { return "/orgs/" + url.PathEscape(slug) + "/settings" }
