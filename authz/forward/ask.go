package forward

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"battery.app/gate/authz"
)

// question is what one gateway asked, before anything in it is believed.
type question struct {
	door   *door
	caller caller
	header http.Header // of the app's request, names in canonical case
	trace  http.Header // where the gateway's own trace context is, if not in header

	// contract reads the door's own words into req. It is called for trusted
	// callers only.
	contract func(req *authz.Request) *authz.Fault
}

// ask is the one path from a question to an answer. It asks the Checker once,
// whatever happens: a panic before that point is put to it as a fault, so that
// it is recorded like every other refusal.
func (d *Doors) ask(ctx context.Context, q *question) (a answer) {
	req := &authz.Request{Dialect: q.door.dialect, Gateway: q.caller.name, Time: d.opt.Now()}
	asked := false
	var dec *authz.Decision
	defer func() {
		if p := recover(); p != nil {
			id := ""
			if dec != nil {
				id = dec.ID
			}
			d.opt.Log.ErrorContext(ctx, "panic at a door; denied", "door", q.door.dialect.Name, "decision_id", id,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			a = bareRefusal(dec)
			if !asked {
				a = d.afterPanic(ctx, req)
			}
		}
	}()

	var hand *handled
	var mark string
	if !q.caller.trusted {
		// Nothing that this peer says is read, not even into the record.
		req.Fault = &authz.Fault{Code: authz.CodeUntrustedPeer}
	} else {
		ctx = d.readTrace(ctx, q, req)
		if req.Fault = d.read(q, req); req.Fault == nil {
			hand = d.reserved(ctx, q, req)
		}
		mark = d.readProbe(q, req)
	}

	asked = true
	dec = d.opt.Checker.Check(ctx, req)
	a = d.answer(ctx, q, req, dec, hand)
	switch {
	case a.allows():
		d.strip(&a, q, req)
	case q.door.envoy && grpcClient(q.header):
		a = grpcRefusal(a)
	case q.door.headersOnly:
		d.tellInHeaders(&a, q, req)
	}
	a.silent = d.observe(q, req, &a, mark)
	return a
}

// afterPanic has a question recorded that ask could not put. Its own failure is
// still a denial.
func (d *Doors) afterPanic(ctx context.Context, broken *authz.Request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = bareRefusal(nil)
		}
	}()
	req := &authz.Request{
		Dialect: broken.Dialect, Gateway: broken.Gateway, Time: broken.Time, TraceID: broken.TraceID,
		Method: broken.Method, Scheme: broken.Scheme, Host: broken.Host, Port: broken.Port, Path: broken.Path,
		Fault: &authz.Fault{Code: authz.CodePolicyError, Message: "The question could not be read."},
	}
	return refusal(req, d.opt.Checker.Check(ctx, req), nil)
}

// read makes the request canonical.
func (d *Doors) read(q *question, req *authz.Request) *authz.Fault {
	fault := d.screen(q.header, q.door)
	if f := q.contract(req); fault == nil {
		fault = f
	}
	if f := d.readRoute(q, req); fault == nil {
		fault = f
	}
	if req.ClientIP.IsValid() {
		// The door knows the nearest hop itself; see grpc.go.
		if d.trusts(req.ClientIP) && len(q.header["X-Forwarded-For"]) > 0 {
			req.ClientIP = d.clientIP(q.header["X-Forwarded-For"])
		}
	} else {
		req.ClientIP = d.clientIP(q.header["X-Forwarded-For"])
	}
	if fault != nil {
		return fault
	}
	if fault = d.readBearer(q, req); fault != nil {
		return fault
	}
	req.Headers = d.readable(q.header)
	req.Tokens = sessionTokens(q.header["Cookie"], d.cookieName(req))
	req.Navigation = navigation(req.Method, q.header)
	req.Preflight = preflight(req.Method, q.header)
	return nil
}

// cookieName is the session cookie's name. The one of plain http, which any sibling
// host can plant, counts for apps that are served over plain http alone: whoever
// opens the http address of another must not be somebody else there.
func (d *Doors) cookieName(req *authz.Request) string {
	if req.Scheme == "http" {
		if app, ok := d.opt.Apps(req.Host); ok && app.Scheme == "http" {
			return d.cookies[0]
		}
	}
	return d.cookies[1]
}

// readTrace joins the trace that the gateway began (W3C traceparent). Two
// traceparents are none.
func (d *Doors) readTrace(ctx context.Context, q *question, req *authz.Request) context.Context {
	if d.opt.Propagator == nil {
		return ctx
	}
	h := q.trace
	if len(h["Traceparent"]) == 0 {
		h = q.header
	}
	if len(h["Traceparent"]) != 1 {
		return ctx
	}
	ctx = d.opt.Propagator.Extract(ctx, propagation.HeaderCarrier(h))
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		req.TraceID = sc.TraceID().String()
	}
	return ctx
}
