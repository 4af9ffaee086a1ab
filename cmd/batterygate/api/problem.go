package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
)

// Problem is an RFC 9457 problem: what the caller sees. What caused it is
// logged, not shown.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Errors are FieldErrors, or the faults of a policy.
	Errors any `json:"errors,omitempty"`

	cause   error
	changed bool // what it was decided on was changed in between
}

// FieldError points at one member of a request's body.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is the cause if there is one, else the detail.
func (p *Problem) Error() string {
	if p.cause != nil {
		return p.cause.Error()
	}
	return p.Title + ": " + p.Detail
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.cause }

func problem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// changed is a write that was decided on something that is not there any more.
func changed() *Problem {
	p := problem(http.StatusConflict, "This was changed in between, so nothing was changed now; read it again and decide anew.")
	p.changed = true
	return p
}

// invalid is a body whose parts are wrong in the named ways.
func invalid(detail string, faults []FieldError) *Problem {
	p := problem(http.StatusUnprocessableEntity, detail)
	p.Errors = faults
	return p
}

// serverError is all that callers, and readers of the audit, are told of what
// went wrong inside.
const serverError = "The server could not do this; its log says why."

// handle makes a route's requests run: one place writes problems and logs what
// the caller must not see.
func (a *API) handle(rt route) gin.HandlerFunc {
	return func(c *gin.Context) {
		err := a.run(c, rt)
		if err == nil {
			return
		}
		var p *Problem
		if !errors.As(err, &p) {
			p = problem(http.StatusInternalServerError, serverError)
			p.cause = err
		}
		if p.Status >= 500 {
			a.Log.ErrorContext(c.Request.Context(), "admin request failed", "method", c.Request.Method, "route", c.FullPath(), "error", err)
		}
		writeProblem(c, p)
	}
}

// Refuse answers a request that no route takes, in the form that the routes'
// own errors have.
func Refuse(c *gin.Context, status int, detail string) { writeProblem(c, problem(status, detail)) }

func writeProblem(c *gin.Context, p *Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		c.AbortWithStatus(http.StatusInternalServerError)
		return
	}
	c.Abort()
	c.Data(p.Status, "application/problem+json", body)
}
