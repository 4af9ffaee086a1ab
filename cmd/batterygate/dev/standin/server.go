package standin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Options say what a Server is. APIKey and ClientID are required.
type Options struct {
	APIKey   string // what a caller of the API must bear
	ClientID string // the one application that may ask for a sign-in

	WebhookURL    string // where webhooks go; loopback; "" sends none
	WebhookSecret string // what they are signed with; required with WebhookURL

	// State is the file that the world is kept in, read at the start if it is
	// there; "" keeps the world in memory only. World is laid where there is no
	// file yet.
	State string
	World World

	// EventsDelay holds new events back from GET /events, as WorkOS does for a
	// few seconds. Zero shows them at once.
	EventsDelay time.Duration

	// Backoff is the pause before the first retry of a webhook; it doubles.
	// Zero means 200 ms.
	Backoff time.Duration

	Now func() time.Time // nil means time.Now
	Log *slog.Logger     // nil logs nothing
}

// Server is the stand-in. Make it with New, mount Handler, keep Run running.
type Server struct {
	opt    Options
	sender *sender
	faults *faultTable
	signin *signins
	portal *portalLinks
	repeat *idempotency
	keys   func() (jwks, error)

	limits struct {
		sync.Mutex
		byDirectory map[string]*rate.Limiter
	}

	mu   sync.Mutex
	st   *state
	disk disk
}

// New loads the world, or lays it. It starts nothing.
func New(opt Options) (*Server, error) {
	if err := opt.complete(); err != nil {
		return nil, fmt.Errorf("workos stand-in: %w", err)
	}
	st, found, err := load(opt.State)
	if err != nil {
		return nil, fmt.Errorf("workos stand-in: %w", err)
	}
	s := &Server{
		opt: opt, st: st, faults: &faultTable{}, signin: newSignins(opt.Now), portal: newPortalLinks(opt.Now),
		repeat: newIdempotency(), keys: sync.OnceValues(newJWKS), disk: disk{path: opt.State},
	}
	s.limits.byDirectory = map[string]*rate.Limiter{}
	s.sender = newSender(opt, s.faults, s.delivered)
	if !found {
		if err := s.Lay(opt.World); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err := s.disk.snapshot(st); err != nil {
		return nil, fmt.Errorf("workos stand-in: %w", err)
	}
	for _, id := range st.pending {
		if l, ok := st.events.find(id); ok {
			s.sender.enqueue(l.Event)
		}
	}
	return s, nil
}

func (opt *Options) complete() error {
	if opt.APIKey == "" || opt.ClientID == "" {
		return errors.New("API key and client id are required")
	}
	if opt.WebhookURL != "" {
		if opt.WebhookSecret == "" {
			return errors.New("a webhook URL needs a webhook secret")
		}
		if u, err := url.Parse(opt.WebhookURL); err != nil || !isLoopbackURL(u) {
			return errors.New("the webhook URL is not an http(s) URL on loopback")
		}
	}
	if opt.Backoff <= 0 {
		opt.Backoff = 200 * time.Millisecond
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Run sends the webhooks until ctx ends. What is undelivered then is sent by
// the next Run, also by that of a new Server over the same State.
func (s *Server) Run(ctx context.Context) error {
	synced := make(chan struct{})
	go func() {
		defer close(synced)
		s.keepSynced(ctx)
	}()
	err := s.sender.run(ctx)
	<-synced
	return err
}

// syncEvery is how long a change may be in the hands of the operating system.
const syncEvery = 100 * time.Millisecond

func (s *Server) keepSynced(ctx context.Context) {
	for {
		again := sleep(ctx, syncEvery)
		if err := s.syncJournal(); err != nil {
			s.opt.Log.Error("journal not synced", "err", err)
		}
		if !again {
			return
		}
	}
}

// World is a copy of the world as it is.
func (s *Server) World() World {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.world()
}

// Lay replaces the world and logs the events that tell it. It sends no webhook:
// a receiver that is to know them at once gets them by Deliver.
func (s *Server) Lay(w World) error {
	if err := w.check(); err != nil {
		return fmt.Errorf("lay the world: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.lay(w)
	seen := Time{s.opt.Now().UTC()}
	for _, e := range s.st.story() {
		if _, ok := s.st.events.find(e.ID); !ok {
			s.st.events.add(logged{Event: e, OrganizationID: organizationOf(e.Name, e.Data), SeenAt: seen})
		}
	}
	return s.disk.snapshot(s.st)
}

// Deliver posts events to the webhook, one after the other, and returns when
// all were answered with 2xx. It tries again until ctx ends. It needs no Run.
func (s *Server) Deliver(ctx context.Context, events ...Event) error {
	return s.sender.deliverAll(ctx, events)
}

// Handler serves WorkOS's API, its sign-in and portal pages, and /_dev.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.routeSSO(mux)
	s.routeOrganizations(mux)
	s.routeConnections(mux)
	s.routeDirectories(mux)
	s.routeDomains(mux)
	s.routeRoles(mux)
	s.routeBelongings(mux)
	s.routePortal(mux)
	mux.Handle("GET /events", s.api(s.listEvents))
	s.routeDev(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		s.answer(w, 0, nil, &problem{status: http.StatusNotFound, Message: "Not Found"})
	})
	return s.edge(s.faults.wrap(mux))
}

// edge guards every request: loopback peers and names only, against networks
// and against DNS rebinding. The first path segment is case-insensitive, as
// WorkOS's is: its Go SDK v4 deletes /Organizations/{id}.
func (s *Server) edge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-ID", requestID())
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Date", s.opt.Now().UTC().Format(http.TimeFormat)) // receivers take their watermark from it
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() || !isLoopbackHost(hostname(r.Host)) {
			s.answer(w, 0, nil, &problem{status: http.StatusForbidden, Message: "The stand-in answers on loopback only."})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		if first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first != lower(first) && r.URL.RawPath == "" {
			r = r.Clone(r.Context())
			r.URL.Path = strings.TrimSuffix("/"+lower(first)+"/"+rest, "/")
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopbackURL says whether a browser or a webhook sent there stays on this
// machine. Only http(s), without a user and without a fragment.
func isLoopbackURL(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && u.Fragment == "" && u.Opaque == "" && isLoopbackHost(u.Hostname())
}

// isLoopbackHost: an address of loopback, or localhost and what is under it,
// which resolve to loopback (RFC 6761 §6.3).
func isLoopbackHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	host = strings.TrimSuffix(lower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostname is a Host header without its port.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }
