package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
	"battery.app/gate/authz/machines"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/probe"
)

const (
	sentKey  = "sent"  // the body of a mutating request
	madeKey  = "made"  // what its handler made
	askedKey = "asked" // what the admin policy was asked about
)

// run does a request: who may is asked first; what changes something, and all
// that a break-glass token asks, is recorded before and after.
func (a *API) run(c *gin.Context, rt route) error {
	if rt.mutating() {
		if err := keepBody(c); err != nil {
			return err
		}
	}
	res, err := rt.on(c)
	if err != nil {
		return err
	}
	c.Set(askedKey, res)
	who := actor(c)
	if who.Kind == kindBreakGlass {
		a.Log.WarnContext(c.Request.Context(), "break-glass token used", "token_id", who.ID, "method", rt.method, "path", cleaned(c.Request.URL.Path), "remote_ip", c.RemoteIP())
	}
	if !rt.mutating() && who.Kind != kindBreakGlass {
		if err := a.allow(c, rt.action, res); err != nil {
			return err
		}
		return rt.handler(c)
	}
	if a.Audit == nil {
		return problem(http.StatusServiceUnavailable, "There is no audit, so nothing is done.")
	}
	shown := resource(res.Type, cleaned(res.ID), cleaned(res.OrganizationID))
	act := audit.Act{Actor: who, Action: rt.action, Resource: shown, RemoteIP: c.RemoteIP()}
	if err := a.allow(c, rt.action, res); err != nil {
		act.Request = request(c, rt, audit.RefusedAtMost)
		a.refused(c, act, err)
		return err
	}
	act.Request = request(c, rt, maxBody)
	return a.recorded(c, rt, act)
}

// refused records that an act was not allowed. That it cannot be recorded is
// logged by the audit; the act is refused all the same.
func (a *API) refused(c *gin.Context, act audit.Act, why error) {
	a.Log.WarnContext(c.Request.Context(), "admin act refused", "action", act.Action, "actor", actorID(c), "resource", act.Resource.Type+":"+act.Resource.ID, "remote_ip", act.RemoteIP)
	if out, kept := a.refusals.Outcome(actorID(c), a.Tokens.Now(), outcome(why, http.StatusForbidden)); kept {
		_ = a.Audit.Record(c.Request.Context(), act, out)
	}
}

// recorded does what act says: its intent is stored before, its outcome before
// the caller is told.
func (a *API) recorded(c *gin.Context, rt route, act audit.Act) (err error) {
	pending, err := a.Audit.Begin(c.Request.Context(), act)
	if err != nil {
		p := problem(http.StatusServiceUnavailable, "The act cannot be recorded now, so it was not done. Try again.")
		p.cause = err
		return p
	}
	var before any
	if rt.state != nil {
		before = rt.state(c)
	}
	answer := holdBack(c)
	finished := false
	defer func() {
		if !finished { // a panic, which goes on from here
			err = problem(http.StatusInternalServerError, "The act ended in a panic.")
		}
		out := outcome(err, answer.status)
		out.Before = before
		if rt.state != nil {
			out.After = rt.state(c)
		} else if v, ok := c.Get(madeKey); ok {
			out.After = v
		}
		if failed := pending.End(c.Request.Context(), out); failed != nil {
			// It is done, and the intent says that it was begun: the caller is
			// told the truth, and Verify shows the gap.
			a.Log.ErrorContext(c.Request.Context(), "outcome of an act could not be recorded", "intent", pending.Seq(), "error", failed)
		}
		c.Writer = answer.ResponseWriter
		if err == nil {
			answer.release()
		}
	}()
	if err = unconditional(c, rt); err == nil {
		err = rt.handler(c)
	}
	finished = true
	return err
}

// outcome is how an error, or an answer, reads in the audit.
func outcome(err error, status int) audit.Outcome {
	if err == nil {
		return audit.Outcome{Result: audit.Done, Status: status}
	}
	var p *Problem
	if !errors.As(err, &p) {
		return audit.Outcome{Result: audit.Failed, Status: http.StatusInternalServerError, Detail: serverError}
	}
	out := audit.Outcome{Result: audit.Failed, Status: p.Status, Detail: cleaned(p.Detail)}
	if p.Status == http.StatusForbidden {
		out.Result = audit.Refused
	}
	return out
}

// asked is what the admin policy was asked about. By the time that the store is
// written, what bears that name may be somebody else's.
func asked(c *gin.Context) engine.Resource {
	v, _ := c.Get(askedKey)
	res, _ := v.(engine.Resource)
	return res
}

// made tells the audit what the handler of a request made.
func made(c *gin.Context, v any) { c.Set(madeKey, v) }

// keepBody reads the body of a mutating request, so that the policy, the audit
// and the handler see the same bytes.
func keepBody(c *gin.Context) error {
	raw, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return problem(http.StatusRequestEntityTooLarge, "The body is over 1 MiB.")
	}
	if err != nil {
		return problem(http.StatusBadRequest, "The body could not be read: "+err.Error())
	}
	c.Set(sentKey, raw)
	c.Request.Body = io.NopCloser(bytes.NewReader(raw))
	return nil
}

func sent(c *gin.Context) []byte {
	v, _ := c.Get(sentKey)
	raw, _ := v.([]byte)
	return raw
}

// request is what the audit keeps of a request: its path, its query where it is
// a read, and its body without secrets, or the hash of a body that is longer
// than limit bytes or no JSON.
func request(c *gin.Context, rt route, limit int) any {
	out := map[string]any{"method": rt.method, "path": cleaned(c.Request.URL.Path)}
	if q := c.Request.URL.Query(); len(q) > 0 && !rt.mutating() {
		out["query"] = withoutSecrets(plain(q))
	}
	raw := sent(c)
	if len(raw) == 0 {
		return out
	}
	var body any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil || len(raw) > limit {
		sum := sha256.Sum256(raw)
		out["body"] = map[string]any{"sha256": hex.EncodeToString(sum[:]), "length": len(raw)}
		return out
	}
	out["body"] = withoutSecrets(body)
	return out
}

func plain(q map[string][]string) any {
	out := map[string]any{}
	for name, values := range q {
		out[name] = strings.Join(values, " ")
	}
	return out
}

// No body holds a secret by what the API asks for. These catch what a caller
// puts into one by mistake.
var (
	secretName  = regexp.MustCompile(`(?i)secret|password|^token$|api_?key|private`)
	secretValue = regexp.MustCompile(tokenPrefix + `[\w-]{8,}|` + probe.TokenPrefix + `[\w-]{8,}|` + machines.ServiceTokenPrefix + `[\w-]{8,}|sk_(live|test)_\w+|eyJ[\w-]{10,}\.[\w-]+`)
)

const removed = "[removed]"

// cleaned is a text without what looks like a secret.
func cleaned(s string) string { return secretValue.ReplaceAllString(s, removed) }

// withoutSecrets returns decoded JSON with what looks like a secret taken out.
func withoutSecrets(v any) any {
	switch v := v.(type) {
	case string:
		return cleaned(v)
	case []any:
		for i := range v {
			v[i] = withoutSecrets(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, x := range v {
			if secretName.MatchString(name) {
				x = removed
			}
			out[cleaned(name)] = withoutSecrets(x)
		}
		return out
	}
	return v
}

// held is an answer that is not sent yet: who is told that something was done
// must find it in the audit.
type held struct {
	gin.ResponseWriter
	status int
	body   bytes.Buffer
	wrote  bool
}

func holdBack(c *gin.Context) *held {
	h := &held{ResponseWriter: c.Writer, status: http.StatusOK}
	c.Writer = h
	return h
}

// Unwrap lets http.ResponseController reach the connection.
func (h *held) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *held) WriteHeader(status int) {
	if status > 0 {
		h.status = status
	}
}
func (h *held) WriteHeaderNow() { h.wrote = true }
func (h *held) Status() int     { return h.status }
func (h *held) Written() bool   { return h.wrote }
func (h *held) Size() int       { return h.body.Len() }
func (h *held) Flush()          {}

func (h *held) Write(p []byte) (int, error) {
	h.wrote = true
	return h.body.Write(p)
}

func (h *held) WriteString(s string) (int, error) { return h.Write([]byte(s)) }

// release sends the answer.
func (h *held) release() {
	h.ResponseWriter.WriteHeader(h.status)
	if h.body.Len() > 0 {
		_, _ = h.ResponseWriter.Write(h.body.Bytes()) // a caller that is gone misses its answer
		return
	}
	h.ResponseWriter.WriteHeaderNow()
}
