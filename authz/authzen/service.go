package authzen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
)

// Bounds of what is read and done for one request.
const (
	MaxBatch     = 100       // evaluations in one request
	maxBody      = 256 << 10 // bytes
	maxInput     = 32 << 10  // bytes of one evaluation, as JSON: a batch repeats its defaults
	maxNamed     = 1 << 10   // bytes of an id or a name, in records
	maxRequestID = 1 << 10   // bytes
	maxBearer    = 8 << 10   // bytes

	// budget is what all evaluations of a request may take together. Each has the
	// policy's own beside it, which the engine keeps: that one for a whole batch
	// would deny its end, whoever asks.
	budget = 5 * time.Second
)

// Why a caller may not ask.
var (
	ErrUnknownCaller = errors.New("unknown or expired token")
	ErrForbidden     = errors.New("the token is not for evaluations")
)

// Caller is who asks.
type Caller struct {
	ID             string // of the token; in input.caller and in every record
	OrganizationID string // that the token is bound to; empty: none
}

// Callers tells who a bearer token belongs to, or ErrUnknownCaller, or
// ErrForbidden. Any other error is an outage.
type Callers interface {
	Caller(ctx context.Context, now time.Time, bearer string) (Caller, error)
}

// Options of a Service. All are required.
type Options struct {
	Snapshots authz.Snapshots // whose snapshots are authz.Evaluator where the policy may answer
	Callers   Callers
	Recorder  authz.Recorder
	BaseURL   string // where callers reach these endpoints: https, or http on loopback; no path
	Now       func() time.Time
	Log       *slog.Logger
}

// Service answers AuthZEN callers. It is safe for concurrent use.
type Service struct {
	opt Options
}

// New checks the options. It starts nothing.
func New(o Options) (*Service, error) {
	if o.Snapshots == nil || o.Callers == nil || o.Recorder == nil || o.Now == nil || o.Log == nil {
		return nil, errors.New("set up AuthZEN: an option is missing")
	}
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || strings.Trim(base.Path, "/") != "" || !secure(base) {
		return nil, fmt.Errorf("set up AuthZEN: base URL %q is no https origin (http on loopback)", o.BaseURL)
	}
	o.BaseURL = base.Scheme + "://" + base.Host
	return &Service{opt: o}, nil
}

func secure(u *url.URL) bool {
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && a.IsLoopback())
}

// Mount adds the endpoints.
func (s *Service) Mount(r gin.IRouter) {
	r.POST("/access/v1/evaluation", s.serve(s.one))
	r.POST("/access/v1/evaluations", s.serve(s.many))
	r.GET("/.well-known/authzen-configuration", s.metadata)
}

// failure is an answer that decides nothing: a status and words for the caller.
type failure struct {
	status int
	words  string
}

func (f *failure) Error() string { return f.words }

func badRequest(format string, args ...any) error {
	return &failure{status: http.StatusBadRequest, words: fmt.Sprintf(format, args...)}
}

// metadata is AuthZEN 1.0 §9.
func (s *Service) metadata(c *gin.Context) {
	echoRequestID(c)
	if _, err := s.evaluator(); err != nil {
		s.fail(c, err)
		return
	}
	c.Header("Cache-Control", "max-age=300")
	c.JSON(http.StatusOK, gin.H{
		"policy_decision_point":       s.opt.BaseURL,
		"access_evaluation_endpoint":  s.opt.BaseURL + "/access/v1/evaluation",
		"access_evaluations_endpoint": s.opt.BaseURL + "/access/v1/evaluations",
	})
}

// serve does what both endpoints have in common: who asks, whether the policy
// answers, and what the body says.
func (s *Service) serve(answer func(context.Context, *asking) (any, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header("Cache-Control", "no-store")
		echoRequestID(c)
		a, err := s.read(c)
		if err != nil {
			s.fail(c, err)
			return
		}
		// A caller that hangs up must not turn a good policy into an error in the
		// records; between evaluations it ends the work.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), budget)
		defer cancel()
		a.gone = c.Request.Context().Err
		out, err := answer(ctx, a)
		if err != nil {
			s.fail(c, err)
			return
		}
		c.JSON(http.StatusOK, out)
	}
}

// asking is one request under way.
type asking struct {
	snap   authz.Evaluator
	caller Caller
	body   map[string]any
	gone   func() error // not nil once the caller has hung up
}

func (s *Service) read(c *gin.Context) (*asking, error) {
	caller, err := s.caller(c.Request)
	if err != nil {
		return nil, err
	}
	snap, err := s.evaluator()
	if err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type")); err != nil || kind != "application/json" {
		return nil, badRequest("The Content-Type must be application/json.")
	}
	text, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, words: fmt.Sprintf("The body is larger than %d bytes.", maxBody)}
	} else if err != nil {
		return nil, badRequest("The body cannot be read.")
	}
	body, err := parse(text)
	if err != nil {
		return nil, badRequest("The body cannot be read: %v.", err)
	}
	return &asking{snap: snap, caller: caller, body: body}, nil
}

// evaluator is the current snapshot, if its policy answers evaluations.
func (s *Service) evaluator() (authz.Evaluator, error) {
	snap := s.opt.Snapshots.Current()
	if snap == nil {
		return nil, &failure{status: http.StatusServiceUnavailable, words: "No policy is active yet."}
	}
	if e, ok := snap.(authz.Evaluator); ok && e.HasAuthZEN() {
		return e, nil
	}
	return nil, &failure{status: http.StatusNotFound, words: "The active policy answers no AuthZEN evaluations: it has no rule data.battery.authzen.decision."}
}

// caller reads the Authorization header, which must come once.
func (s *Service) caller(r *http.Request) (Caller, error) {
	unknown := &failure{status: http.StatusUnauthorized, words: "The request needs a valid bearer token."}
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return Caller{}, unknown
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxBearer || strings.ContainsAny(token, " \t,") {
		return Caller{}, unknown
	}
	who, err := s.opt.Callers.Caller(r.Context(), s.opt.Now(), token)
	switch {
	case errors.Is(err, ErrUnknownCaller):
		return Caller{}, unknown
	case errors.Is(err, ErrForbidden):
		return Caller{}, &failure{status: http.StatusForbidden, words: "The token is not for evaluations."}
	case err != nil:
		return Caller{}, fmt.Errorf("find caller: %w", err)
	case who.ID == "":
		return Caller{}, unknown
	}
	return who, nil
}

// fail answers without a decision: a status, and a message string as the
// standard has it (§10.1.5).
func (s *Service) fail(c *gin.Context, err error) {
	f := (*failure)(nil)
	if !errors.As(err, &f) {
		s.opt.Log.ErrorContext(c.Request.Context(), "an AuthZEN request failed; nothing was decided", "error", err)
		f = &failure{status: http.StatusInternalServerError, words: "The request could not be answered."}
	}
	if f.status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", `Bearer realm="authzen"`)
	}
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	c.JSON(f.status, f.words)
}

// echoRequestID gives the caller its own name for the request back (§10.1.6).
func echoRequestID(c *gin.Context) {
	if v := c.Request.Header.Values("X-Request-ID"); len(v) == 1 && len(v[0]) <= maxRequestID && !strings.ContainsAny(v[0], "\r\n\x00") {
		c.Header("X-Request-ID", v[0])
	}
}

// encoded is a value as JSON, for its size and for records.
func encoded(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}
