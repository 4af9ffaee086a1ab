package probe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/authz/forward"
)

// What is kept of one probe.
const (
	maxSeen  = 1000
	maxBytes = 1 << 20
	maxShown = 256 // bytes of a value that is shown
	maxNames = 100 // header lines of one request
)

// Header is one header line as it arrived. A value that could be a secret is
// not kept, but for its length and its fingerprint: then Redacted is true.
type Header struct {
	Name        string   `json:"name"`
	Value       string   `json:"value,omitempty"`
	Redacted    bool     `json:"redacted,omitempty"`
	Length      int      `json:"length"`
	Fingerprint string   `json:"fingerprint,omitempty"`
	Cookies     []Cookie `json:"cookies,omitempty"` // of a Cookie header
}

// Cookie is one cookie of a request, without its value.
type Cookie struct {
	Name        string `json:"name"`
	Length      int    `json:"length"`
	Fingerprint string `json:"fingerprint"`
}

// Observation is one request of a probe as it arrived at a door, and the answer.
type Observation struct {
	Seq      int       `json:"seq"`
	Time     time.Time `json:"time"`
	Mark     string    `json:"mark,omitempty"`
	Door     string    `json:"door"`
	Peer     string    `json:"peer"`
	Method   string    `json:"method"`
	Scheme   string    `json:"scheme"`
	Host     string    `json:"host"` // with its port
	Path     string    `json:"path"`
	Query    int       `json:"query_length"`
	ClientIP string    `json:"client_ip,omitempty"`
	RouteApp string    `json:"route_app,omitempty"` // the app that the gateway's route names
	Headers  []Header  `json:"headers"`

	Result     string   `json:"result"`
	Status     int      `json:"status"` // of the door's answer
	Reasons    []string `json:"reasons"`
	Message    string   `json:"message,omitempty"` // of the first reason
	DecisionID string   `json:"decision_id"`
}

// ring keeps the newest observations, within its bounds.
type ring struct {
	kept    []Observation
	bytes   int
	next    int
	dropped int
}

func (r *ring) add(o Observation) {
	o.Seq, r.next = r.next, r.next+1
	r.kept, r.bytes = append(r.kept, o), r.bytes+o.size()
	cut := 0
	for len(r.kept)-cut > 1 && (len(r.kept)-cut > maxSeen || r.bytes > maxBytes) {
		r.bytes -= r.kept[cut].size()
		cut++
	}
	r.dropped += cut
	r.kept = slices.Delete(r.kept, 0, cut)
}

// size is about how much memory an observation takes.
func (o *Observation) size() int {
	n := 512 + len(o.Path) + len(o.Host) + len(o.Message)
	for _, h := range o.Headers {
		n += 128 + len(h.Name) + len(h.Value) + 128*len(h.Cookies)
	}
	return n
}

// Arrived keeps what arrived with the token of a live probe.
func (r *Room) Arrived(token string, a forward.Arrival) {
	now := r.Now()
	_, hash, ok := r.lookup(token, now)
	if !ok {
		return
	}
	o := observation(token, a)
	o.Time = now.UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.byHash[hash]; l != nil {
		l.seen.add(o)
	}
}

func observation(token string, a forward.Arrival) Observation {
	req, dec := a.Request, a.Decision
	o := Observation{
		Mark: a.Mark, Door: req.Dialect.Name, Peer: a.Peer, Method: req.Method, Scheme: req.Scheme, Host: req.Authority(),
		Path: cut(req.Path, 4<<10), Query: len(req.Query), RouteApp: cut(req.AppID, maxShown), Headers: headersOf(token, a.Header), Status: a.Status, Reasons: []string{},
	}
	if req.ClientIP.IsValid() {
		o.ClientIP = req.ClientIP.String()
	}
	if dec != nil {
		o.Result, o.DecisionID = dec.Result().String(), dec.ID
		for i, reason := range dec.Reasons {
			o.Reasons = append(o.Reasons, reason.Code)
			if i == 0 {
				o.Message = cut(reason.Message, maxShown)
			}
		}
	}
	return o
}

func headersOf(token string, h http.Header) []Header {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	out := []Header{}
	for _, name := range names {
		for _, v := range h[name] {
			if len(out) == maxNames {
				return out
			}
			line := Header{Name: cut(name, maxShown), Length: len(v)}
			switch {
			case shown(name):
				line.Value = cut(v, maxShown)
			case name == "Cookie":
				line.Redacted, line.Cookies = true, cookiesOf(token, v)
			default:
				line.Redacted, line.Fingerprint = true, Fingerprint(token, v)
			}
			out = append(out, line)
		}
	}
	return out
}

// shown are headers whose values are kept: those that say how the request
// travelled, or who is asked for. Everything else may be a secret, of the
// gateway's if not of the client's: a probe's token must not be a way to learn
// the gateway's shared secret.
func shown(name string) bool {
	n := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
	switch n {
	case "accept", "connection", "content-length", "forwarded", "host", "origin", "te", "transfer-encoding", "upgrade", "user-agent", "via", "x-real-ip",
		"x-http-method", "x-http-method-override", "x-method-override", "access-control-request-method",
		"x-battery-user-id", "x-battery-org-id", "x-battery-user-email", "x-battery-roles", "x-battery-app-id", "x-battery-decision-id", "x-battery-groups":
		return true
	}
	for _, family := range []string{"x-forwarded-", "x-original-", "x-rewrite-", "sec-fetch-"} {
		if strings.HasPrefix(n, family) {
			return !strings.Contains(n, "cert") && !strings.Contains(n, "token") && !strings.Contains(n, "auth")
		}
	}
	return false
}

func cookiesOf(token, line string) []Cookie {
	var out []Cookie
	for pair := range strings.SplitSeq(line, ";") {
		if len(out) == maxNames {
			break
		}
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if name != "" {
			out = append(out, Cookie{Name: cut(name, maxShown), Length: len(value), Fingerprint: Fingerprint(token, value)})
		}
	}
	return out
}

// Fingerprint lets whoever holds a probe's token compare a value with one that
// it sent, and tells others nothing.
func Fingerprint(token, value string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte(value))
	return hex.EncodeToString(m.Sum(nil))[:16]
}

func cut(s string, n int) string {
	if len(s) > n {
		return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:n], ""), len(s))
	}
	return s
}
