package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"testing"

	"battery.app/gate/deploy/e2e/program"
)

// suite is what all tests share.
type suite struct {
	root   string // of the repository
	tmp    string
	binary string

	mu      sync.Mutex
	worlds  map[string]func() (*world, error) // one per front, started when first needed
	skipped map[string]int                    // reason → tests
	ran     map[string]int                    // front → tests

	starting     sync.Mutex      // over what follows
	browser      context.Context // Chromium, started when first needed
	closeBrowser func()
}

var shared suite

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	var err error
	if shared.root, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if shared.tmp, err = os.MkdirTemp("", "batterygate-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(shared.tmp) }()
	shared.worlds, shared.skipped, shared.ran = map[string]func() (*world, error){}, map[string]int{}, map[string]int{}
	if shared.binary, err = program.Build(shared.root, filepath.Join(shared.tmp, "batterygate")); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() {
		for name, started := range shared.worlds {
			w, err := started()
			if err == nil {
				err = w.stop()
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "e2e: stop %s: %v\n", name, err)
				code = 1
			}
		}
	}()
	defer func() {
		if shared.closeBrowser != nil {
			shared.closeBrowser()
		}
	}()
	// The fronts run side by side: each has a world of its own, and most of a
	// test is waiting.
	flag.Parse()
	if err := flag.Set("test.parallel", fmt.Sprint(len(fronts))); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code = m.Run()
	if !summary() {
		code = 1
	}
	return code
}

// summary tells what ran and what did not, so that a skipped suite cannot pass
// for a proof. It reports whether that is acceptable: not, where CI is set and
// something was skipped.
func summary() bool {
	fmt.Fprintln(os.Stderr, "\ne2e: fronts proven:")
	for _, name := range keys(shared.ran) {
		fmt.Fprintf(os.Stderr, "e2e:   %-12s %d tests\n", name, shared.ran[name])
	}
	if len(shared.skipped) == 0 {
		return true
	}
	fmt.Fprintln(os.Stderr, "e2e: ==== NOT PROVEN, tests were skipped: ====")
	for _, reason := range keys(shared.skipped) {
		fmt.Fprintf(os.Stderr, "e2e:   %s: %d tests\n", reason, shared.skipped[reason])
	}
	return os.Getenv("CI") == ""
}

func keys(m map[string]int) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// tool finds a program in .tools/bin or in PATH; without it the test is
// skipped, or failed where CI is set.
func tool(t *testing.T, name string) string {
	t.Helper()
	own := filepath.Join(shared.root, ".tools", "bin", name)
	if info, err := os.Stat(own); err == nil && info.Mode()&0o111 != 0 {
		return own
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	lack(t, name)
	return ""
}

// lack skips a test for want of something that `make tools` brings, or fails it
// where CI is set.
func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing on %s/%s: run `make tools`", what, runtime.GOOS, runtime.GOARCH)
	}
	shared.mu.Lock()
	shared.skipped[what+" is missing, run `make tools`"]++
	shared.mu.Unlock()
	t.Skipf("NOT PROVEN: %s is missing; run `make tools`", what)
}
