package forward

import (
	"net/http"
	"strings"

	"battery.app/gate/authz"
)

// ProbeCookie carries the token of a probe (see [authz.Probes]). It is a cookie
// and no header, because cookies are what every gateway must show the door, and
// ours are what every gateway should keep from the app: whatever a client writes
// under X-Battery-, most shipped configurations drop before they ask.
const ProbeCookie = "battery_probe"

// ProbeSilence is the mark of a probe that wants no answer from the door, to see
// what its gateway does when Battery Gate is down. The request is recorded as
// refused.
const ProbeSilence = "silence"

// maxProbe is the longest token with its mark, in bytes.
const maxProbe = 128

// Probes is told what arrives at the doors with the token of a probe.
type Probes interface {
	// Live returns the app of the probe that the token belongs to, while it lives.
	Live(token string) (appID string, ok bool)
	// Arrived takes one request of a live probe. It must not keep or change a's
	// header, request or decision, and it never blocks.
	Arrived(token string, a Arrival)
}

// Arrival is a request of a probe as it arrived at a door, and what became of it.
type Arrival struct {
	Mark     string // what the probe calls this request; may be empty
	Peer     string // who asked
	Header   http.Header
	Request  *authz.Request
	Decision *authz.Decision
	Status   int // of the door's answer
}

// readProbe finds a probe's token: one cookie, "token" or "token.mark". Two are
// none, and so is one from a browser, which no probe is: nobody can be made to
// carry a probe by a cookie that another site set. It is read for trusted
// gateways only.
func (d *Doors) readProbe(q *question, req *authz.Request) (mark string) {
	if d.opt.Probes == nil || len(q.header["Sec-Fetch-Site"]) > 0 {
		return ""
	}
	sent := sessionTokens(q.header["Cookie"], ProbeCookie)
	if len(sent) != 1 || len(sent[0]) > maxProbe {
		return ""
	}
	token, mark, _ := strings.Cut(sent[0], ".")
	appID, live := d.opt.Probes.Live(token)
	if !live {
		return ""
	}
	req.Probe = sent[0]
	if mark == ProbeSilence && req.Fault == nil {
		if app, ok := d.opt.Apps(req.Host); ok && app.ID == appID {
			req.Fault = &authz.Fault{Code: authz.CodeMalformedRequest, Message: "A probe asked the door not to answer."}
		}
	}
	return mark
}

// observe tells the probe what arrived. silent says that the door owes no answer.
func (d *Doors) observe(q *question, req *authz.Request, a *answer, mark string) (silent bool) {
	if req.Probe == "" || d.opt.Probes == nil {
		return false
	}
	token, _, _ := strings.Cut(req.Probe, ".")
	d.opt.Probes.Arrived(token, Arrival{
		Mark: mark, Peer: q.caller.name, Header: q.header, Request: req, Decision: a.decision, Status: a.status,
	})
	return mark == ProbeSilence && !a.allows() && req.Fault != nil && !req.Fault.Malformed
}

// hangUp ends the connection without an answer, as a door that is down would. It
// reports false where that is not possible; then the refusal is the answer.
func (s *sealed) hangUp() bool {
	if s.wrote {
		return false
	}
	conn, _, err := http.NewResponseController(s.w).Hijack()
	if err != nil {
		return false
	}
	s.wrote, s.shut = true, true
	_ = conn.Close()
	return true
}
