package settings

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sso"
)

// Audit takes what is about to be done before it is done. On an error the act
// must not happen.
type Audit interface {
	Begin(ctx context.Context, a audit.Act) (*audit.Pending, error)
}

var _ Audit = (*audit.Log)(nil)

// act is what a visitor asks for. request must hold no secret.
func (p *Pages) act(r *http.Request, v *visitor, action string, request any) audit.Act {
	a := audit.Act{Actor: v.actor, Action: action, Resource: v.organization(), Request: request}
	if p.ClientIP != nil {
		if ip := p.ClientIP(r); ip.IsValid() {
			a.RemoteIP = ip.String()
		}
	}
	return a
}

// outcome is what a done act leaves in the record.
type outcome struct {
	status        int
	before, after any
}

// audited does an act between its two records. What it returns is a page error.
func (p *Pages) audited(ctx context.Context, a audit.Act, do func(ctx context.Context) (outcome, error)) error {
	pending, err := p.Audit.Begin(ctx, a)
	if err != nil {
		return unrecorded(err)
	}
	o, err := do(ctx)
	end := audit.Outcome{Result: audit.Done, Status: o.status, Before: o.before, After: o.after}
	if err != nil {
		end.Result, end.Status, end.Detail = audit.Failed, http.StatusServiceUnavailable, "the server could not do it"
		var shown *sso.PageError
		if errors.As(err, &shown) {
			end.Status, end.Detail = shown.Status, shown.Title
		}
	}
	p.end(ctx, pending, end)
	return err
}

// end cannot undo what happened: the record keeps an intent without an outcome,
// which is what the log then explains.
func (p *Pages) end(ctx context.Context, pending *audit.Pending, o audit.Outcome) {
	if err := pending.End(ctx, o); err != nil {
		p.Log.ErrorContext(ctx, "outcome of an act was not recorded", "audit_seq", pending.Seq(), "result", o.Result, "error", err)
	}
}

// recordRefusal records what a signed-in person tried and may not, and answers
// with shown. Of one who is refused again and again only the log tells: the audit
// is kept for good, and must not be filled by whom it watches.
func (p *Pages) recordRefusal(ctx context.Context, a audit.Act, why string, shown *sso.PageError) error {
	p.Log.WarnContext(ctx, "IT admin's act refused", "action", a.Action, "session_id", a.Actor.ID, "organization_id", a.Actor.OrganizationID, "why", why, "remote_ip", a.RemoteIP)
	out, kept := p.refusals.Outcome(a.Actor.ID, p.Now(), audit.Outcome{Result: audit.Refused, Status: shown.Status, Detail: why})
	if !kept {
		return shown
	}
	a.Request = audit.Brief(a.Request)
	pending, err := p.Audit.Begin(ctx, a)
	if err != nil {
		return unrecorded(err)
	}
	p.end(ctx, pending, out)
	return shown
}

func unrecorded(err error) *sso.PageError {
	return &sso.PageError{Status: http.StatusServiceUnavailable, Title: "Nothing was changed",
		Text: "Every change is recorded before it is made, and recording does not work just now. Try again in a few minutes.", Cause: err}
}

// locks let one write of an organization's table happen at a time: between
// looking whether it is still the one a form was made from and the new one being
// in force nobody else must come. The zero value is ready.
type locks struct{ of [64]sync.Mutex }

func (l *locks) lock(organization string) (unlock func()) {
	n := uint32(2166136261) // FNV-1a
	for i := range len(organization) {
		n = (n ^ uint32(organization[i])) * 16777619
	}
	m := &l.of[n%uint32(len(l.of))]
	m.Lock()
	return m.Unlock
}
