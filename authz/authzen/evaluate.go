package authzen

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"battery.app/gate/authz"
)

// Codes of the reasons in records, beside those of package authz.
const (
	CodePermit = "authzen_permit"
	CodeDeny   = "authzen_deny"
)

// Door names these evaluations in records.
const Door = "authzen"

// Kind is that of the session in a record, which stands for the subject.
const Kind = "authzen"

// When a batch ends (§7.1.2.1).
const (
	executeAll     = "execute_all"
	untilFirstDeny = "deny_on_first_deny"
	untilPermit    = "permit_on_first_permit"
)

// result is one evaluation's answer.
type result struct {
	Decision bool           `json:"decision"`
	Context  map[string]any `json:"context,omitempty"`
}

// one answers a single evaluation.
func (s *Service) one(ctx context.Context, a *asking) (any, error) {
	q, err := questionOf(a.body, nil)
	if err != nil {
		return nil, err
	}
	in, text, err := a.input(q)
	if err != nil {
		return nil, err
	}
	return s.evaluate(ctx, a, q, in, text), nil
}

// many answers a batch, from one snapshot. Without evaluations it is a single
// one (§7.1). An evaluation that cannot be read is a deny of its own and leaves
// the others alone.
func (s *Service) many(ctx context.Context, a *asking) (any, error) {
	v, given := a.body["evaluations"]
	items, ok := v.([]any)
	switch {
	case !given || ok && len(items) == 0:
		return s.one(ctx, a)
	case !ok:
		return nil, badRequest("evaluations must be a list.")
	case len(items) > MaxBatch:
		return nil, badRequest("at most %d evaluations fit into one request.", MaxBatch)
	}
	semantic, err := semanticOf(a.body)
	if err != nil {
		return nil, err
	}
	out := make([]result, 0, len(items))
	for _, item := range items {
		if err := a.gone(); err != nil {
			return nil, &failure{status: http.StatusBadRequest, words: "The caller has gone."}
		}
		r := s.item(ctx, a, item)
		out = append(out, r)
		if semantic == untilFirstDeny && !r.Decision || semantic == untilPermit && r.Decision {
			break
		}
	}
	return map[string]any{"evaluations": out}, nil
}

func semanticOf(body map[string]any) (string, error) {
	v, given := body["options"]
	if !given {
		return executeAll, nil
	}
	options, ok := v.(map[string]any)
	if !ok {
		return "", badRequest("options must be an object.")
	}
	if v, given = options["evaluations_semantic"]; !given {
		return executeAll, nil
	}
	switch v {
	case executeAll, untilFirstDeny, untilPermit:
		return v.(string), nil
	}
	return "", badRequest("options.evaluations_semantic must be %s, %s or %s.", executeAll, untilFirstDeny, untilPermit)
}

// item answers one evaluation of a batch.
func (s *Service) item(ctx context.Context, a *asking, item any) result {
	said, ok := item.(map[string]any)
	q, err := question{}, badRequest("an evaluation must be an object.")
	if ok {
		q, err = questionOf(said, a.body)
	}
	var in map[string]any
	var text string
	if err == nil {
		in, text, err = a.input(q)
	}
	if err != nil {
		rec := s.record(a, q, "")
		rec.Reasons = []authz.Reason{{Code: authz.CodeMalformedRequest, Message: err.Error()}}
		s.opt.Recorder.Record(rec)
		return result{Context: map[string]any{"error": map[string]any{"status": http.StatusBadRequest, "message": err.Error()}}}
	}
	return s.evaluate(ctx, a, q, in, text)
}

// input is what the policy sees, as values and as JSON.
func (a *asking) input(q question) (in map[string]any, text string, err error) {
	in = map[string]any{
		"subject": q.subject, "action": q.action, "resource": q.resource, "context": q.context,
		"caller": map[string]any{"id": a.caller.ID, "organization_id": a.caller.OrganizationID},
	}
	if text, err = encoded(in); err != nil {
		return nil, "", badRequest("the evaluation cannot be encoded.")
	}
	if len(text) > maxInput {
		return nil, "", badRequest("one evaluation is longer than %d bytes.", maxInput)
	}
	return in, text, nil
}

// evaluate asks the policy and makes the record. Whatever goes wrong denies.
func (s *Service) evaluate(ctx context.Context, a *asking, q question, in map[string]any, text string) result {
	rec := s.record(a, q, text)
	e, err := a.snap.EvaluateAuthZEN(ctx, a.caller.OrganizationID, in, rec.Time)
	r := result{Decision: e.Decision, Context: e.Context}
	switch {
	case err != nil:
		code := codeOf(err)
		s.opt.Log.WarnContext(ctx, "policy gave no answer to an AuthZEN evaluation; denied",
			"decision_id", rec.ID, "policy_revision", rec.PolicyRevision, "error", err)
		r = result{Context: map[string]any{"reason": code, "decision_id": rec.ID}}
		rec.Reasons = []authz.Reason{authz.Because(code)}
	case r.Decision:
		rec.Result = authz.Allow
		rec.Reasons = []authz.Reason{{Code: CodePermit, Message: words(r.Context, "The policy permits it.")}}
	default:
		rec.Reasons = []authz.Reason{{Code: CodeDeny, Message: words(r.Context, "The policy denies it.")}}
	}
	rec.Duration = s.opt.Now().Sub(rec.Time)
	s.opt.Recorder.Record(rec)
	return r
}

// words are the policy's reason, if its context gives one in plain text.
func words(context map[string]any, otherwise string) string {
	if text, ok := context["reason"].(string); ok && text != "" {
		return text
	}
	return otherwise
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, authz.ErrPolicyTimeout):
		return authz.CodePolicyTimeout
	case errors.Is(err, authz.ErrPolicyUndefined):
		return authz.CodePolicyUndefined
	}
	return authz.CodePolicyError
}

// record begins a record that denies. Of an evaluation that could not be read it
// holds what could. A default is in the record of each evaluation of a batch, so
// what names it is cut: text has all of it, and is bounded.
func (s *Service) record(a *asking, q question, text string) *authz.Record {
	part := func(m map[string]any, name string) string {
		t, _ := m[name].(string)
		return strings.ToValidUTF8(t[:min(len(t), maxNamed)], "")
	}
	return &authz.Record{
		ID: uuid.Must(uuid.NewV7()).String(), Time: s.opt.Now(), Status: http.StatusOK,
		Gateway: a.caller.ID, Door: Door, Method: part(q.action, "name"),
		Path:           "/" + url.PathEscape(part(q.resource, "type")) + "/" + url.PathEscape(part(q.resource, "id")),
		Query:          text,
		PolicyRevision: a.snap.PolicyRevision(), DataRevision: a.snap.DataRevision(),
		Session: &authz.Session{UserID: part(q.subject, "id"), OrganizationID: a.caller.OrganizationID, Kind: Kind},
	}
}
