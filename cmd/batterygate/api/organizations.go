package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
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
	all := []organizationBody{}
	for _, o := range a.Directory.View().Organizations() {
		all = append(all, shownOrganization(o))
	}
	return page(c, all, func(b organizationBody) string { return b.ID })
}

func (a *API) createOrganization(c *gin.Context) error {
	in, err := body[sso.NewOrganization](c)
	if err != nil {
		return err
	}
	o, err := a.Organizations.Create(c.Request.Context(), in)
	if err != nil {
		return organizationProblem(err)
	}
	made(c, shownOrganization(directory.Organization(o)))
	a.Log.InfoContext(c.Request.Context(), "organization created", "organization_id", o.ID, "slug", o.Slug)
	c.JSON(http.StatusCreated, shownOrganization(directory.Organization(o)))
	return nil
}

// findOrganization returns the organization that the path names.
func (a *API) findOrganization(c *gin.Context) (directory.Organization, error) {
	o, ok := a.Directory.View().Organization(c.Param("id"))
	if !ok {
		return directory.Organization{}, problem(http.StatusNotFound, "No organization has this id.")
	}
	return o, nil
}

func (a *API) getOrganization(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, shownOrganization(o))
	return nil
}

func (a *API) listConnections(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Connections(o.ID), func(x directory.Connection) string { return x.ID })
}

func (a *API) listDirectories(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Directories(o.ID), func(x directory.Info) string { return x.ID })
}

// mappingsBody is what GET answers, so that it can be edited and sent back. What
// the server says of a mapping, and who wrote it when, is read over. Mappings
// is nil if it is missing, which must not take everybody's roles away.
type mappingsBody struct {
	Mappings   *[]directory.BoundMapping `json:"mappings"`
	UpdatedBy  any                       `json:"updated_by"`
	UpdatedAt  any                       `json:"updated_at"`
	RoleSource any                       `json:"role_source"`
}

func (b *mappingsBody) mappings() ([]directory.Mapping, error) {
	if b.Mappings == nil {
		return nil, invalid("The role mappings are missing.", []FieldError{{"mappings", "is missing; an empty list takes all roles away"}})
	}
	out := make([]directory.Mapping, 0, len(*b.Mappings))
	for _, m := range *b.Mappings {
		out = append(out, m.Mapping)
	}
	return out, nil
}

func (a *API) getMappings(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	return showTagged(c, a.Directory.View().Mappings(o.ID))
}

// replaceMappings lets an actor who may grant some roles only replace what it was
// allowed to change, and nobody else's change with it; and so who sent If-Match.
func (a *API) replaceMappings(c *gin.Context, org string, cond condition, next []directory.Mapping) (directory.Mappings, uint64, error) {
	now, narrow := a.Directory.View().Mappings(org), limited(actor(c))
	if !cond.holds(etag(now)) {
		return directory.Mappings{}, 0, stale(cond)
	}
	if !narrow && !cond.compares() {
		return a.Directory.PutMappings(c.Request.Context(), org, next, actorID(c))
	}
	before := []directory.Mapping{}
	for _, m := range now.Mappings {
		before = append(before, m.Mapping)
	}
	if narrow {
		if err := a.grantProblem(c, GrantableChange(c.Request.Context(), a.Policy, actor(c), org, before, next)); err != nil {
			return directory.Mappings{}, 0, err
		}
	}
	// What was read is compared again, in the transaction.
	return a.Directory.ReplaceMappings(c.Request.Context(), org, before, next, actorID(c))
}

func (a *API) putMappings(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	cond, err := ifMatch(c)
	if err != nil {
		return err
	}
	in, err := body[mappingsBody](c)
	if err != nil {
		return err
	}
	next, err := in.mappings()
	if err != nil {
		return err
	}
	stored, revision, err := a.replaceMappings(c, o.ID, cond, next)
	if err != nil {
		return changedProblem(cond, directoryProblem(err))
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "role mappings replaced", "organization_id", o.ID, "mappings", len(stored.Mappings))
	c.JSON(http.StatusOK, stored)
	return nil
}

func actorID(c *gin.Context) string {
	who := actor(c)
	return who.Kind + ":" + who.ID
}

// findDirectory returns the directory that the path names.
func (a *API) findDirectory(c *gin.Context) (directory.Info, error) {
	d, ok := a.Directory.View().Directory(c.Param("id"))
	if !ok {
		return directory.Info{}, problem(http.StatusNotFound, "No directory has this id.")
	}
	return d, nil
}

func (a *API) listUsers(c *gin.Context) error {
	d, err := a.findDirectory(c)
	if err != nil {
		return err
	}
	return page(c, a.Directory.View().Users(d.ID), func(u directory.User) string { return u.ID })
}

func (a *API) listGroups(c *gin.Context) error {
	d, err := a.findDirectory(c)
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
	case errors.Is(err, directory.ErrChanged):
		return changed()
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
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	if err := a.mayGrantAll(c, o.ID); err != nil {
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
	o, err := a.findOrganization(c)
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
