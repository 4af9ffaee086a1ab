package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
)

// API is the admin API within the process.
type API interface {
	// As serves requests to /api/v1 made by an actor.
	As(who engine.Actor) http.Handler
	// May reports whether the policy would allow an action.
	May(ctx context.Context, who engine.Actor, action string, on engine.Resource) bool
	// Actions are all that can be asked for.
	Actions() []string
}

// Tokens finds API tokens. Both return api.ErrUnknownToken for one that is not
// there, or over.
type Tokens interface {
	Find(ctx context.Context, secret string) (api.Token, error)
	Live(ctx context.Context, id string) (api.Token, error)
}

// SignIn is signing in at the public host, and what says that it still holds.
type SignIn interface {
	SignedIn(r *http.Request, organizationID string, maxAge time.Duration) (*authz.Session, bool)
	SignIn(w http.ResponseWriter, r *http.Request, organizationID, uri string, maxAge time.Duration)
	Page(h func(w http.ResponseWriter, r *http.Request) error) http.Handler
	// Pass makes what a browser carries to the console; RedeemPass takes it.
	Pass(session *authz.Session, audience, challenge string) (string, error)
	RedeemPass(ctx context.Context, sealed, audience, verifier string) (*authz.Session, error)
	// Live finds a session that still stands.
	Live(id string) (*authz.Session, bool)
}

// Audit is the record of who signed in; what they do is recorded by the API.
type Audit interface {
	Record(ctx context.Context, a audit.Act, o audit.Outcome) error
}

var (
	_ Audit  = (*audit.Log)(nil)
	_ API    = (*api.API)(nil)
	_ Tokens = (*api.Tokens)(nil)
	_ SignIn = (*sso.Service)(nil)
)

// Server is what the home page shows of the server.
type Server struct {
	Version        string
	PolicyRevision string // of the policy that guards apps
	AdminPolicy    string // of the one that guards this
	DataRevision   uint64
	NotReady       string // why no questions should be sent here; empty: ready
}

// Options of New. Those up to Audit are required.
type Options struct {
	// URL is where operators' browsers reach the console: scheme and host alone;
	// https, or http on loopback. Pages, cookies, forms and passes are for it
	// alone. nil: nobody said where, and every page says so.
	URL    *url.URL
	API    API
	Tokens Tokens
	Server func(ctx context.Context) Server
	Audit  Audit // takes who signed in; while it does not, nobody does

	// Operators is the organization whose people may sign in; empty: tokens alone.
	// With it, the three below are required.
	Operators string
	PublicURL *url.URL
	SignIn    SignIn
	Directory func() *directory.View

	Now func() time.Time // default: time.Now
	Log *slog.Logger     // default: nothing is logged
}

// Console is the pages. It is safe for concurrent use, starts nothing, and
// forgets its sessions when the program ends.
type Console struct {
	Options
	origin string // of URL, as browsers write it
	secure bool   // https
	key    []byte // authenticates what this process gave to browsers
	seats  seats
	tmpl   *template.Template
}

// New makes the console.
func New(o Options) (*Console, error) {
	if o.API == nil || o.Tokens == nil || o.Server == nil || o.Audit == nil {
		return nil, errors.New("make console: API, tokens, server and audit are required")
	}
	if o.Operators != "" && (o.PublicURL == nil || o.PublicURL.Host == "" || o.SignIn == nil || o.Directory == nil) {
		return nil, errors.New("make console: with an operators' organization, public URL, sign-in and directory are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Console{Options: o, key: make([]byte, 32)}
	_, _ = rand.Read(c.key) // crypto/rand.Read never fails: it ends the program instead
	var err error
	if o.URL != nil {
		if c.origin, err = originOf(o.URL); err != nil {
			return nil, fmt.Errorf("make console: %w", err)
		}
		c.secure = strings.HasPrefix(c.origin, "https:")
	}
	if c.tmpl, err = parse(); err != nil {
		return nil, fmt.Errorf("make console: %w", err)
	}
	return c, nil
}

// originOf is a URL's origin as browsers write it in Origin: lower case, without
// its scheme's own port.
func originOf(u *url.URL) (string, error) {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("its URL must be scheme and host alone")
	}
	if scheme != "https" && (scheme != "http" || !config.Loopback(u.Hostname())) {
		return "", errors.New("its URL must be https; plain http is for loopback alone")
	}
	if p := u.Port(); (scheme == "https" && p == "443") || (scheme == "http" && p == "80") || p == "" {
		host = strings.TrimSuffix(strings.TrimSuffix(host, p), ":")
	}
	return scheme + "://" + host, nil
}

// Mount adds the console to the admin listener.
func (c *Console) Mount(r gin.IRouter) {
	get := func(path string, h handler) { r.GET(path, gin.WrapH(c.serve(h))) }
	post := func(path string, h handler) { r.POST(path, gin.WrapH(c.serve(h))) }
	get("/", c.home)
	post("/sign-in/token", c.signInByToken)
	get("/sign-in/sso", c.beginSSO)
	get("/sign-in/sso/done", c.endSSO)
	post("/sign-out", c.signOut)
	get("/sessions", c.signedIn(c.sessions))
	post("/sessions/end", c.signedIn(c.endOne))
	get("/sessions/end-many", c.signedIn(c.confirmMany))
	post("/sessions/end-many", c.signedIn(c.endMany))
	get("/audit", c.signedIn(c.audit))
	// The address of a form's answer may be gone back to or typed.
	get("/sessions/end", to("/sessions"))
	get("/sign-in/token", to("/"))
	get("/sign-out", to("/"))
}

// MountPublic adds the one page of the public host, if people can sign in.
func (c *Console) MountPublic(r gin.IRouter) {
	if c.Operators != "" && c.origin != "" {
		r.GET(handOverPath, gin.WrapH(c.SignIn.Page(c.handOver)))
	}
}

func to(path string) handler {
	return func(w http.ResponseWriter, _ *http.Request) error { return redirect(w, path) }
}

// redirect leads on to an address of ours; never to one that a request names.
func redirect(w http.ResponseWriter, location string) error {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
