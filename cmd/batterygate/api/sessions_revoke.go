package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
)

// revocation chooses the sessions to end: by exactly one member, or by an
// organization and a user in it.
type revocation struct {
	OrganizationID string `json:"organization_id"`
	User           string `json:"user"` // profile id, e-mail, or directory user id
	ConnectionID   string `json:"connection_id"`
	All            bool   `json:"all"`
}

func (r revocation) valid() bool {
	n := 0
	for _, given := range []bool{r.OrganizationID != "", r.User != "", r.ConnectionID != "", r.All} {
		if given {
			n++
		}
	}
	return n == 1 || n == 2 && r.OrganizationID != "" && r.User != ""
}

// theRevoked is the organization whose sessions are to end, as far as the
// request names one; who may act in one organization alone must name it.
func (a *API) theRevoked(c *gin.Context) (engine.Resource, error) {
	in := peek[revocation](c)
	org := in.OrganizationID
	if in.ConnectionID != "" && org == "" {
		x, _ := a.Directory.View().Connection(in.ConnectionID)
		org = x.OrganizationID
	}
	return resource("session", "", org), nil
}

// revokeSessions ends many sessions at once.
func (a *API) revokeSessions(c *gin.Context) error {
	in, err := body[revocation](c)
	if err != nil {
		return err
	}
	if !in.valid() {
		return problem(http.StatusUnprocessableEntity, "Give exactly one of organization_id, user, connection_id and all, or organization_id and user.")
	}
	n, err := a.revoke(c.Request.Context(), in)
	out := map[string]int{"revoked": n}
	made(c, out)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, out)
	return nil
}

// revoke returns how many sessions it ended, also beside an error.
func (a *API) revoke(ctx context.Context, in revocation) (int, error) {
	view := a.Directory.View()
	if u, ok := view.UserByID(in.User); ok && in.User != "" {
		return a.revokeDirectoryUser(ctx, view, u, in.OrganizationID)
	}
	return a.Sessions.RevokeWhere(ctx, sso.Filter{OrganizationID: in.OrganizationID, User: in.User, ConnectionID: in.ConnectionID})
}

// revokeDirectoryUser ends the sessions that are linked to a directory user. One
// that is linked to nobody is nobody's, whatever its e-mail says.
func (a *API) revokeDirectoryUser(ctx context.Context, view *directory.View, u directory.User, org string) (int, error) {
	if org != "" && org != u.OrganizationID {
		return 0, nil
	}
	return a.Sessions.RevokeWhere(ctx, sso.Filter{OrganizationID: u.OrganizationID, Is: func(s *authz.Session) bool {
		id, ok := view.ResolveLink(s)
		return ok && id == u.ID
	}})
}

// sessionState is what the audit shows of the session that a path names.
func (a *API) sessionState(c *gin.Context) any {
	s, err := a.Sessions.Get(c.Param("id"))
	if err != nil {
		return nil
	}
	return map[string]any{"id": s.ID, "user_id": s.UserID, "organization_id": s.OrganizationID, "connection_id": s.ConnectionID, "issued_at": s.IssuedAt}
}
