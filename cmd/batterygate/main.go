// Command batterygate answers gateways that ask whether a request may reach an
// app. 'batterygate dev' shows all of it on one machine; 'batterygate serve'
// runs it for real.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"battery.app/gate/cmd/batterygate/config"
)

// version is set when a release is linked.
var version = "dev"

// Exit codes.
const (
	exitFailed = 1 // it was tried and did not work
	exitUsage  = 2 // the command line or the configuration is at fault; nothing was tried
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	// A verb that names itself begins with the program's name, which stands there.
	fmt.Fprintln(os.Stderr, "batterygate:", strings.TrimPrefix(err.Error(), root.Name()+" "))
	var usage usageError
	if _, ok := config.AsFaults(err); ok || errors.As(err, &usage) {
		return exitUsage
	}
	var coded codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// usageError marks an error in how a verb was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
