package decisionlog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"battery.app/gate/authz"
)

var (
	// ErrNotFound: no decision has the id (or it is past its retention).
	ErrNotFound = errors.New("decisionlog: no such decision")
	// ErrBadCursor: the cursor is not one that this log gave out.
	ErrBadCursor = errors.New("decisionlog: bad cursor")
	// ErrBadFilter: the filter can match nothing because it is malformed.
	ErrBadFilter = errors.New("decisionlog: bad filter")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("decisionlog: closed")
	// ErrInUse: another process has the database of the log open.
	ErrInUse = errors.New("decisionlog: in use by another process")
)

// Options says how the log works. The zero value is right for one replica.
type Options struct {
	Queue     int              // records that may wait; default 65536
	Batch     int              // records per transaction; default 500
	Every     time.Duration    // longest wait of a record before it is written; default 50 ms
	Replica   string           // whose sequence numbers these are; default "local"
	Retention time.Duration    // age at which decisions are deleted; 0 keeps them
	Now       func() time.Time // default time.Now
	Logger    *slog.Logger     // default slog.Default()
	Meter     metric.Meter     // default: no metrics
}

func (o Options) withDefaults() (Options, error) {
	if o.Queue < 0 || o.Batch < 0 || o.Every < 0 || o.Retention < 0 {
		return o, errors.New("queue, batch, every and retention must not be negative")
	}
	o.Queue = cmp.Or(o.Queue, 65536)
	o.Batch = cmp.Or(o.Batch, 500)
	o.Every = cmp.Or(o.Every, 50*time.Millisecond)
	o.Replica = cmp.Or(o.Replica, "local")
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	return o, nil
}

// Stats counts decisions since Open. Decided = Stored + Dropped + Queued in
// every snapshot.
type Stats struct {
	Decided uint64 // handed to Record
	Stored  uint64 // committed as rows
	Dropped uint64 // lost; the numbers are, or will be, in gap rows
	Queued  uint64 // on their way
}

// Log is the decision log. It is safe for concurrent use.
type Log struct {
	o     Options
	d     *dialect
	read  *sql.DB
	q     *queue
	w     *writer
	hurry chan struct{} // a batch is full, or somebody waits in Flush
	late  sync.Once     // one line about records after Close

	mu      sync.Mutex
	cancel  context.CancelFunc // stops Run; nil while it does not run
	done    chan struct{}      // closed when Run has returned
	closing bool
	closed  chan struct{}

	// Of whoever writes: Run, or Close after it.
	batch   []item
	failing time.Time // since when the database takes no rows
	missing bool      // the last batch told of drops

	unregister func() error
}

var _ authz.Recorder = (*Log)(nil)

// Open opens the log at url, "sqlite:PATH", and creates or migrates it. The
// file gets mode 0600, directories that it creates 0700. Only one process may
// have it open (ErrInUse). It starts nothing: records wait until Run runs.
func Open(url string, o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open decision log: %w", err)
	}
	d, err := openDialect(url)
	if err != nil {
		return nil, fmt.Errorf("open decision log: %w", err)
	}
	l := &Log{o: o, d: d, read: d.read, hurry: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := l.start(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("open decision log: %w", err), d.close())
	}
	return l, nil
}

func (l *Log) start(ctx context.Context) error {
	if err := migrate(ctx, l.d, l.o.Now()); err != nil {
		return err
	}
	last, err := begin(ctx, l.d, l.o.Replica, l.o.Now())
	if err != nil {
		return err
	}
	l.q = newQueue(l.o.Queue, last)
	l.w = newWriter(l.d, l.o.Replica)
	l.unregister, err = observe(l.o.Meter, l.Stats)
	return err
}

// Record queues one decision. It never blocks and does not allocate; if the
// queue is full the decision is dropped and counted, and its number goes into
// a gap row. The log owns r from then on; nothing in it may change any more.
func (l *Log) Record(r *authz.Record) {
	if r == nil {
		return
	}
	waiting, ok := l.q.put(r, l.o.Now)
	if !ok {
		l.late.Do(func() { l.o.Logger.Error("decisions arrive after the decision log was closed; they are lost") })
		return
	}
	if waiting == l.o.Batch {
		l.poke()
	}
}

func (l *Log) poke() {
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// Flush returns when everything recorded before the call can be queried, or is
// in a gap row: at once if nothing is queued. It needs Run; it ends with ctx,
// and with ErrClosed when the log closes before it could keep the promise.
func (l *Log) Flush(ctx context.Context) error {
	target := l.q.last()
	for {
		ok, news := l.q.reached(target)
		if ok {
			return nil
		}
		l.poke()
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("flush decision log: %w", ctx.Err())
		case <-l.closed:
			if ok, _ := l.q.reached(target); ok {
				return nil
			}
			return fmt.Errorf("flush decision log: %w", ErrClosed)
		}
	}
}

// Stats returns the counters, all of one instant.
func (l *Log) Stats() Stats { return l.q.stats() }

// Close stops Run if it runs, writes what is still queued, marks the end of the
// run as clean and releases the database. Stop whatever calls Record first:
// what arrives later is lost. It may be called more than once.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	cancel, done := l.cancel, l.done
	l.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
	return l.shut()
}

func (l *Log) shut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil
	default:
	}
	l.q.close()
	now, stop := context.WithCancel(context.Background())
	stop() // one try: whoever closes does not wait for a broken disk
	err := l.finish(now)
	if ok, _ := l.q.reached(l.q.last()); ok {
		err = errors.Join(err, end(context.Background(), l.d, l.o.Replica))
	}
	close(l.closed)
	if err = errors.Join(err, l.unregister(), l.d.close()); err != nil {
		return fmt.Errorf("close decision log: %w", err)
	}
	return nil
}
