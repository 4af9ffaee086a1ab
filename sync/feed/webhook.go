package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"battery.app/gate/sync/directory"
	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

const (
	// MaxBody is the size of the largest body that is read; WorkOS's events are
	// a few KiB.
	MaxBody = 1 << 20
	// minSecret is the shortest secret that is accepted, in bytes.
	minSecret = 16
	// publishWait bounds how long an answer waits for the snapshot.
	publishWait = 10 * time.Second
)

// Applier takes verified events: a *directory.Directory.
type Applier interface {
	ApplyEvent(ctx context.Context, ev directory.Event) (directory.Applied, error)
}

var _ Applier = (*directory.Directory)(nil)

// Options configure the webhook endpoint. Secrets, Directory and Published are
// required.
type Options struct {
	Secrets   [][]byte // of the WorkOS endpoint: the present one, and others while rotating
	Directory Applier
	// Published returns when decisions are made from a snapshot that carries the
	// store revision, or an error when ctx ends first.
	Published func(ctx context.Context, revision uint64) error
	// AllowFrom are the addresses that may post; empty: any. WorkOS publishes
	// those of its webhooks. The signature is required all the same.
	AllowFrom []netip.Prefix
	// TrustedProxies are the proxies in front of the public listener: only their
	// X-Forwarded-For says where a delivery comes from.
	TrustedProxies []netip.Prefix
	// Delivered is told of every verified event of a type that means something
	// here, also of one that could not be kept: CatchUp.Delivered. It must not
	// block. nil: nobody is told.
	Delivered func(ev directory.Event)

	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: slog.Default()
	Meter metric.Meter     // nil: nothing is measured
}

// Webhooks is the endpoint that WorkOS posts events to.
type Webhooks struct {
	o        Options
	count    metric.Int64Counter
	enforced metric.Float64Histogram
	types    map[string]bool
	sources  sources
}

// NewWebhooks checks the options and makes the instruments. It refuses to be
// without a secret, or with a weak one: then anyone could write the directory.
func NewWebhooks(o Options) (*Webhooks, error) {
	if len(o.Secrets) == 0 {
		return nil, errors.New("webhooks: no secret")
	}
	for i, s := range o.Secrets {
		if len(s) < minSecret {
			return nil, fmt.Errorf("webhooks: secret %d is shorter than %d bytes", i+1, minSecret)
		}
	}
	if o.Directory == nil || o.Published == nil {
		return nil, errors.New("webhooks: no directory, or nothing to wait for its snapshot with")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	if o.Delivered == nil {
		o.Delivered = func(directory.Event) {}
	}
	for _, p := range append(slices.Clone(o.AllowFrom), o.TrustedProxies...) {
		if !p.IsValid() {
			return nil, errors.New("webhooks: a source address is not a prefix")
		}
	}
	w := &Webhooks{o: o, types: map[string]bool{}, sources: sources{allow: o.AllowFrom, trusted: o.TrustedProxies}}
	for _, t := range directory.EventTypes() {
		w.types[t] = true
	}
	if err := w.measure(); err != nil {
		return nil, err
	}
	return w, nil
}

// Mount adds POST /webhooks/workos.
func (w *Webhooks) Mount(r gin.IRouter) { r.POST("/webhooks/workos", w.post) }

// answer is how a delivery ends: the status that WorkOS sees, and the outcome
// that we count.
type answer struct {
	status  int
	outcome string
	detail  string // for the sender; one of our own sentences
	err     error  // for the log
}

func (w *Webhooks) post(c *gin.Context) {
	received := w.o.Now()
	var ev directory.Event
	a := w.receive(c.Request.Context(), c.Writer, c.Request, received, &ev)
	w.record(c.Request.Context(), &ev, a, received)
	c.Header("Cache-Control", "no-store")
	if a.status == http.StatusOK {
		c.JSON(http.StatusOK, gin.H{"outcome": a.outcome})
		return
	}
	c.Header("Content-Type", "application/problem+json")
	c.JSON(a.status, problem{
		Type: "about:blank", Title: http.StatusText(a.status), Status: a.status, Detail: a.detail,
	})
}

// problem is RFC 9457's shape.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// receive looks at the source, reads, verifies, applies and waits, in this
// order. ev is set once the signature and the envelope are good.
func (w *Webhooks) receive(ctx context.Context, rw http.ResponseWriter, r *http.Request, now time.Time, ev *directory.Event) answer {
	if !w.sources.allowed(r) {
		return answer{http.StatusForbidden, "source_refused", "Webhooks are not taken from this address.", nil}
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, MaxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return answer{http.StatusRequestEntityTooLarge, "too_large", "The body is larger than 1 MiB.", nil}
	} else if err != nil {
		return answer{http.StatusBadRequest, "unreadable", "The body could not be read.", nil}
	}
	if a := w.verify(r.Header, body, now); a.status != 0 {
		return a
	}
	parsed, err := directory.ParseEvent(body)
	if err != nil {
		return answer{http.StatusBadRequest, "malformed", "The body is signed but not an event.", err}
	}
	*ev = parsed
	if w.types[parsed.Type] {
		w.o.Delivered(parsed)
	}
	// A sender that hangs up has still told the truth: the event is applied, and
	// the copy that comes instead changes nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishWait)
	defer cancel()
	done, err := w.o.Directory.ApplyEvent(ctx, parsed)
	if errors.Is(err, directory.ErrMalformed) {
		return answer{http.StatusBadRequest, "malformed", "The event lacks parts, or its parts disagree.", err}
	} else if err != nil {
		return answer{http.StatusServiceUnavailable, "store_failed", "The event could not be kept. Send it again.", err}
	}
	if done.Outcome == directory.OutcomeIgnored {
		return answer{status: http.StatusOK, outcome: done.Outcome}
	}
	if err := w.o.Published(ctx, done.Revision); err != nil {
		return answer{http.StatusServiceUnavailable, "unpublished", "The event is kept but not yet enforced. Send it again.", err}
	}
	return answer{status: http.StatusOK, outcome: done.Outcome}
}

// verify checks the signature header; the zero answer means it is good.
func (w *Webhooks) verify(h http.Header, body []byte, now time.Time) answer {
	values := h.Values(SignatureHeader)
	if len(values) > 1 {
		return answer{http.StatusBadRequest, "signature_malformed", "There is more than one signature header.", nil}
	}
	err := Verify(w.o.Secrets, h.Get(SignatureHeader), body, now, Tolerance)
	switch {
	case err == nil:
		return answer{}
	case errors.Is(err, ErrSignatureMalformed):
		return answer{http.StatusBadRequest, "signature_malformed", "The signature header is malformed.", err}
	case errors.Is(err, ErrNoSignature):
		return answer{http.StatusUnauthorized, "signature_missing", "The signature header is missing.", err}
	case errors.Is(err, ErrSignatureExpired):
		return answer{http.StatusUnauthorized, "signature_expired", "The signature is too old, or dated ahead.", err}
	}
	return answer{http.StatusUnauthorized, "signature_wrong", "The signature does not match.", err}
}
