package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// readRate is how many requests per second a directory is read with: WorkOS
// allows four for the users of one directory, and one is left for others.
const readRate = 3

// reconcile measures a full read of a large directory, from its first request
// until what it found is in force, against the time that the rate limit alone
// makes so many requests take. First an empty gate learns everything, then one
// that knows it all already reads again.
func reconcile(ctx context.Context, o options, dir string) error {
	o.apps = 1
	world := reconcileWorld(o.users)
	s := &subject{world: world, catchUp: true}
	if err := s.start(ctx, o, dir); err != nil {
		return err
	}
	defer s.stop()
	fmt.Printf("Reading a directory of %d users at %d requests per second: %v or more, twice …\n",
		o.users, readRate, (time.Duration(pages(world)) * time.Second / readRate).Round(time.Second))
	var runs []reading
	if err := s.untilReconciled(ctx, world.Directories[0].ID); err != nil {
		return err
	}
	runs = append(runs, s.counter.take("an empty gate learns it"))
	if n, err := s.users(ctx, world.Directories[0].ID); err != nil || n != o.users {
		return fmt.Errorf("the gate knows %d of %d users after the full read (%w)", n, o.users, err)
	}
	if err := s.api(ctx, http.MethodPost, "directories/"+world.Directories[0].ID+"/reconcile", "", nil); err != nil {
		return err
	}
	runs = append(runs, s.counter.take("nothing has changed"))
	reportReconcile(o, runs, pages(world))
	return nil
}

func reportReconcile(o options, runs []reading, least int) {
	fmt.Printf("\n%d users, at least %d pages of 100\n\n", o.users, least)
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "full read\trequests\t429s\ttook\tthe limit's own time\t×\t")
	for _, r := range runs {
		own := time.Duration(r.requests) * time.Second / readRate
		fmt.Fprintf(w, "%s\t%d\t%d\t%v\t%v\t%.2f\t\n", r.name, r.requests, r.limited,
			r.took.Round(100*time.Millisecond), own.Round(100*time.Millisecond), r.took.Seconds()/own.Seconds())
	}
	_ = w.Flush()
	fmt.Println("\nBar: ≤ 1.10 × the rate limit's own time.")
}

// reconcileWorld is acme with everybody in Everyone and every fifth user in
// Engineering.
func reconcileWorld(users int) standin.World {
	w := benchWorld(users)
	everyone := w.Memberships[:0]
	for i, m := range w.Memberships { // by user, Engineering first
		if i%2 == 1 || i/2%5 == 0 {
			everyone = append(everyone, m)
		}
	}
	w.Memberships = everyone
	return w
}

// pages is the least number of requests that read a world's only directory:
// its users, its groups, and the members of each group.
func pages(w standin.World) int {
	const page = 100
	of := func(n int) int { return max(1, (n+page-1)/page) }
	n, members := of(len(w.Users))+of(len(w.Groups)), map[string]int{}
	for _, m := range w.Memberships {
		members[m.GroupID]++
	}
	for _, g := range w.Groups {
		n += of(members[g.ID])
	}
	return n
}

// untilReconciled waits until a full read of a directory has ended well.
func (s *subject) untilReconciled(ctx context.Context, directory string) error {
	for {
		var state struct {
			CatchUp     bool `json:"catch_up"`
			Directories []struct {
				ID        string `json:"id"`
				Freshness struct {
					LastReconcile *time.Time `json:"last_reconcile"`
				} `json:"freshness"`
			} `json:"directories"`
		}
		if err := s.api(ctx, http.MethodGet, "sync", "", &state); err != nil {
			return err
		}
		if !state.CatchUp {
			return errors.New("the gate does not catch up")
		}
		for _, d := range state.Directories {
			if d.ID == directory && d.Freshness.LastReconcile != nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// users counts a directory's users.
func (s *subject) users(ctx context.Context, directory string) (n int, err error) {
	for cursor := ""; ; {
		var page struct {
			Data       []struct{} `json:"data"`
			NextCursor *string    `json:"next_cursor"`
		}
		if err := s.api(ctx, http.MethodGet, "directories/"+directory+"/users?limit=500&cursor="+cursor, "", &page); err != nil {
			return n, err
		}
		n += len(page.Data)
		if page.NextCursor == nil {
			return n, nil
		}
		cursor = *page.NextCursor
	}
}

// counter counts the requests that read a directory's users and groups.
type counter struct {
	mu                sync.Mutex
	began             time.Time
	requests, limited int
}

// reading is what a full read took.
type reading struct {
	name              string
	requests, limited int
	took              time.Duration
}

func (c *counter) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/directory_") {
			next.ServeHTTP(w, r)
			return
		}
		c.mu.Lock()
		if c.requests == 0 {
			c.began = time.Now()
		}
		c.requests++
		c.mu.Unlock()
		seen := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(seen, r)
		if seen.status == http.StatusTooManyRequests {
			c.mu.Lock()
			c.limited++
			c.mu.Unlock()
		}
	})
}

// take ends a reading and begins the next.
func (c *counter) take(name string) reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := reading{name, c.requests, c.limited, time.Since(c.began)}
	c.requests, c.limited = 0, 0
	return r
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
