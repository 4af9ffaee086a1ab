package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"text/tabwriter"
	"time"
)

type target struct {
	name string
	url  string
	runs []measure
}

// drive starts the gate and the floors, signs everybody in, measures each
// target in turn, round by round, and prints the table.
func drive(ctx context.Context, o options) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("wrk is missing: 'make tools' installs it (Debian package wrk): %w", err)
	}
	dir, err := os.MkdirTemp("", "batterygate-bench-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	s, err := startGate(ctx, o, dir)
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
		if _, err := load(ctx, dir, t.url, list, o.connections, time.Second); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for range o.rounds {
		for _, t := range targets {
			m, err := load(ctx, dir, t.url, list, o.connections, o.duration)
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

// startFloor runs this program again as the floor.
func startFloor(ctx context.Context, headers int) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("find this program: %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-floor", strconv.Itoa(headers), "-floor-addr", addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start floor: %w", err)
	}
	stop = func() { terminate(cmd) }
	url = "http://" + addr + "/authz/forward-auth"
	if err := waitFor(ctx, url); err != nil {
		stop()
		return "", nil, err
	}
	return url, stop, nil
}

func terminate(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
}

// freeAddr is a loopback address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// waitFor waits until something answers at url.
func waitFor(ctx context.Context, url string) error {
	for range 200 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("make request: %w", err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s did not come up within 10 s", url)
}
