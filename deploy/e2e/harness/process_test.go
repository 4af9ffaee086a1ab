package harness

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// patience bounds every wait; reaching it is a failure, never a result.
const patience = 60 * time.Second

// process is a program that a test started.
type process struct {
	cmd     *exec.Cmd
	logPath string
	ended   chan struct{} // closed when it has exited
	err     error         // of Wait; read after ended
}

// start runs a program with its output added to a file. It dies with the test.
func start(logPath, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close() // the child has its own copy
	p := &process{cmd: exec.Command(name, args...), logPath: logPath, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithTest()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// kill ends it as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// alive reports whether it has not exited.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) tail() string {
	b, _ := os.ReadFile(p.logPath)
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}

// within polls until ok or until the time is over, and reports how long it took.
func within(d time.Duration, ok func() bool) (time.Duration, bool) {
	began := time.Now()
	for {
		if ok() {
			return time.Since(began), true
		}
		if time.Since(began) > d {
			return time.Since(began), false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// must ends the test where a step that is not under test fails.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// do is must for a step that has no result.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
