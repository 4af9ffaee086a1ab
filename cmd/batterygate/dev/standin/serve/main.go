// Command serve runs the WorkOS stand-in alone, without anything of Battery
// Gate around it: for trying an SDK against it, and for the tests in
// deploy/e2e/oracles, which drive it with WorkOS's own clients. It prints one
// line of JSON that says how to reach it, and runs until it is interrupted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

// ready is the line that is printed.
type ready struct {
	URL      string `json:"url"`
	APIKey   string `json:"api_key"`
	ClientID string `json:"client_id"`
}

func run(ctx context.Context, args []string) error {
	opt := standin.Options{World: standin.DefaultWorld(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "loopback `address` to listen on")
	flags.StringVar(&opt.APIKey, "api-key", "sk_test_standin", "what callers must bear")
	flags.StringVar(&opt.ClientID, "client-id", "client_standin", "the application that may ask for sign-ins")
	flags.StringVar(&opt.WebhookURL, "webhook-url", "", "where webhooks go; loopback; none if empty")
	flags.StringVar(&opt.WebhookSecret, "webhook-secret", "", "what webhooks are signed with")
	flags.StringVar(&opt.State, "state", "", "the `file` that the world is kept in; in memory if empty")
	flags.DurationVar(&opt.EventsDelay, "events-delay", 3*time.Second, "how long GET /events holds new events back")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	s, err := standin.New(opt)
	if err != nil {
		return err
	}
	on, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return serve(ctx, s, on, ready{"http://" + on.Addr().String(), opt.APIKey, opt.ClientID})
}

// serve returns when ctx ends and the last request is answered.
func serve(ctx context.Context, s *standin.Server, on net.Listener, say ready) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	sent := make(chan error, 1)
	go func() {
		sent <- s.Run(ctx)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = srv.Shutdown(grace)
	}()
	if err := json.NewEncoder(os.Stdout).Encode(say); err != nil {
		return fmt.Errorf("say that it is ready: %w", err)
	}
	if err := srv.Serve(on); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-sent
}
