package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/cmd/batterygate/audit"
)

// listAudit shows who did what, newest first.
func (a *API) listAudit(c *gin.Context) error {
	if a.Audit == nil {
		return problem(http.StatusServiceUnavailable, "There is no audit.")
	}
	n, err := limit(c)
	if err != nil {
		return err
	}
	q := audit.Query{
		Actor: c.Query("actor"), Action: c.Query("action"), Resource: c.Query("resource"), Organization: c.Query("org"), Cursor: c.Query("cursor"), Limit: n,
	}
	if err := times(c, map[string]*time.Time{"from": &q.From, "to": &q.To}); err != nil {
		return err
	}
	entries, next, err := a.Audit.List(c.Request.Context(), q)
	switch {
	case errors.Is(err, audit.ErrBadCursor):
		return problem(http.StatusBadRequest, "cursor is not one that this server gave.")
	case err != nil:
		return err
	}
	return rows(c, entries, next)
}

// verifyAudit reads the whole chain. What it finds is an answer, not an error.
func (a *API) verifyAudit(c *gin.Context) error {
	if a.Audit == nil {
		return problem(http.StatusServiceUnavailable, "There is no audit.")
	}
	// A chain of years takes longer than an answer usually may.
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(verifyTime))
	report, err := a.Audit.Verify(c.Request.Context())
	switch {
	case errors.Is(err, audit.ErrBusy):
		return problem(http.StatusServiceUnavailable, "Old entries are being pruned. Ask again in a minute.")
	case err != nil:
		return err
	}
	if !report.Intact {
		a.Log.ErrorContext(c.Request.Context(), "the audit is not intact", "first_broken_seq", report.FirstBroken, "faults", report.Faults)
	}
	c.JSON(http.StatusOK, report)
	return nil
}

// verifyTime is how long verifying may take.
const verifyTime = 10 * time.Minute

// times reads query parameters that are RFC 3339 times.
func times(c *gin.Context, into map[string]*time.Time) (err error) {
	for name, at := range into {
		s := c.Query(name)
		if s == "" {
			continue
		}
		if *at, err = time.Parse(time.RFC3339, s); err != nil {
			return problem(http.StatusBadRequest, name+" must be a time such as 2026-03-01T12:00:00Z (RFC 3339).")
		}
	}
	return nil
}
