package api

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
)

// route is one thing that can be asked for. Who may ask is decided, and what
// changes something is recorded, from what stands here and before its handler
// runs: a handler can forget neither.
type route struct {
	method, path string
	action       string // of the admin policy
	// on says what the action is about. It tells the caller nothing; its error
	// ends the request.
	on      func(*gin.Context) (engine.Resource, error)
	handler func(*gin.Context) error
	// state is what the audit shows before and after. nil: the route only
	// reads, or its handler tells what it made (made).
	state func(*gin.Context) any
}

// mutating reports whether the route changes anything, by its method.
func (r route) mutating() bool { return r.method != http.MethodGet }

// routes is the whole of the API; openapi.json describes the same and a test
// compares the two.
func (a *API) routes() []route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	return []route{
		{get, "/organizations", "organizations.list", all("organization"), a.listOrganizations, nil},
		{post, "/organizations", "organizations.create", all("organization"), a.createOrganization, nil},
		{get, "/organizations/:id", "organizations.read", theOrganization, a.getOrganization, nil},
		{patch, "/organizations/:id", "organizations.update", theOrganization, a.patchOrganization, a.organizationState},
		{del, "/organizations/:id", "organizations.delete", theOrganization, a.deleteOrganization, a.organizationState},
		{get, "/organizations/:id/domains", "organizations.read", theOrganization, a.listDomains, nil},
		{get, "/organizations/:id/connections", "organizations.read", theOrganization, a.listConnections, nil},
		{get, "/organizations/:id/directories", "organizations.read", theOrganization, a.listDirectories, nil},
		{get, "/organizations/:id/role-mappings", "role-mappings.read", theOrganization, a.getMappings, nil},
		{put, "/organizations/:id/role-mappings", "role-mappings.update", theOrganization, a.putMappings, a.mappingsState},
		{put, "/organizations/:id/role-source", "role-mappings.update", theOrganization, a.putRoleSource, a.mappingsState},
		{get, "/organizations/:id/roles/why", "role-mappings.read", theOrganization, a.whyRoles, nil},
		{get, "/organizations/:id/pairings", "organizations.read", theOrganization, a.getPairings, nil},
		{put, "/organizations/:id/pairings", "pairings.update", theOrganization, a.putPairings, a.pairingsState},
		{post, "/organizations/:id/links", "links.update", theOrganization, a.createLink, a.linkState},
		{post, "/organizations/:id/portal-links", "portal-links.create", theOrganization, a.createPortalLink, nil},
		{get, "/organizations/:id/service-tokens", "service-tokens.list", theOrganization, a.listServiceTokens, nil},
		{post, "/organizations/:id/service-tokens", "service-tokens.create", theOrganization, a.createServiceToken, nil},
		{del, "/organizations/:id/service-tokens/:token", "service-tokens.revoke", theOrganization, a.revokeServiceToken, a.serviceTokenState},
		{get, "/directories/:id/users", "directories.read", a.theDirectory, a.listUsers, nil},
		{get, "/directories/:id/groups", "directories.read", a.theDirectory, a.listGroups, nil},
		{post, "/directories/:id/reconcile", "sync.reconcile", a.theDirectory, a.reconcileOne, nil},
		{put, "/directories/:id/paused", "directories.pause", a.theDirectory, a.pauseDirectory, a.directoryState},
		{get, "/sync", "sync.read", all("sync"), a.getSync, nil},
		{post, "/sync/reconcile", "sync.reconcile", all("sync"), a.reconcileAll, nil},
		{post, "/sync/brake/:id/approve", "sync.approve", a.theDirectory, a.approveBrake, a.directoryState},
		{post, "/sync/brake/:id/extend", "sync.approve", a.theDirectory, a.extendBrake, a.directoryState},
		{get, "/apps", "apps.list", ofQuery("app"), a.listApps, nil},
		{post, "/apps", "apps.create", theNewApp, a.createApp, nil},
		{get, "/apps/:id", "apps.read", a.theApp, a.getApp, nil},
		{put, "/apps/:id", "apps.update", a.theApp, a.putApp, a.appState},
		{del, "/apps/:id", "apps.delete", a.theApp, a.deleteApp, a.appState},
		{get, "/decisions", "decisions.list", ofQuery("decision"), a.listDecisions, nil},
		{get, "/decisions/gaps", "decisions.list", all("decision"), a.listGaps, nil},
		{get, "/decisions/:id", "decisions.read", a.theDecision, a.getDecision, nil},
		{get, "/sessions", "sessions.list", ofQuery("session"), a.listSessions, nil},
		{post, "/sessions/revoke", "sessions.revoke", a.theRevoked, a.revokeSessions, nil},
		{del, "/sessions/:id", "sessions.revoke", a.theSession, a.revokeSession, a.sessionState},
		{get, "/tokens", "tokens.list", all("token"), a.listTokens, nil},
		{post, "/tokens", "tokens.create", theNewToken, a.createToken, nil},
		{del, "/tokens/:id", "tokens.revoke", a.theToken, a.revokeToken, a.tokenState},
		{post, "/probes", "probes.create", a.theNewProbe, a.createProbe, nil},
		{get, "/probes/:id", "probes.read", a.theProbe, a.getProbe, nil},
		{del, "/probes/:id", "probes.delete", a.theProbe, a.deleteProbe, a.probeState},
		{get, "/keys", "keys.list", all("key"), a.listKeys, nil},
		{post, "/keys/:purpose/rotate", "keys.rotate", theKey, a.rotateKey, a.keyState},
		{get, "/admin-policies", "admin-policies.list", all("admin-policy"), a.listAdminPolicies, nil},
		{post, "/admin-policies", "admin-policies.create", all("admin-policy"), a.pushAdminPolicy, nil},
		{post, "/admin-policies/rollback", "admin-policies.rollback", all("admin-policy"), a.rollBackAdminPolicy, a.adminPolicyState},
		{post, "/admin-policies/:revision/activate", "admin-policies.activate", theRevision, a.activateAdminPolicy, a.adminPolicyState},
		{get, "/audit", "audit.list", ofQuery("audit"), a.listAudit, nil},
		{get, "/audit/verify", "audit.read", all("audit"), a.verifyAudit, nil},
	}
}

// resource names what an action is about.
func resource(kind, id, organizationID string) engine.Resource {
	return engine.Resource{Type: kind, ID: id, OrganizationID: organizationID}
}

type resourceOf = func(*gin.Context) (engine.Resource, error)

// all are all of a kind.
func all(kind string) resourceOf {
	return func(*gin.Context) (engine.Resource, error) { return resource(kind, "", ""), nil }
}

// ofQuery are those of a kind that belong to the organization of ?org=, or all.
func ofQuery(kind string) resourceOf {
	return func(c *gin.Context) (engine.Resource, error) { return resource(kind, "", c.Query("org")), nil }
}

func theOrganization(c *gin.Context) (engine.Resource, error) {
	return resource("organization", c.Param("id"), c.Param("id")), nil
}

func theKey(c *gin.Context) (engine.Resource, error) {
	return resource("key", c.Param("purpose"), ""), nil
}

func theRevision(c *gin.Context) (engine.Resource, error) {
	return resource("admin-policy", c.Param("revision"), ""), nil
}

func (a *API) theDirectory(c *gin.Context) (engine.Resource, error) {
	d, _ := a.Directory.View().Directory(c.Param("id"))
	return resource("directory", c.Param("id"), d.OrganizationID), nil
}

func (a *API) theApp(c *gin.Context) (engine.Resource, error) {
	org := ""
	if app, ok := a.Apps.View().ByID(c.Param("id")); ok {
		org = app.OrganizationID
	}
	return resource("app", c.Param("id"), org), nil
}

func theNewApp(c *gin.Context) (engine.Resource, error) {
	in := peek[appBody](c)
	return resource("app", in.ID, in.OrganizationID), nil
}

func (a *API) theSession(c *gin.Context) (engine.Resource, error) {
	org := ""
	if s, err := a.Sessions.Get(c.Param("id")); err == nil {
		org = s.OrganizationID
	}
	return resource("session", c.Param("id"), org), nil
}

func (a *API) theToken(c *gin.Context) (engine.Resource, error) {
	t, _ := a.Tokens.Get(c.Request.Context(), c.Param("id"))
	return resource("token", c.Param("id"), t.OrganizationID), nil
}

func theNewToken(c *gin.Context) (engine.Resource, error) {
	return resource("token", "", peek[newToken](c).OrganizationID), nil
}

// peek reads a body ahead of its handler, which reads the same bytes in the same
// way and refuses what is wrong with them.
func peek[T any](c *gin.Context) T {
	var v T
	_ = json.NewDecoder(bytes.NewReader(sent(c))).Decode(&v)
	return v
}
