package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/decisionlog"
	"battery.app/gate/authz/engine"
)

func (a *API) listDecisions(c *gin.Context) error {
	f, err := decisionFilter(c)
	if err != nil {
		return err
	}
	// What was decided before this question is part of its answer.
	if err := a.Decisions.Flush(c.Request.Context()); err != nil {
		return err
	}
	page, err := a.Decisions.Decisions(c.Request.Context(), f)
	switch {
	case errors.Is(err, decisionlog.ErrBadCursor):
		return problem(http.StatusBadRequest, "cursor is not one that this server gave.")
	case errors.Is(err, decisionlog.ErrBadFilter):
		return problem(http.StatusBadRequest, err.Error())
	case err != nil:
		return err
	}
	return rows(c, page.Rows, page.NextCursor)
}

func decisionFilter(c *gin.Context) (decisionlog.Filter, error) {
	n, err := limit(c)
	if err != nil {
		return decisionlog.Filter{}, err
	}
	f := decisionlog.Filter{
		OrganizationID: c.Query("org"), AppID: c.Query("app"), User: c.Query("user"), Result: c.Query("result"),
		Reason: c.Query("reason"), Path: c.Query("path"), Cursor: c.Query("cursor"), Limit: n,
	}
	switch f.Result {
	case "", "allow", "deny", "challenge":
	default:
		return f, problem(http.StatusBadRequest, "result must be allow, deny or challenge.")
	}
	return f, times(c, map[string]*time.Time{"from": &f.From, "to": &f.To})
}

func (a *API) getDecision(c *gin.Context) error {
	row, err := a.Decisions.Decision(c.Request.Context(), c.Param("id"))
	if errors.Is(err, decisionlog.ErrNotFound) {
		return problem(http.StatusNotFound, "No decision has this id.")
	}
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, row)
	return nil
}

// theDecision looks the decision up, because whose it is decides who may look.
func (a *API) theDecision(c *gin.Context) (engine.Resource, error) {
	if err := a.Decisions.Flush(c.Request.Context()); err != nil {
		return engine.Resource{}, err
	}
	row, err := a.Decisions.Decision(c.Request.Context(), c.Param("id"))
	if err != nil && !errors.Is(err, decisionlog.ErrNotFound) {
		return engine.Resource{}, err
	}
	return resource("decision", c.Param("id"), row.OrganizationID), nil
}

func (a *API) listGaps(c *gin.Context) error {
	n, err := limit(c)
	if err != nil {
		return err
	}
	page, err := a.Decisions.Gaps(c.Request.Context(), c.Query("cursor"), n)
	switch {
	case errors.Is(err, decisionlog.ErrBadCursor):
		return problem(http.StatusBadRequest, "cursor is not one that this server gave.")
	case err != nil:
		return err
	}
	return rows(c, page.Gaps, page.NextCursor)
}

// rows writes a page that the decision log cut.
func rows[T any](c *gin.Context, data []T, next string) error {
	out := list[T]{Data: data}
	if data == nil {
		out.Data = []T{}
	}
	if next != "" {
		out.NextCursor = &next
	}
	c.JSON(http.StatusOK, out)
	return nil
}
