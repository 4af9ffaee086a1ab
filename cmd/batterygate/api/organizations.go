package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

type organizationBody struct {
	ID      string   `json:"id"`
	Slug    string   `json:"slug"`
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
}

func shownOrganization(o directory.Organization) organizationBody {
	out := organizationBody{ID: o.ID, Slug: o.Slug, Name: o.Name, Domains: o.Domains}
	if out.Domains == nil {
		out.Domains = []string{}
	}
	return out
}

func (a *API) listOrganizations(c *gin.Context) error {
	if err := a.allow(c, "organizations.list", resource("organization", "", "")); err != nil {
		return err
	}
	all := []organizationBody{}
	for _, o := range a.Directory.View().Organizations() {
		all = append(all, shownOrganization(o))
	}
	return page(c, all, func(b organizationBody) string { return b.ID })
}

func (a *API) createOrganization(c *gin.Context) error {
	if err := a.allow(c, "organizations.create", resource("organization", "", "")); err != nil {
		return err
	}
	in, err := body[sso.NewOrganization](c)
	if err != nil {
		return err
	}
	o, err := a.Organizations.Create(c.Request.Context(), in)
	switch {
	case errors.Is(err, sso.ErrHalfCreated):
		p := problem(http.StatusConflict, "WorkOS has the new organization, but it could not be claimed here: "+err.Error())
		p.cause = err
		return p
	case errors.Is(err, sso.ErrInvalidOrganization):
		return problem(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, sso.ErrSlugTaken):
		return problem(http.StatusConflict, "The slug belongs, or once belonged, to another organization.")
	case errors.Is(err, workosapi.ErrUnavailable), errors.Is(err, workosapi.ErrRateLimited):
		p := problem(http.StatusBadGateway, "WorkOS does not answer; nothing was created here. Try again.")
		p.cause = err
		return p
	case err != nil:
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "organization created", "organization_id", o.ID, "slug", o.Slug)
	c.JSON(http.StatusCreated, shownOrganization(directory.Organization(o)))
	return nil
}

// findOrganization asks the admin policy before it tells whether there is one.
func (a *API) findOrganization(c *gin.Context, action string) (directory.Organization, error) {
	id := c.Param("id")
	if err := a.allow(c, action, resource("organization", id, id)); err != nil {
		return directory.Organization{}, err
	}
	o, ok := a.Directory.View().Organization(id)
	if !ok {
		return directory.Organization{}, problem(http.StatusNotFound, "No organization has this id.")
	}
	return o, nil
}

func (a *API) getOrganization(c *gin.Context) error {
	o, err := a.findOrganization(c, "organizations.read")
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, shownOrganization(o))
	return nil
}

func (a *API) listConnections(c *gin.Context) error {
	o, err := a.findOrganization(c, "organizations.read")
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Connections(o.ID), func(x directory.Connection) string { return x.ID })
}

func (a *API) listDirectories(c *gin.Context) error {
	o, err := a.findOrganization(c, "organizations.read")
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Directories(o.ID), func(x directory.Info) string { return x.ID })
}

type mappingsBody struct {
	Mappings []directory.Mapping `json:"mappings"`
}

func (a *API) getMappings(c *gin.Context) error {
	o, err := a.findOrganization(c, "role-mappings.read")
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, a.Directory.View().Mappings(o.ID))
	return nil
}

func (a *API) putMappings(c *gin.Context) error {
	in, err := body[mappingsBody](c)
	if err != nil {
		return err
	}
	o, err := a.findOrganization(c, "role-mappings.update")
	if err != nil {
		return err
	}
	stored, revision, err := a.Directory.PutMappings(c.Request.Context(), o.ID, in.Mappings, actorID(c))
	if err != nil {
		return directoryProblem(err)
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "role mappings replaced", "organization_id", o.ID, "mappings", len(stored.Mappings))
	c.JSON(http.StatusOK, stored)
	return nil
}

func actorID(c *gin.Context) string {
	actor, _ := c.MustGet(actorKey).(engine.Actor)
	return actor.Kind + ":" + actor.ID
}

// findDirectory asks the admin policy before it tells whether there is one.
func (a *API) findDirectory(c *gin.Context, action string) (directory.Info, error) {
	id := c.Param("id")
	d, ok := a.Directory.View().Directory(id)
	if err := a.allow(c, action, resource("directory", id, d.OrganizationID)); err != nil {
		return directory.Info{}, err
	}
	if !ok {
		return directory.Info{}, problem(http.StatusNotFound, "No directory has this id.")
	}
	return d, nil
}

func (a *API) listUsers(c *gin.Context) error {
	d, err := a.findDirectory(c, "directories.read")
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Users(d.ID), func(u directory.User) string { return u.ID })
}

func (a *API) listGroups(c *gin.Context) error {
	d, err := a.findDirectory(c, "directories.read")
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Groups(d.ID), func(g directory.Group) string { return g.ID })
}

// directoryProblem is the one table from the directory's errors to statuses.
func directoryProblem(err error) error {
	switch {
	case errors.Is(err, directory.ErrInvalid):
		return problem(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, directory.ErrNotFound):
		return problem(http.StatusNotFound, err.Error())
	}
	return err
}

type roleSourceBody struct {
	Source string `json:"source"`
}

// putRoleSource says whose word roles are: the mappings of this API, or the
// roles that WorkOS itself assigns to directory users.
func (a *API) putRoleSource(c *gin.Context) error {
	in, err := body[roleSourceBody](c)
	if err != nil {
		return err
	}
	o, err := a.findOrganization(c, "role-mappings.update")
	if err != nil {
		return err
	}
	revision, err := a.Directory.PutRoleSource(c.Request.Context(), o.ID, in.Source, actorID(c))
	if err != nil {
		return directoryProblem(err)
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "role source set", "organization_id", o.ID, "source", in.Source, "actor", actorID(c))
	c.JSON(http.StatusOK, a.Directory.View().Mappings(o.ID))
	return nil
}

// whyRoles tells where each of a user's roles comes from.
func (a *API) whyRoles(c *gin.Context) error {
	o, err := a.findOrganization(c, "role-mappings.read")
	if err != nil {
		return err
	}
	user := c.Query("user")
	if user == "" {
		return problem(http.StatusBadRequest, "user is missing: a directory user's id or e-mail.")
	}
	why, ok := a.Directory.View().Why(o.ID, user)
	if !ok {
		return problem(http.StatusNotFound, "The organization's directories know no such user.")
	}
	c.JSON(http.StatusOK, why)
	return nil
}
