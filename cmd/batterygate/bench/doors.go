package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"text/tabwriter"
	"time"
)

type target struct {
	name string
	url  string
	runs []measure
}

// doors starts the gate and the floors, signs everybody in, measures each
// target in turn, round by round, and prints the table.
func doors(ctx context.Context, o options, dir string) error {
	s, err := startGate(ctx, o, dir, benchWorld(o.sessions))
	if err != nil {
		return err
	}
	defer s.stop()
	fmt.Printf("Signing in %d users to %d apps …\n", o.sessions, o.apps)
	list := filepath.Join(dir, "requests.tsv")
	if err := s.prepare(ctx, o, list); err != nil {
		return err
	}
	targets := []*target{}
	for _, f := range []struct {
		name    string
		headers int
	}{{"floor: Gin answers 200", 0}, {"floor, same headers", len(allowHeaders)}} {
		url, stop, err := startFloor(ctx, f.headers)
		if err != nil {
			return err
		}
		defer stop()
		targets = append(targets, &target{name: f.name, url: url})
	}
	targets = append(targets, &target{name: "forward-auth, decision log on", url: s.authzURL + "/authz/forward-auth"})
	for _, t := range targets { // warm up
		if _, err := load(ctx, dir, doorScript, t.url, o.connections, time.Second, list); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for range o.rounds {
		for _, t := range targets {
			m, err := load(ctx, dir, doorScript, t.url, o.connections, o.duration, list)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			t.runs = append(t.runs, m)
		}
	}
	report(o, targets)
	return s.logged(ctx)
}

func report(o options, targets []*target) {
	fmt.Printf("\n%d sessions, %d apps, %d paths, %d distinct requests, %d connections, %d × %v, %d cores shared with the load, %s\n\n",
		o.sessions, o.apps, o.paths, o.requests, o.connections, o.rounds, o.duration, runtime.NumCPU(), runtime.Version())
	bare, same := median(targets[0].runs).perSecond, median(targets[1].runs).perSecond
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what\trequests/s\t× bare floor\t× same headers\tp50\tp99\t")
	for _, t := range targets {
		m := median(t.runs)
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f\t%v\t%v\t\n", t.name, m.perSecond, m.perSecond/bare, m.perSecond/same, m.p50, m.p99)
	}
	_ = w.Flush()
	fmt.Println("\nBars: ≥ 0.70 × the bare floor, ≥ 0.85 × the same-headers floor.")
}
