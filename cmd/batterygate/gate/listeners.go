package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/gin-gonic/gin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"battery.app/gate/authz"
	"battery.app/gate/authz/authzen"
	"battery.app/gate/authz/forward"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/listen"
	"battery.app/gate/cmd/batterygate/settings"
	"battery.app/gate/sso"
	"battery.app/gate/store"
	"battery.app/gate/sync/feed"
)

// serve will answer on a listener with h, once the gate runs.
func (g *Gate) serve(on net.Listener, h http.Handler) *http.Server {
	s := listen.Server(h, g.Log)
	g.servers = append(g.servers, server{http: s, on: on})
	return s
}

// openDoors wires the question path: doors → Checker → engine, sessions, log.
func (g *Gate) openDoors(context.Context) error {
	measured, err := authz.NewTelemetry(g.telemetry.Tracer, g.telemetry.Meter)
	if err != nil {
		return err
	}
	doors, err := forward.New(forward.Options{
		Checker: &authz.Checker{
			Snapshots: g.engine, Sessions: g.sessions, Recorder: g.decisions, Machines: g.machines, Probes: g.probes, Telemetry: measured, Log: g.Log, Now: g.Now,
		},
		Signer: g.sso, Logins: g.sso, Endpoints: g.sso.AppEndpoints(),
		Apps:    func(host string) (*authz.App, bool) { return g.Apps.View().App(host) },
		Trusted: g.cfg.Trusted(), SharedSecret: g.cfg.SharedSecret(), CookieName: sso.SessionCookieName,
		Prefix: g.cfg.Identity.HeaderPrefix, PolicyHeaders: g.cfg.Policy.Headers, RequestHeaders: g.cfg.Policy.RequestHeaders,
		ClientCertificate: g.cfg.Gateway.ClientCA != "", BoundRoutes: g.cfg.Gateway.BoundRoutes, CookieRewrite: g.cfg.Gateway.CookieRewrite,
		Probes: g.probes, Now: g.Now, Log: g.Log, Propagator: g.telemetry.Propagator,
	})
	if err != nil {
		return err
	}
	secure, err := g.doorTLS()
	if err != nil {
		return err
	}
	on := g.Listeners.Authz
	var questions []grpc.ServerOption
	if secure != nil {
		on = tls.NewListener(on, secure)
		questions = append(questions, grpc.Creds(credentials.NewTLS(secure)))
	}
	// net/http would answer "OPTIONS *" with 200 by itself.
	g.serve(on, doors.HTTP()).DisableGeneralOptionsHandler = true

	g.grpc = doors.GRPC(questions...)
	healthy := health.NewServer()
	healthy.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(g.grpc, healthy)
	reflection.Register(g.grpc)
	return nil
}

// doorTLS is the TLS of both listeners that gateways ask; nil: they speak none.
// With client authorities nobody gets as far as a question without a certificate.
func (g *Gate) doorTLS() (*tls.Config, error) {
	if g.cfg.Gateway.TLSCertFile == "" {
		return nil, nil
	}
	own, err := listen.LoadCertificate(g.cfg.Gateway.TLSCertFile, g.cfg.Gateway.TLSKeyFile, g.Now, func(err error) {
		g.Log.Error("the changed certificate of the gateways' listeners cannot be used; the one before still is", "error", err)
	})
	if err != nil {
		return nil, fmt.Errorf("gateway.tls_cert_file: %w", err)
	}
	if ca := g.cfg.ClientCA(); ca != nil {
		out, err := forward.ClientTLS(own.Config(), ca)
		if err != nil {
			return nil, fmt.Errorf("gateway.client_ca: %w", err)
		}
		return out, nil
	}
	return own.Config(), nil
}

// openPublic wires what the internet may reach.
func (g *Gate) openPublic(context.Context) error {
	o := feed.Options{
		Secrets: g.cfg.WebhookSecrets(), Directory: g.Directory, Published: g.Published,
		AllowFrom: g.cfg.WebhookAllowFrom(), TrustedProxies: g.cfg.Trusted(),
		Now: g.Now, Log: g.Log, Meter: g.telemetry.Meter,
	}
	if g.catchUp != nil {
		o.Delivered = g.catchUp.Delivered
	}
	hooks, err := feed.NewWebhooks(o)
	if err != nil {
		return err
	}
	// Apps that ask about finer things than requests ask here, with a token.
	asked, err := authzen.New(authzen.Options{
		Snapshots: g.engine, Recorder: g.decisions, BaseURL: g.publicURL().String(), Now: g.Now, Log: g.Log,
		Callers: &api.Callers{Tokens: g.Tokens, Policy: g.admin, Stands: func(org string) bool { _, ok := g.Directory.View().Organization(org); return ok }},
	})
	if err != nil {
		return err
	}
	r := newRouter(g.Log, "/access/", "/webhooks/")
	asked.Mount(r)
	hooks.Mount(r)
	g.sso.Mount(r)
	pages, err := g.settings()
	if err != nil {
		return err
	}
	pages.Mount(r)
	g.public = r
	g.serve(g.Listeners.Public, r)
	return nil
}

// settings are the pages of customers' IT admins.
func (g *Gate) settings() (*settings.Pages, error) {
	return settings.New(settings.Options{
		PublicURL: g.publicURL(), SignIn: g.sso, Policy: g.admin, Directory: g.Directory, Portal: g.workos, Audit: g.audit, Published: g.Published,
		PortalHosts: g.cfg.WorkOS.PortalHosts,
		Roles:       g.rolesInUse,
		OwnProvider: func(org string) bool {
			return slices.ContainsFunc(g.cfg.OIDC, func(p config.OIDC) bool { return p.Organization == org })
		},
		ClientIP: func(r *http.Request) netip.Addr { return clientIP(g.cfg.Trusted(), r) },
		Limited:  g.sso.LimitPicker, Now: g.Now, Log: g.Log,
	})
}

// rolesInUse are the roles that mean something to an organization: what its apps
// allow, and what its people may be granted.
func (g *Gate) rolesInUse(org string) []string {
	roles := slices.Clone(g.cfg.ITAdmins.GrantableRoles)
	for _, app := range g.Apps.View().List() {
		if app.OrganizationID == org {
			roles = append(roles, app.AllowedRoles...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// openAdmin wires what operators reach.
func (g *Gate) openAdmin(context.Context) error {
	r := newRouter(g.Log, "/api/")
	r.Use(api.HostCheck(g.adminHosts()))
	looks := []string{http.MethodGet, http.MethodHead} // load balancers look by HEAD
	r.Match(looks, "/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	r.Match(looks, "/readyz", g.ready)
	r.Match(looks, "/metrics", gin.WrapH(g.telemetry.Metrics))
	admin := &api.API{
		Tokens: g.Tokens, Policy: g.admin, Apps: g.Apps, Directory: g.Directory, Organizations: g.organizations(),
		Sessions: g.sessions, Decisions: g.decisions, ServiceTokens: g.services, Portal: g.workos, PublicURL: g.publicURL(), MachineProblems: g.machines.Problems, Published: g.Published, Log: g.Log,
		Audit: g.audit, Probes: g.probes, Keys: rotator{g.sso}, AdminPolicies: g.admin,
	}
	if g.catchUp != nil {
		admin.CatchUp = g.catchUp
	}
	admin.Mount(r)
	pages, err := g.console(admin)
	if err != nil {
		return err
	}
	pages.Mount(r)
	pages.MountPublic(g.public)
	g.serve(g.Listeners.Admin, r)
	return nil
}

// ready tells an orchestrator whether to send questions here.
func (g *Gate) ready(c *gin.Context) {
	if why := g.notReady(c.Request.Context()); why != "" {
		c.String(http.StatusServiceUnavailable, why+"\n")
		return
	}
	c.String(http.StatusOK, "ready\n")
}

// notReady is why no questions should be sent here; empty: they may be.
func (g *Gate) notReady(ctx context.Context) string {
	if g.engine.Current() == nil {
		return "no snapshot is published yet"
	}
	if _, err := g.store.Get(ctx, "ready/probe"); err != nil && !errors.Is(err, store.ErrNotFound) {
		return "the store does not answer"
	}
	return ""
}

// newRouter is a Gin engine that answers nothing by itself: what has no route
// is 404, or 405 where another method has one, in the form of problems below the
// prefixes that scripts ask; a panic is 500 and logged without the request's
// secrets.
func newRouter(log *slog.Logger, scripts ...string) *gin.Engine {
	r := gin.New()
	r.RedirectTrailingSlash = false
	r.ContextWithFallback = true
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, p any) {
		log.ErrorContext(c.Request.Context(), "panic while answering", "route", c.FullPath(), "panic", fmt.Sprint(p))
		c.AbortWithStatus(http.StatusInternalServerError)
	}))
	r.HandleMethodNotAllowed = true
	r.NoRoute(nothing(scripts, http.StatusNotFound, "Nothing is at this address."))
	r.NoMethod(nothing(scripts, http.StatusMethodNotAllowed, "This address does not take this method; the header Allow says which it takes."))
	return r
}

// nothing answers where no route is, in the form of what lies around there:
// scripts get problems, whoever else came gets a line.
func nothing(scripts []string, status int, detail string) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header("Cache-Control", "no-store")
		for _, prefix := range scripts {
			if strings.HasPrefix(c.Request.URL.Path+"/", prefix) {
				api.Refuse(c, status, detail)
				return
			}
		}
		c.String(status, detail+"\n")
	}
}

// publicURL is the public URL without a trailing slash.
func (g *Gate) publicURL() *url.URL {
	u := *g.cfg.URL()
	u.Path = ""
	return &u
}
