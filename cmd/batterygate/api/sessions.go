package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

type sessionBody struct {
	*authz.Session
	LastSeen time.Time `json:"last_seen"`
}

// listSessions shows sessions that still open something: one whose user,
// connection or organization is gone is over, though its record may linger. A
// user is named as in the decision log: profile id, directory user id or e-mail.
func (a *API) listSessions(c *gin.Context) error {
	who := c.Query("user")
	view := a.Directory.View()
	all := []sessionBody{}
	for _, s := range a.Sessions.List(sso.Filter{OrganizationID: c.Query("org")}) {
		u, ended := view.User(s.Session)
		named := who == "" || who == s.UserID || strings.EqualFold(who, s.Email) || u != nil && who == u.ID
		if named && !ended {
			all = append(all, sessionBody{s.Session, s.LastSeen})
		}
	}
	sortBy(all, func(s sessionBody) string { return s.ID })
	return page(c, all, func(s sessionBody) string { return s.ID })
}

func (a *API) revokeSession(c *gin.Context) error {
	id := c.Param("id")
	err := a.Sessions.Revoke(c.Request.Context(), id)
	switch {
	case errors.Is(err, sso.ErrNoSession):
		return problem(http.StatusNotFound, "No session has this id.")
	case err != nil:
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "session revoked", "session_id", id)
	c.Status(http.StatusNoContent)
	return nil
}
