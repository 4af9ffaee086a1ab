package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
)

// What a Snapshot's Evaluate returns when the policy gave no usable answer.
// Any other error is CodePolicyError.
var (
	ErrPolicyUndefined = errors.New("policy gives no decision")
	ErrPolicyTimeout   = errors.New("policy exceeded its time budget")
)

// Snapshots hands out the current snapshot. Current never blocks and may
// return nil before the first one is published.
type Snapshots interface {
	Current() Snapshot
}

// Snapshot is one immutable state of policy, apps and directory. A request
// uses exactly one, for everything.
type Snapshot interface {
	// App finds the app that owns a canonical host name.
	App(host string) (*App, bool)
	// User finds the directory user of a session: nil if there is none or it
	// is not clear which. ended is true if what the session stood on (its
	// user, connection or organization) is gone: the session is over.
	User(s *Session) (u *User, ended bool)
	// Stale reports whether the organization's directory data is older than
	// its bound.
	Stale(organizationID string) bool
	// Evaluate asks the policy. It returns within the time budget.
	Evaluate(ctx context.Context, in *Input) (Verdict, error)
	// ReadsQuery reports whether the policy reads input.request.query; if it
	// does not, the query never enters a record.
	ReadsQuery() bool
	PolicyRevision() string
	DataRevision() uint64
}

// Sessions finds the live session that the request's cookies name for an app.
// Where there is none it returns nil and why: CodeNoSession,
// CodeSessionExpired or CodeSessionRevoked.
type Sessions interface {
	Session(now time.Time, app *App, host string, tokens []string) (*Session, string)
}

// Recorder takes one Record per decision. Record never blocks and owns r.
type Recorder interface {
	Record(r *Record)
}

// Checker is the path from a Request to a Decision. All fields are required but
// Machines and Probes: without the one, apps that take machines refuse every
// credential, without the other there are no probes.
type Checker struct {
	Snapshots Snapshots
	Sessions  Sessions
	Machines  Machines
	Probes    Probes
	Recorder  Recorder
	Telemetry *Telemetry
	Log       *slog.Logger
	Now       func() time.Time
}

// Check answers a request. It never fails and never panics: whatever goes
// wrong is a Decision that denies, and every call makes exactly one Record.
func (c *Checker) Check(ctx context.Context, req *Request) *Decision {
	start := c.Now()
	rec := &Record{
		ID: newID(), Time: req.Time,
		Gateway: req.Gateway, Door: req.Dialect.Name,
		Method: req.Method, Scheme: req.Scheme, Host: req.Authority(), Path: req.Path,
		TraceID: req.TraceID, Headers: req.Headers,
	}
	if rec.Time.IsZero() {
		rec.Time = start
	}
	if req.ClientIP.IsValid() {
		rec.ClientIP = req.ClientIP.String()
	}
	ctx, span := c.Telemetry.start(ctx, rec)

	d := c.decide(ctx, req, rec)
	d.ID = rec.ID
	d.status = status(req, d)

	rec.Result, rec.Status = d.Result(), d.Status()
	rec.Reasons, rec.Roles = d.Reasons, d.Roles
	rec.App, rec.Session, rec.User = d.App, d.Session, d.User
	rec.Duration = c.Now().Sub(start)
	c.Telemetry.end(ctx, span, rec)
	c.Recorder.Record(rec)
	return d
}

// decide is the ladder. Each rung can only refuse, but for that of CORS preflights,
// which an app may let pass; the last asks the policy.
func (c *Checker) decide(ctx context.Context, req *Request, rec *Record) (d *Decision) {
	d = &Decision{}
	defer func() {
		if p := recover(); p != nil {
			c.Log.ErrorContext(ctx, "panic while deciding; denied", "decision_id", rec.ID,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			d = refuse(d, Because(CodePolicyError))
		}
	}()

	snap := c.Snapshots.Current()
	if snap == nil {
		c.Log.ErrorContext(ctx, "no snapshot is published yet; denied", "decision_id", rec.ID)
		return refuse(d, Because(CodePolicyError))
	}
	rec.PolicyRevision, rec.DataRevision = snap.PolicyRevision(), snap.DataRevision()

	if app, ok := snap.App(req.Host); ok {
		d.App = app
	}
	if f := req.Fault; f != nil {
		r := Because(f.Code)
		if f.Message != "" {
			r.Message = f.Message
		}
		return refuse(d, r)
	}
	if d.App == nil || !d.App.HasAuthority(req.Host, req.Port) || (req.AppID != "" && req.AppID != d.App.ID) {
		d.App = nil
		return refuse(d, Because(CodeUnknownHost))
	}
	others, refusal := otherReadings(req, d.App)
	if refusal != nil {
		return refuse(d, *refusal)
	}
	if a := req.Answered; a != nil {
		return refuse(d, Because(a.Code))
	}
	if preflight(req, d.App) {
		d.result, d.Reasons = Allow, []Reason{Because(CodeCORSPreflight)}
		return d
	}

	refused, machine := c.machine(ctx, snap, req, rec.Time, d)
	if refused != nil {
		d = refuse(d, *refused)
		d.result = Challenge
		return d
	}
	var none string
	if !machine {
		none = c.person(snap, req, rec.Time, d)
		c.probe(snap, req, rec.Time, d)
	}
	rec.Stale = snap.Stale(d.App.OrganizationID)
	if snap.ReadsQuery() {
		rec.Query = req.Query
	}

	return c.evaluate(ctx, snap, req, rec, d, others, none)
}

// evaluate is the last rung: the policy's word on the request, and on every other
// reading of its path. none is why nobody is signed in, if so.
func (c *Checker) evaluate(ctx context.Context, snap Snapshot, req *Request, rec *Record, d *Decision, others []string, none string) *Decision {
	// A gateway that hangs up must not turn a good policy into a policy_error;
	// the time budget is what ends an evaluation.
	in := &Input{Request: req, App: d.App, Session: d.Session, User: d.User, Stale: rec.Stale}
	v, reading, err := evaluateEach(context.WithoutCancel(ctx), snap, in, others)
	rec.Reading = reading
	if err != nil {
		c.Log.WarnContext(ctx, "policy gave no answer; denied", "decision_id", rec.ID,
			"app_id", d.App.ID, "policy_revision", rec.PolicyRevision, "error", err)
		return refuse(d, Because(evaluationCode(err)))
	}
	rec.Cached = v.Cached
	d.Reasons, d.Roles, d.Headers = v.Reasons, v.Roles, v.Headers
	switch {
	case v.Allow:
		d.result = Allow
	case d.Session == nil:
		d.result = Challenge
		d.Reasons = whyNoSession(v.Reasons, none)
	case reading != "":
		d.Reasons = append([]Reason{{Code: CodeAmbiguousPath, Message: notEveryReading}}, v.Reasons...)
	}
	return d
}

// preflight reports whether a request passes as a CORS preflight. Browsers send
// those without cookies and expect an answer from the app before they send the
// request itself, so nobody is looked up and nobody is named to the app.
func preflight(req *Request, app *App) bool {
	return app.CORSPreflight && req.Preflight && req.Method == http.MethodOptions
}

// person is the rung of requests that bring a session cookie or nothing. It says
// why where nobody is signed in.
func (c *Checker) person(snap Snapshot, req *Request, at time.Time, d *Decision) (none string) {
	d.Session, none = c.Sessions.Session(at, d.App, req.Host, req.Tokens)
	if d.Session == nil {
		return none
	}
	var ended bool
	if d.User, ended = snap.User(d.Session); ended {
		d.Session, d.User = nil, nil
		return CodeSessionRevoked
	}
	return none
}

// refuse turns a decision under way into a deny for one reason. Nothing that
// the policy said before survives it.
func refuse(d *Decision, r Reason) *Decision {
	return &Decision{App: d.App, Session: d.Session, User: d.User, Reasons: []Reason{r}, bearer: d.bearer}
}

// whyNoSession tells an expired or revoked session from none at all, which the
// policy cannot see: to it, both are a null session.
func whyNoSession(said []Reason, code string) []Reason {
	if code == CodeNoSession || code == "" {
		if len(said) > 0 {
			return said
		}
		return []Reason{Because(CodeNoSession)}
	}
	out := []Reason{Because(code)}
	for _, r := range said {
		if r.Code != CodeNoSession {
			out = append(out, r)
		}
	}
	return out
}

func evaluationCode(err error) string {
	switch {
	case errors.Is(err, ErrPolicyTimeout):
		return CodePolicyTimeout
	case errors.Is(err, ErrPolicyUndefined):
		return CodePolicyUndefined
	}
	return CodePolicyError
}

// status is the answer table of the doors, in one place for all dialects.
func status(req *Request, d *Decision) int {
	switch {
	case d.result == Allow:
		return http.StatusOK
	case d.result == Challenge && req.Navigation && !req.Dialect.NoRedirect && !d.bearer:
		return http.StatusFound
	case d.result == Challenge:
		return http.StatusUnauthorized
	case req.Answered != nil && req.Fault == nil && req.Answered.Status >= 300 && req.Answered.Status < 500 && d.Code() == req.Answered.Code:
		return req.Answered.Status
	case req.Fault != nil && req.Fault.Malformed && !req.Dialect.No400:
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// newID returns a UUIDv7, so that ids sort by time. Without randomness there is
// no id and the program cannot go on.
func newID() string { return uuid.Must(uuid.NewV7()).String() }
