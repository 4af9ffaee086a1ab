// Command bench measures how fast Battery Gate answers, side by side with a
// floor: a Gin handler that only answers 200, on the same listener settings, in
// a process of its own like the gate. Numbers of a machine mean little; the
// ratios between rows of one run are what to read.
//
//	go run ./cmd/batterygate/bench             # the table
//	go run ./cmd/batterygate/bench -duration 5s -rounds 3 -connections 64
//	go run ./cmd/batterygate/bench -only webhooks,reconcile
//
// The gate is the built binary, run by 'serve' with its decision log on. It is
// asked with real session cookies of many users, for many apps and paths. The
// load comes from wrk, which shares the machine.
//
//	doors      decisions per second against the floor
//	webhooks   events accepted durably per second, and how long one takes until
//	           decisions are made from it, against the disk's own fsync
//	reconcile  a full read of a large directory, against the time that WorkOS's
//	           rate limit makes it take
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	binary          string
	only, dir       string
	sessions, apps  int
	paths, requests int
	connections     int
	duration        time.Duration
	rounds          int
	senders, events int
	users           int
	floor           int // headers of the floor server; -1: this is the driver
	floorAddr       string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/batterygate", "the built program")
	flag.StringVar(&o.only, "only", "doors,webhooks", "tables to print: doors, webhooks, reconcile (takes minutes)")
	flag.StringVar(&o.dir, "dir", "", "where the gate's data lies during the run, which decides what an fsync costs; empty: the system's temporary folder")
	flag.IntVar(&o.sessions, "sessions", 1000, "users that sign in")
	flag.IntVar(&o.apps, "apps", 50, "apps")
	flag.IntVar(&o.paths, "paths", 1000, "paths")
	flag.IntVar(&o.requests, "requests", 20000, "distinct requests that are asked in turn")
	flag.IntVar(&o.connections, "connections", 32, "connections at once")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "of one measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "measurements of each row; the median is shown")
	flag.IntVar(&o.senders, "senders", 64, "webhooks: connections at once")
	flag.IntVar(&o.events, "events", 2000, "webhooks: events sent one by one, for the time that one takes")
	flag.IntVar(&o.users, "users", 10000, "reconcile: users of the directory")
	flag.IntVar(&o.floor, "floor", -1, "be the floor, with so many extra headers (used by the driver)")
	flag.StringVar(&o.floorAddr, "floor-addr", "", "where the floor listens (used by the driver)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.floor >= 0 {
		return serveFloor(ctx, o.floorAddr, o.floor)
	}
	return drive(ctx, o)
}
