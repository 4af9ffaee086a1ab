package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// group is one table.
type group struct {
	name string
	run  func(ctx context.Context, o options, dir string) error
}

// groups are the tables that can be asked for with -only, in the order in which
// they are printed.
var groups = []group{
	{"doors", doors},
	{"webhooks", webhooks},
	{"reconcile", reconcile},
}

// drive prints the tables that are wanted. Each has a gate of its own.
func drive(ctx context.Context, o options) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("wrk is missing: 'make tools' installs it (Debian package wrk): %w", err)
	}
	wanted := strings.Split(o.only, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
			return fmt.Errorf("-only: there is no %q; there are doors, webhooks and reconcile", name)
		}
	}
	dir, err := os.MkdirTemp(o.dir, "batterygate-bench-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	for _, g := range groups {
		if !slices.Contains(wanted, g.name) {
			continue
		}
		own := filepath.Join(dir, g.name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := g.run(ctx, o, own); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
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
