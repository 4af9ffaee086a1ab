package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

func (a *API) patchOrganization(c *gin.Context) error {
	in, err := body[sso.OrganizationPatch](c)
	if err != nil {
		return err
	}
	if in == (sso.OrganizationPatch{}) {
		return problem(http.StatusUnprocessableEntity, "Nothing is to be changed: give name, slug or domains.")
	}
	o, err := a.Organizations.Update(c.Request.Context(), c.Param("id"), in)
	if err != nil {
		return organizationProblem(err)
	}
	c.JSON(http.StatusOK, shownOrganization(directory.Organization(o)))
	return nil
}

// deleteOrganization does not look first whether it is known here: what is left
// of it at WorkOS goes too.
func (a *API) deleteOrganization(c *gin.Context) error {
	if err := a.Organizations.Delete(c.Request.Context(), c.Param("id")); err != nil {
		return organizationProblem(err)
	}
	c.Status(http.StatusNoContent)
	return nil
}

func (a *API) listDomains(c *gin.Context) error {
	all, err := a.Organizations.Domains(c.Request.Context(), c.Param("id"))
	if err != nil {
		return organizationProblem(err)
	}
	sortBy(all, func(d sso.OrganizationDomain) string { return d.ID })
	return page(c, all, func(d sso.OrganizationDomain) string { return d.ID })
}

// organizationState is what the audit shows of the organization in a path.
func (a *API) organizationState(c *gin.Context) any {
	o, ok := a.Directory.View().Organization(c.Param("id"))
	if !ok {
		return nil
	}
	return shownOrganization(o)
}

// organizationProblem is the one table from the errors of organizations to
// statuses.
func organizationProblem(err error) error {
	caused := func(status int, detail string) error {
		p := problem(status, detail)
		p.cause = err
		return p
	}
	switch {
	case errors.Is(err, sso.ErrHalfCreated):
		return caused(http.StatusConflict, "WorkOS has the new organization, but it could not be claimed here: "+err.Error())
	case errors.Is(err, sso.ErrHalfUpdated):
		return caused(http.StatusConflict, "WorkOS has the change, but it could not be kept here: "+err.Error())
	case errors.Is(err, sso.ErrHalfDeleted):
		return caused(http.StatusConflict, "WorkOS has deleted the organization, but it could not be deleted here: "+err.Error())
	case errors.Is(err, sso.ErrInvalidOrganization):
		return problem(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, sso.ErrSlugTaken):
		return problem(http.StatusConflict, "The slug belongs, or once belonged, to another organization.")
	case errors.Is(err, sso.ErrSlugInUse), errors.Is(err, sso.ErrOperators):
		return problem(http.StatusConflict, err.Error())
	case errors.Is(err, sso.ErrNoOrganization):
		return problem(http.StatusNotFound, "No organization has this id.")
	case errors.Is(err, workosapi.ErrUnavailable), errors.Is(err, workosapi.ErrRateLimited):
		return caused(http.StatusBadGateway, "WorkOS does not answer; nothing was changed here. Try again.")
	}
	return err
}

type pairingsBody struct {
	Pairings []directory.Pairing `json:"pairings"`
}

func (a *API) pairings(org string) pairingsBody {
	out := pairingsBody{Pairings: a.Directory.View().Pairings(org)}
	if out.Pairings == nil {
		out.Pairings = []directory.Pairing{}
	}
	return out
}

func (a *API) pairingsState(c *gin.Context) any { return a.pairings(c.Param("id")) }

func (a *API) getPairings(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	return showTagged(c, a.pairings(o.ID))
}

// putPairings says which directory the people of a connection are of.
func (a *API) putPairings(c *gin.Context) error {
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	cond, err := ifMatch(c)
	if err != nil {
		return err
	}
	in, err := body[pairingsBody](c)
	if err != nil {
		return err
	}
	if in.Pairings == nil { // [] has a meaning, and must be meant
		return invalid("The pairings are missing.", []FieldError{{"pairings", "is a list; an empty one brings the automatic rule back"}})
	}
	revision, err := a.replacePairings(c, o.ID, cond, in.Pairings)
	if err != nil {
		return changedProblem(cond, directoryProblem(err))
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	c.JSON(http.StatusOK, a.pairings(o.ID))
	return nil
}

// replacePairings compares for whoever sent If-Match: a list that is out of date
// would trust a connection again that somebody took the trust from.
func (a *API) replacePairings(c *gin.Context, org string, cond condition, next []directory.Pairing) (uint64, error) {
	now := a.pairings(org)
	switch {
	case !cond.holds(etag(now)):
		return 0, stale(cond)
	case !cond.compares():
		return a.Directory.PutPairings(c.Request.Context(), org, next, actorID(c))
	}
	return a.Directory.ReplacePairings(c.Request.Context(), org, now.Pairings, next, actorID(c))
}

type linkBody struct {
	ProfileID       string `json:"profile_id"`
	DirectoryUserID string `json:"directory_user_id"`
}

// createLink says which directory user a person who signs in is, also where
// another one was pinned.
func (a *API) createLink(c *gin.Context) error {
	in, err := body[linkBody](c)
	if err != nil {
		return err
	}
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	revision, err := a.Directory.Relink(c.Request.Context(), o.ID, in.ProfileID, in.DirectoryUserID)
	if err != nil {
		return directoryProblem(err)
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	c.JSON(http.StatusCreated, in)
	return nil
}

// linkState is the directory user that the profile of a request is linked to.
func (a *API) linkState(c *gin.Context) any {
	in := peek[linkBody](c)
	out := linkBody{ProfileID: in.ProfileID}
	for _, s := range a.Sessions.List(sso.Filter{OrganizationID: c.Param("id"), User: in.ProfileID}) {
		if u, ok := a.Directory.View().ResolveLink(s.Session); ok {
			out.DirectoryUserID = u
			return out
		}
	}
	// Nobody is signed in with it: what is pinned is all that can be told.
	s := &authz.Session{OrganizationID: c.Param("id"), UserID: in.ProfileID}
	if a.Directory.View().Pinned(s) {
		if u, ok := a.Directory.View().ResolveLink(s); ok {
			out.DirectoryUserID = u
		}
	}
	return out
}
