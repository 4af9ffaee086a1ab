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
	"sync"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/authz/decisionlog"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/probe"
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

// Organizations makes, changes and ends customers, in WorkOS and here.
// *sso.Organizations does.
type Organizations interface {
	Create(ctx context.Context, n sso.NewOrganization) (sso.Organization, error)
	Update(ctx context.Context, id string, p sso.OrganizationPatch) (sso.Organization, error)
	Delete(ctx context.Context, id string) error
	Domains(ctx context.Context, id string) ([]sso.OrganizationDomain, error)
}

var _ Organizations = (*sso.Organizations)(nil)

// API holds what the handlers need. All fields but CatchUp, Probes,
// Keys and AdminPolicies are required.
type API struct {
	Tokens        *Tokens
	Policy        AdminPolicy
	Audit         *audit.Log // nil: nothing that changes anything is done
	Apps          *apps.Registry
	Directory     *directory.Directory
	Organizations Organizations
	Sessions      *sso.Sessions
	Decisions     *decisionlog.Log
	ServiceTokens *ServiceTokens
	Portal        Portal
	PublicURL     *url.URL // where portal links may lead back to, beside an organization's apps
	// MachineProblems says what of an app's opt-in to machines cannot work.
	MachineProblems func(*authz.App) []string
	CatchUp         CatchUp       // nil: turned off
	Probes          *probe.Room   // nil: there are none
	Keys            KeyRotator    // nil: keys are rotated elsewhere
	AdminPolicies   AdminPolicies // nil: the admin policy is the one that is built in
	// Published returns when decisions are made from at least this revision,
	// so that what an answer confirms is in force.
	Published func(ctx context.Context, revision uint64) error
	Log       *slog.Logger

	refusals audit.Refusals
	within   struct { // what As serves
		once    sync.Once
		handler http.Handler
	}
}

// Mount adds the API below /api/v1 and its description beside it.
func (a *API) Mount(r gin.IRouter) {
	r.Match([]string{http.MethodGet, http.MethodHead}, "/api/v1/openapi.json", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/json", openapi)
	})
	a.mount(r, a.authenticate)
}

// mount adds the routes, for whom authenticate lets on.
func (a *API) mount(r gin.IRouter, authenticate gin.HandlerFunc) {
	g := r.Group("/api/v1", func(c *gin.Context) { c.Header("Cache-Control", "no-store") }, authenticate)
	for _, rt := range a.routes() {
		g.Handle(rt.method, rt.path, a.handle(rt))
		if rt.method == http.MethodGet {
			g.HEAD(rt.path, a.handle(rt))
		}
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
