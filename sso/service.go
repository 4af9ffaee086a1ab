package sso

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/store"
	"battery.app/gate/sync/workosapi"
)

// AppView finds apps. It is a snapshot: one request asks one view.
type AppView interface {
	// App finds the app that owns a canonical host name.
	App(host string) (*authz.App, bool)
	// ByID finds an app by its id.
	ByID(id string) (*authz.App, bool)
}

// WorkOS is what a login needs of WorkOS.
type WorkOS interface {
	AuthorizationURL(workosapi.AuthorizationRequest) (string, error)
	ProfileByCode(ctx context.Context, code string) (workosapi.Profile, error)
}

var _ WorkOS = (*workosapi.Client)(nil)

// Directory is what the directory has to say about sessions.
type Directory interface {
	// Linked is called once after each login, when the session is known, so
	// that the link to the directory user can be pinned. An error is logged;
	// who gets in is the policy's answer, not the link's.
	Linked(ctx context.Context, s *authz.Session) error
	// MayOpen reports whether a login may open this session now: not while the
	// removal of its user is held for an operator to look at.
	MayOpen(s *authz.Session) bool
	// Ended reports whether what the session stood on (its user, connection or
	// organization) is gone. Such a session opens nothing.
	Ended(s *authz.Session) bool
}

// Options of New. Those up to Sessions are required.
type Options struct {
	// PublicURL is where browsers reach /login: scheme and host alone; https,
	// or http on loopback.
	PublicURL *url.URL
	// Apps returns the current view; nil while there is none.
	Apps      func() AppView
	WorkOS    WorkOS
	Directory Directory
	Store     store.Store
	Keys      *keys.Ring // the same as the sessions'
	Sessions  *Sessions

	// Providers are the OpenID providers of organizations that bring their own;
	// everybody else signs in through WorkOS.
	Providers []*oidc.Provider
	// Find leads people on who come without an app.
	Find Finder
	// ClientIP is where a request comes from, over the gateways that are trusted.
	// nil: nobody is limited, because behind a gateway all would share one limit.
	ClientIP func(*http.Request) netip.Addr
	Limits   Limits

	WorkOSTimeout time.Duration    // for what is asked of WorkOS or a provider during a login; default: 5 s
	Now           func() time.Time // default: time.Now
	Log           *slog.Logger     // default: nothing is logged
	Meter         metric.Meter     // default: nothing is measured
}

// Service signs people in and out. It is safe for concurrent use.
type Service struct {
	public    target // its path is "/"
	apps      func() AppView
	workos    WorkOS
	directory Directory
	store     store.Store
	sessions  *Sessions
	signer    *signer
	timeout   time.Duration
	now       func() time.Time
	log       *slog.Logger
	outcomes  metric.Int64Counter
	pages     *pages

	providers providers
	find      Finder
	clientIP  func(*http.Request) netip.Addr

	loginLimit, pickerLimit, logoutLimit *limiter

	states, tickets, logins, forms, hints *keys.Sealer
	used                                  *usedStates
	vault                                 *keys.Vault
	audit                                 func([]byte) []byte
}

// usedSize is how many returned states are remembered: more than can come back
// in ten minutes on one replica.
const usedSize = 1 << 16

// New makes a Service. It starts nothing, but reads the keys from the store, or
// makes the first there, and wraps them by the newest root key. Keys that no root
// key unwraps are an error that says what to do (keys.ErrUnusable). It tells Sessions which OpenID providers
// there are: until then their sessions open nothing.
func New(ctx context.Context, o Options) (*Service, error) {
	public, err := checkPublicURL(o.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("make sign-in service: %w", err)
	}
	if o.Apps == nil || o.WorkOS == nil || o.Directory == nil || o.Store == nil || o.Keys == nil || o.Sessions == nil {
		return nil, errors.New("make sign-in service: apps, WorkOS, directory, store, keys and sessions are required")
	}
	if o.Keys != o.Sessions.ring {
		return nil, errors.New("make sign-in service: its keys must be those of the sessions")
	}
	if o.WorkOSTimeout <= 0 {
		o.WorkOSTimeout = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	outcomes, err := o.Meter.Int64Counter("battery.logins",
		metric.WithDescription("Steps of signing in and out, by step and outcome."), metric.WithUnit("{step}"))
	if err != nil {
		return nil, fmt.Errorf("make login counter: %w", err)
	}
	own, err := newProviders(o.Providers)
	if err != nil {
		return nil, fmt.Errorf("make sign-in service: %w", err)
	}
	sign, audit, err := openKeys(ctx, o, public.origin())
	if err != nil {
		return nil, err
	}
	vault := o.Sessions.vault
	changed := sign.changed
	o.Sessions.providers.Store(&own.byID)
	o.Sessions.signerChanged.Store(&changed)
	return &Service{
		public: public, apps: o.Apps, workos: o.WorkOS, directory: o.Directory, store: o.Store,
		sessions: o.Sessions, signer: sign, timeout: o.WorkOSTimeout, now: o.Now, log: o.Log,
		outcomes: outcomes, pages: newPages(), providers: own, find: o.Find, clientIP: o.ClientIP,
		loginLimit:  newLimiter(o.Limits.Login.or(Rate{20, 300}), o.Now),
		pickerLimit: newLimiter(o.Limits.Picker.or(Rate{0.5, 20}), o.Now),
		logoutLimit: newLimiter(o.Limits.Logout.or(Rate{20, 300}), o.Now),
		states:      vault.Sealer(keys.State), tickets: vault.Sealer(keys.Ticket),
		logins: vault.Sealer(keys.Login), forms: vault.Sealer(keys.Form), hints: vault.Sealer(keys.Hint),
		vault: vault, audit: audit,
		used: newUsedStates(usedSize),
	}, nil
}

// checkPublicURL: cookies that open everything are set there, so it must be
// https, or this machine.
func checkPublicURL(u *url.URL) (target, error) {
	if u == nil || u.Host == "" {
		return target{}, errors.New("the public URL is missing")
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return target{}, fmt.Errorf("the public URL %s://%s must be scheme and host alone", u.Scheme, u.Host)
	}
	scheme := strings.ToLower(u.Scheme)
	if !mayCarry(scheme, u.Hostname()) {
		return target{}, fmt.Errorf("the public URL %s://%s must be https; plain http is for loopback alone", u.Scheme, u.Host)
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if (scheme == "https" && port == "443") || (scheme == "http" && port == "80") {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return target{scheme: scheme, host: host, port: port, path: "/"}, nil
}

// Mount adds the endpoints to the public listener: those of the public host,
// and /.battery/ for every app's host.
func (s *Service) Mount(r gin.IRouter) {
	public := func(h handler) gin.HandlerFunc { return gin.WrapH(s.serve(s.onPublicHost(h))) }
	looks := []string{http.MethodGet, http.MethodHead} // what follows a redirect by HEAD is led on as GET is
	r.Match(looks, "/", public(s.front))
	r.Match(looks, "/login", public(s.limited(s.loginLimit, s.login)))
	r.POST("/login", public(s.limited(s.pickerLimit, s.pick)))
	r.GET(callbackPath(""), public(s.limited(s.loginLimit, s.callback)))
	r.GET(callbackPath(":connection"), public(s.limited(s.loginLimit, s.callback)))
	r.GET("/logout", public(s.publicLogout))
	r.POST("/logout", public(s.publicLogout))
	r.Match(looks, signedOutPath, public(s.signedOut))
	r.POST(backchannelPath+":connection", public(s.limited(s.logoutLimit, s.backchannel)))
	r.Match(looks, "/.well-known/jwks.json", gin.WrapF(s.keySet))
	r.Any("/.battery/*endpoint", gin.WrapH(s.AppEndpoints()))
}

// AppEndpoints answers /.battery/{login,session,logout,userinfo} of apps'
// hosts; the Host header says whose.
func (s *Service) AppEndpoints() http.Handler {
	return s.serve(func(w http.ResponseWriter, r *http.Request) error {
		app, origin, err := s.appOf(r)
		if err != nil {
			return err
		}
		h, methods := s.endpoint(r.URL.Path)
		if h == nil {
			return notFound("There is nothing at this address.")
		}
		if !slices.Contains(strings.Split(methods, ", "), r.Method) {
			w.Header().Set("Allow", methods)
			return &PageError{Status: http.StatusMethodNotAllowed, Title: "That does not work here", Text: "This address takes " + methods + " alone."}
		}
		if r.URL.Path == reserved+"login" || r.URL.Path == reserved+"session" {
			if err := s.limit(s.loginLimit, w, r); err != nil {
				return err
			}
		}
		return h(w, r, app, origin)
	})
}

// appHandler answers on an app's host; origin is where it was asked, with
// path "/".
type appHandler func(w http.ResponseWriter, r *http.Request, app *authz.App, origin target) error

func (s *Service) endpoint(path string) (h appHandler, methods string) {
	switch path {
	case reserved + "login":
		return s.appLogin, "GET"
	case reserved + "session":
		return s.appSession, "GET"
	case reserved + "logout":
		return s.appLogout, "GET, POST"
	case reserved + "userinfo":
		return s.userinfo, "GET"
	}
	return nil, ""
}

// view returns the apps, or the problem of not having any yet.
func (s *Service) view() (AppView, error) {
	if v := s.apps(); v != nil {
		return v, nil
	}
	return nil, &PageError{Status: http.StatusServiceUnavailable, Title: "Starting up", Text: "Signing in is not ready yet. Try again in a moment."}
}

// appOf finds the app whose host was asked. The public host is never one.
func (s *Service) appOf(r *http.Request) (*authz.App, target, error) {
	v, err := s.view()
	if err != nil {
		return nil, target{}, err
	}
	app, ok := v.App(hostOf(r.Host))
	if !ok || hostOf(r.Host) == strings.Trim(s.public.host, "[]") {
		return nil, target{}, notFound("No app is registered for this host.")
	}
	t, err := asked(app, r.Host, "/")
	if err != nil {
		return nil, target{}, notFound("No app is registered for this host.")
	}
	return app, t, nil
}

// onPublicHost keeps /login and the like off every other host name that leads
// to the listener: the cookies set there open everything.
func (s *Service) onPublicHost(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if hostOf(r.Host) != strings.Trim(s.public.host, "[]") {
			return &PageError{Status: http.StatusMisdirectedRequest, Title: "Wrong address",
				Text: "Signing in lives at another address.", Links: []Link{{"Go there", s.public.String()}}}
		}
		// Who sits in the network must not be asked for this host in clear (RFC 6797).
		// On loopback nobody does, and plain http is served there at other times.
		if s.public.scheme == "https" && !isLoopback(s.public.host) {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		return h(w, r)
	}
}

// current is the session of a secret, if it is live and what it stood on is.
func (s *Service) current(sec secret) *entry {
	found := s.sessions.bySecret(s.now(), sec)
	if found == nil || s.directory.Ended(found.session) {
		return nil
	}
	return found
}

func (s *Service) keySet(w http.ResponseWriter, r *http.Request) {
	set, err := s.signer.keys.Load().published(s.now()).set()
	if err != nil {
		s.log.ErrorContext(r.Context(), "key set could not be written", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(jwksAge.Seconds())))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(set) // the client may be gone
}

func (s *Service) count(ctx context.Context, step, outcome string) {
	s.outcomes.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("step", step), attribute.String("outcome", outcome))))
}
