package standin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// attempts is the first try and the six more that WorkOS makes.
	attempts = 7
	// holdBack is how long reordering waits for an event to put first.
	holdBack = 750 * time.Millisecond
)

// Delivery is how the delivery of one webhook went: the status of its first
// answer, and after how many attempts it came. Status 0 means no answer.
type Delivery struct {
	Status   int    `json:"status"`
	Attempts int    `json:"attempts"`
	Dropped  bool   `json:"dropped,omitempty"` // lost on purpose, by /_dev/faults
	Error    string `json:"error,omitempty"`
}

// delivery is an event on its way. first gets one Delivery, as soon as the
// receiver answers, whatever it answers.
type delivery struct {
	event Event
	first chan Delivery
	held  bool // was passed by another once; not again
}

// sender delivers webhooks one after the other, in the order of the events. An
// event that is refused is retried, with backoff, before the next is sent.
type sender struct {
	url, secret string
	backoff     time.Duration
	now         func() time.Time
	client      *http.Client
	faults      *faultTable
	done        func(eventID string)
	log         logger

	replays []Event // sent already, to be sent again; of run's own

	mu    sync.Mutex
	queue []*delivery
	wake  chan struct{}
}

// logger is the part of slog.Logger that the sender needs.
type logger interface{ Warn(msg string, args ...any) }

func newSender(opt Options, faults *faultTable, done func(string)) *sender {
	transport := &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}
	return &sender{
		url: opt.WebhookURL, secret: opt.WebhookSecret, backoff: opt.Backoff, now: opt.Now, faults: faults, done: done, log: opt.Log,
		client: &http.Client{
			Transport: transport, Timeout: 30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		wake: make(chan struct{}, 1),
	}
}

// enqueue puts an event at the end of the queue.
func (s *sender) enqueue(e Event) *delivery {
	d := &delivery{event: e, first: make(chan Delivery, 1)}
	s.mu.Lock()
	s.queue = append(s.queue, d)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return d
}

func (s *sender) run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	for {
		d := s.next(ctx)
		if d == nil {
			return nil
		}
		if !s.deliver(ctx, d) {
			s.mu.Lock()
			s.queue = append([]*delivery{d}, s.queue...)
			s.mu.Unlock()
			return nil
		}
		s.done(d.event.ID)
	}
}

// next waits for the head of the queue. Under the reorder fault the second goes
// before the first, if a second comes in time.
func (s *sender) next(ctx context.Context) *delivery {
	for {
		reorder := s.faults.webhook().Reorder
		s.mu.Lock()
		n := len(s.queue)
		wait := reorder && n == 1 && !s.queue[0].held
		switch {
		case reorder && n > 1 && !s.queue[0].held:
			s.queue[0].held = true
			s.queue[0], s.queue[1] = s.queue[1], s.queue[0]
			fallthrough
		case n > 0 && !wait:
			d := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return d
		}
		s.mu.Unlock()
		var patience <-chan time.Time
		if wait {
			patience = time.After(holdBack)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-patience:
			s.mu.Lock()
			s.queue[0].held = true
			s.mu.Unlock()
		}
	}
}

// deliver sends one event, again and again until it is accepted or given up.
// It is false if ctx ended first.
func (s *sender) deliver(ctx context.Context, d *delivery) bool {
	fault := s.faults.takeWebhook()
	if !sleep(ctx, fault.delay) {
		return false
	}
	if fault.drop {
		d.tell(Delivery{Dropped: true})
		return true
	}
	again := s.replays
	s.replays = nil
	if fault.replay {
		s.replays = append(s.replays, d.event)
	}
	var last Delivery
	for n := 1; n <= attempts; n++ {
		if n > 1 && !sleep(ctx, s.backoff<<(n-2)) {
			return false
		}
		last = s.attempt(ctx, d.event, s.faults.takeAttempt())
		last.Attempts = n
		if last.Status != 0 {
			d.tell(last)
		}
		if last.accepted() {
			if fault.duplicate {
				s.post(ctx, d.event) // signed anew, as a retry is
			}
			for _, earlier := range again {
				s.post(ctx, earlier)
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	s.log.Warn("webhook given up", "event", d.event.ID, "type", d.event.Name, "status", last.Status, "err", last.Error)
	d.tell(last)
	return true
}

// tell reports the first outcome; later ones are for nobody.
func (d *delivery) tell(r Delivery) {
	select {
	case d.first <- r:
	default:
	}
}

func (d Delivery) accepted() bool { return d.Status >= 200 && d.Status < 300 }

// post makes one attempt. Every attempt is signed at its own time: a receiver
// refuses signatures older than a few minutes.
func (s *sender) post(ctx context.Context, e Event) Delivery {
	return s.attempt(ctx, e, oneAttempt{})
}

// attempt is post with something going wrong.
func (s *sender) attempt(ctx context.Context, e Event, fault oneAttempt) Delivery {
	body, err := e.Body()
	if err != nil {
		return Delivery{Error: err.Error()}
	}
	if fault.wrongJSON {
		body = body[:len(body)-1]
	}
	secret := s.secret
	if fault.wrongSignature {
		secret += "-of-another"
	}
	var content io.Reader = bytes.NewReader(body)
	if fault.broken {
		content = io.MultiReader(bytes.NewReader(body[:len(body)/2]), broken{})
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, content)
	if err != nil {
		return Delivery{Error: err.Error()}
	}
	req.ContentLength = int64(len(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "workos-webhooks")
	req.Header.Set("WorkOS-Signature", Sign(secret, s.now(), body))
	res, err := s.client.Do(req)
	if err != nil {
		return Delivery{Error: "no answer"}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	return Delivery{Status: res.StatusCode}
}

// broken is the part of a body that never comes.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken on purpose, by /_dev/faults") }

func (s *sender) deliverAll(ctx context.Context, events []Event) error {
	if s.url == "" {
		return fmt.Errorf("deliver events: no webhook URL is configured")
	}
	for _, e := range events {
		pause := s.backoff
		for {
			r := s.post(ctx, e)
			if r.accepted() {
				break
			}
			if !sleep(ctx, pause) {
				return fmt.Errorf("deliver %s: %w (last status %d %s)", e.ID, ctx.Err(), r.Status, r.Error)
			}
			pause = min(2*pause, 5*time.Second)
		}
	}
	return nil
}

// sleep waits; it is false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
