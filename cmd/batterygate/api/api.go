// Package api is the admin API, /api/v1: organizations, apps, role mappings,
// decisions, sessions and tokens, for operators and their scripts. Every
// request is put to the admin policy first; what it does not allow does not
// happen. Answers are JSON, errors RFC 9457 problems, lists pages.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/authz/decisionlog"
	"battery.app/gate/authz/engine"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
)

// AdminPolicy answers who may do what.
type AdminPolicy interface {
	Decide(ctx context.Context, in engine.AdminInput) (authz.Verdict, error)
}

// Portal makes Admin Portal links at WorkOS.
type Portal interface {
	PortalLink(ctx context.Context, organization, intent, returnURL, successURL string) (string, error)
}

// API holds what the handlers need. All fields but CatchUp are required.
type API struct {
	Tokens        *Tokens
	Policy        AdminPolicy
	Apps          *apps.Registry
	Directory     *directory.Directory
	Organizations *sso.Organizations
	Sessions      *sso.Sessions
	Decisions     *decisionlog.Log
	ServiceTokens *ServiceTokens
	Portal        Portal
	PublicURL     *url.URL // where portal links may lead back to, beside an organization's apps
	// MachineProblems says what of an app's opt-in to machines cannot work.
	MachineProblems func(*authz.App) []string
	CatchUp         CatchUp // nil: turned off
	// Published returns when decisions are made from at least this revision,
	// so that what an answer confirms is in force.
	Published func(ctx context.Context, revision uint64) error
	Log       *slog.Logger
}

type route struct {
	method, path string
	handler      func(*gin.Context) error
}

// routes is the whole of the API; openapi.json describes the same and a test
// compares the two.
func (a *API) routes() []route {
	return []route{
		{http.MethodGet, "/organizations", a.listOrganizations},
		{http.MethodPost, "/organizations", a.createOrganization},
		{http.MethodGet, "/organizations/:id", a.getOrganization},
		{http.MethodGet, "/organizations/:id/connections", a.listConnections},
		{http.MethodGet, "/organizations/:id/directories", a.listDirectories},
		{http.MethodGet, "/organizations/:id/role-mappings", a.getMappings},
		{http.MethodPut, "/organizations/:id/role-mappings", a.putMappings},
		{http.MethodPut, "/organizations/:id/role-source", a.putRoleSource},
		{http.MethodGet, "/organizations/:id/roles/why", a.whyRoles},
		{http.MethodPost, "/organizations/:id/portal-links", a.createPortalLink},
		{http.MethodGet, "/organizations/:id/service-tokens", a.listServiceTokens},
		{http.MethodPost, "/organizations/:id/service-tokens", a.createServiceToken},
		{http.MethodDelete, "/organizations/:id/service-tokens/:token", a.revokeServiceToken},
		{http.MethodGet, "/directories/:id/users", a.listUsers},
		{http.MethodGet, "/directories/:id/groups", a.listGroups},
		{http.MethodPost, "/directories/:id/reconcile", a.reconcileOne},
		{http.MethodPut, "/directories/:id/paused", a.pauseDirectory},
		{http.MethodGet, "/sync", a.getSync},
		{http.MethodPost, "/sync/reconcile", a.reconcileAll},
		{http.MethodPost, "/sync/brake/:id/approve", a.approveBrake},
		{http.MethodPost, "/sync/brake/:id/extend", a.extendBrake},
		{http.MethodGet, "/apps", a.listApps},
		{http.MethodPost, "/apps", a.createApp},
		{http.MethodGet, "/apps/:id", a.getApp},
		{http.MethodPut, "/apps/:id", a.putApp},
		{http.MethodDelete, "/apps/:id", a.deleteApp},
		{http.MethodGet, "/decisions", a.listDecisions},
		{http.MethodGet, "/decisions/gaps", a.listGaps},
		{http.MethodGet, "/decisions/:id", a.getDecision},
		{http.MethodGet, "/sessions", a.listSessions},
		{http.MethodDelete, "/sessions/:id", a.revokeSession},
		{http.MethodGet, "/tokens", a.listTokens},
		{http.MethodPost, "/tokens", a.createToken},
		{http.MethodDelete, "/tokens/:id", a.revokeToken},
	}
}

// Mount adds the API below /api/v1 and its description beside it.
func (a *API) Mount(r gin.IRouter) {
	r.GET("/api/v1/openapi.json", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/json", openapi)
	})
	g := r.Group("/api/v1", func(c *gin.Context) { c.Header("Cache-Control", "no-store") }, a.authenticate)
	for _, rt := range a.routes() {
		g.Handle(rt.method, rt.path, a.handle(rt.handler))
	}
}

// inForce waits until decisions are made from revision.
func (a *API) inForce(c *gin.Context, revision uint64) error {
	if err := a.Published(c.Request.Context(), revision); err != nil {
		p := problem(http.StatusServiceUnavailable, "The change is stored but not in force yet; ask again.")
		p.cause = err
		return p
	}
	return nil
}

// resource names what an action is about.
func resource(kind, id, organizationID string) engine.Resource {
	return engine.Resource{Type: kind, ID: id, OrganizationID: organizationID}
}
