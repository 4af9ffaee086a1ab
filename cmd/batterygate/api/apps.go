package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
)

// appBody is an app as the API takes and gives it.
type appBody struct {
	ID             string              `json:"id"`
	OrganizationID string              `json:"organization_id"`
	Hosts          []string            `json:"hosts"`
	AllowedRoles   []string            `json:"allowed_roles"`
	Public         bool                `json:"public"`
	Path           string              `json:"path"`
	CORSPreflight  bool                `json:"cors_preflight"`
	Identity       []string            `json:"identity"`
	Labels         map[string]string   `json:"labels"`
	Machines       authz.MachineAccess `json:"machines,omitzero"`
	MaxAgeSeconds  int                 `json:"max_age_seconds,omitempty"`
	Configured     bool                `json:"configured,omitempty"` // read-only: it lives in the configuration file
}

func (a *API) shownApp(app *authz.App) appBody {
	out := appBody{
		ID: app.ID, OrganizationID: app.OrganizationID, Hosts: app.Hosts, AllowedRoles: app.AllowedRoles, Public: app.Public,
		Path: app.PathMode, CORSPreflight: app.CORSPreflight, Identity: app.Identity, Labels: app.Labels, Machines: app.Machines, MaxAgeSeconds: app.MaxAgeSeconds, Configured: a.Apps.Configured(app.ID),
	}
	if out.AllowedRoles == nil {
		out.AllowedRoles = []string{}
	}
	if out.Identity == nil {
		out.Identity = []string{}
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	return out
}

func (b appBody) app() authz.App {
	return authz.App{
		ID: b.ID, OrganizationID: b.OrganizationID, Hosts: b.Hosts, AllowedRoles: b.AllowedRoles, Public: b.Public,
		PathMode: b.Path, CORSPreflight: b.CORSPreflight, Identity: b.Identity, Labels: b.Labels, Machines: b.Machines, MaxAgeSeconds: b.MaxAgeSeconds,
	}
}

func (a *API) listApps(c *gin.Context) error {
	org := c.Query("org")
	all := []appBody{}
	for _, app := range a.Apps.View().List() {
		if org == "" || app.OrganizationID == org {
			all = append(all, a.shownApp(app))
		}
	}
	return page(c, all, func(b appBody) string { return b.ID })
}

func (a *API) getApp(c *gin.Context) error {
	app, err := a.findApp(c)
	if err != nil {
		return err
	}
	return showTagged(c, a.shownApp(app))
}

// findApp returns the app that the path names. Of one that exists and is not
// served it says why: nobody should have to search the log for that.
func (a *API) findApp(c *gin.Context) (*authz.App, error) {
	view := a.Apps.View()
	if app, ok := view.ByID(c.Param("id")); ok {
		return app, nil
	}
	for _, l := range view.LeftOut() {
		if l.ID == c.Param("id") {
			return nil, problem(http.StatusNotFound, "This app exists and is not served: "+l.Reason+".")
		}
	}
	return nil, problem(http.StatusNotFound, "No app has this id.")
}

func (a *API) createApp(c *gin.Context) error {
	in, err := body[appBody](c)
	if err != nil {
		return err
	}
	if err := a.ownerExists(in.OrganizationID); err != nil {
		return err
	}
	if err := a.machinesWork(in); err != nil {
		return err
	}
	app, revision, err := a.Apps.Create(c.Request.Context(), in.app())
	if err != nil {
		return appProblem(err)
	}
	made(c, a.shownApp(app))
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "app created", "app_id", app.ID, "organization_id", app.OrganizationID)
	c.JSON(http.StatusCreated, a.shownApp(app))
	return nil
}

// machinesWork refuses an opt-in that could never let anything in, such as an
// issuer that is not configured or is another organization's.
func (a *API) machinesWork(in appBody) error {
	app := in.app()
	if !app.TakesMachines() {
		return nil
	}
	problems := a.MachineProblems(&app)
	if len(problems) == 0 {
		return nil
	}
	var faults []FieldError
	for _, text := range problems {
		faults = append(faults, FieldError{Field: "machines", Message: text})
	}
	return invalid("The app's opt-in to machines cannot work.", faults)
}

// ownerExists: an app of an organization we do not know could never be opened
// by anybody, which is surely a slip.
func (a *API) ownerExists(org string) error {
	if _, ok := a.Directory.View().Organization(org); !ok {
		return invalid("The app has no known owner.", []FieldError{{Field: "organization_id", Message: "is not an organization here"}})
	}
	return nil
}

func (a *API) putApp(c *gin.Context) error {
	id := c.Param("id")
	if a.Apps.Configured(id) { // whatever the body says
		return appProblem(apps.ErrReadOnly)
	}
	old, err := a.findApp(c)
	if err != nil {
		return err
	}
	cond, err := ifMatch(c)
	if err != nil {
		return err
	}
	in, err := body[appBody](c)
	if err != nil {
		return err
	}
	if in.ID == "" {
		in.ID = id
	}
	if in.ID != id {
		return problem(http.StatusUnprocessableEntity, "The body's id is not the URL's.")
	}
	// Giving an app to another organization needs the right to do it there too.
	if in.OrganizationID != old.OrganizationID {
		if err := a.allow(c, "apps.create", resource("app", id, in.OrganizationID)); err != nil {
			return err
		}
		if err := a.ownerExists(in.OrganizationID); err != nil {
			return err
		}
	}
	if err := a.machinesWork(in); err != nil {
		return err
	}
	app, revision, err := a.Apps.ReplaceIf(c.Request.Context(), in.app(), a.still(c, cond))
	if err != nil {
		return changedProblem(cond, appProblem(err))
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "app replaced", "app_id", app.ID)
	c.JSON(http.StatusOK, a.shownApp(app))
	return nil
}

// still is asked, in the transaction that changes an app, about the one that is
// there: whether it is the one of If-Match, and belongs to whom the policy was
// asked about. nil: there is nothing to ask, and an app that nobody can read can
// be deleted.
func (a *API) still(c *gin.Context, cond condition) func(*authz.App) bool {
	owner := asked(c).OrganizationID // empty: it is not served
	if owner == "" && !cond.compares() {
		return nil
	}
	return func(now *authz.App) bool {
		return (owner == "" || now.OrganizationID == owner) && cond.holds(etag(a.shownApp(now)))
	}
}

// changedProblem turns the conflict with a change in between into the answer to
// whoever asked for the compare.
func changedProblem(cond condition, err error) error {
	var p *Problem
	if cond.compares() && errors.As(err, &p) && p.changed {
		return stale(cond)
	}
	return err
}

func (a *API) deleteApp(c *gin.Context) error {
	// Not only those that are served: that of a deleted organization can go too.
	id := c.Param("id")
	cond, err := ifMatch(c)
	if err != nil {
		return err
	}
	revision, err := a.Apps.DeleteIf(c.Request.Context(), id, a.still(c, cond))
	if err != nil {
		return changedProblem(cond, appProblem(err))
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "app deleted", "app_id", id)
	c.Status(http.StatusNoContent)
	return nil
}

// appState is what the audit shows of the app that a path names.
func (a *API) appState(c *gin.Context) any {
	app, ok := a.Apps.View().ByID(c.Param("id"))
	if !ok {
		return nil
	}
	return a.shownApp(app)
}

// appProblem is the one table from the registry's errors to statuses.
func appProblem(err error) error {
	var wrong *apps.ValidationError
	switch {
	case errors.As(err, &wrong):
		var faults []FieldError
		for _, f := range wrong.Faults {
			faults = append(faults, FieldError(f))
		}
		return invalid("The app is not valid.", faults)
	case errors.Is(err, apps.ErrNotFound):
		return problem(http.StatusNotFound, "No app has this id.")
	case errors.Is(err, apps.ErrExists):
		return problem(http.StatusConflict, "An app with this id exists already; if no list shows it, ask for it by its id and read why it is not served.")
	case errors.Is(err, apps.ErrReadOnly):
		return problem(http.StatusConflict, "This app lives in the configuration file and is read-only here.")
	case errors.Is(err, apps.ErrChanged):
		return changed()
	case errors.Is(err, apps.ErrHostTaken):
		return problem(http.StatusConflict, "One of the hosts belongs to another app.")
	}
	return err
}
