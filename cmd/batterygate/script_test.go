package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"batterygate": func() { os.Exit(run(os.Args[1:])) }})
}

// TestScript runs the command line as a person would; each file in
// testdata/script is one session.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: func(e *testscript.Env) error {
		e.Setenv("GORACE", "atexit_sleep_ms=0") // else every verb waits a second at its end
		return nil
	}})
}
