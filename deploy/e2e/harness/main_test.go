package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"battery.app/gate/deploy/e2e/program"
)

// suite is what all tests share.
type suite struct {
	root   string // of the repository
	tmp    string
	binary string
	soak   bool // long runs

	mu      sync.Mutex
	lines   []string // what was proven, for the end
	skipped []string
}

var shared suite

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(shared.tmp) }()
	code := m.Run()
	for _, l := range shared.lines {
		fmt.Fprintln(os.Stderr, "harness:", l)
	}
	for _, l := range shared.skipped {
		fmt.Fprintln(os.Stderr, "harness: ==== NOT PROVEN:", l, "====")
	}
	return code
}

func prepare() (err error) {
	shared.soak = os.Getenv("SOAK") != "" && os.Getenv("SOAK") != "0"
	if shared.root, err = filepath.Abs("../../.."); err != nil {
		return err
	}
	if shared.tmp, err = os.MkdirTemp("", "batterygate-harness-"); err != nil {
		return err
	}
	shared.binary, err = build("batterygate")
	return err
}

// build builds the program, in a variant if there are flags.
func build(name string, flags ...string) (string, error) {
	return program.Build(shared.root, filepath.Join(shared.tmp, name), flags...)
}

// proven notes a line for the end of the run.
func proven(t *testing.T, format string, args ...any) {
	t.Helper()
	line := t.Name() + ": " + fmt.Sprintf(format, args...)
	t.Log(line)
	shared.mu.Lock()
	shared.lines = append(shared.lines, line)
	shared.mu.Unlock()
}

// notProven skips a test, loudly; where CI is set it fails it.
func notProven(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	shared.mu.Lock()
	shared.skipped = append(shared.skipped, t.Name()+": "+why)
	shared.mu.Unlock()
	t.Skip("NOT PROVEN: " + why)
}

// withoutSync builds the program with a store that does not wait for the disk:
// what the tests that watch for it must notice. -overlay puts the changed file
// in the build alone; the tree stays as it is.
var withoutSync = sync.OnceValues(func() (string, error) {
	return mutant("nosync", "store/boltstore/store.go", "&bolt.Options{", "&bolt.Options{NoSync: true, ")
})

// mutant builds the program with one piece of one file replaced.
func mutant(name, file, old, new string) (string, error) {
	path := filepath.Join(shared.root, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if strings.Count(string(text), old) != 1 {
		return "", fmt.Errorf("%s no longer holds %q once: say here how to break it now", file, old)
	}
	changed := filepath.Join(shared.tmp, name+".go")
	overlay := filepath.Join(shared.tmp, name+".json")
	err = errors.Join(
		os.WriteFile(changed, []byte(strings.Replace(string(text), old, new, 1)), 0o600),
		os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, path, changed), 0o600))
	if err != nil {
		return "", err
	}
	return build("batterygate-"+name, "-overlay", overlay)
}
