package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/decisionlog"
)

func (a *API) listDecisions(c *gin.Context) error {
	f, err := decisionFilter(c)
	if err != nil {
		return err
	}
	if err := a.allow(c, "decisions.list", resource("decision", "", f.OrganizationID)); err != nil {
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
	for name, at := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		s := c.Query(name)
		if s == "" {
			continue
		}
		if *at, err = time.Parse(time.RFC3339, s); err != nil {
			return f, problem(http.StatusBadRequest, name+" must be a time such as 2026-03-01T12:00:00Z (RFC 3339).")
		}
	}
	return f, nil
}

func (a *API) getDecision(c *gin.Context) error {
	if err := a.Decisions.Flush(c.Request.Context()); err != nil {
		return err
	}
	row, err := a.Decisions.Decision(c.Request.Context(), c.Param("id"))
	if err != nil && !errors.Is(err, decisionlog.ErrNotFound) {
		return err
	}
	// Whether the caller may look is asked first, so that "not found" tells
	// nothing to who may not.
	if err := a.allow(c, "decisions.read", resource("decision", c.Param("id"), row.OrganizationID)); err != nil {
		return err
	}
	if err != nil {
		return problem(http.StatusNotFound, "No decision has this id.")
	}
	c.JSON(http.StatusOK, row)
	return nil
}

func (a *API) listGaps(c *gin.Context) error {
	n, err := limit(c)
	if err != nil {
		return err
	}
	if err := a.allow(c, "decisions.list", resource("decision", "", "")); err != nil {
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
