// Package program builds, starts and ends programs for the tests of this
// module: the gate, gateways, providers. What a test started dies with it, also
// when the test itself is killed; what a program said is kept in a file, and its
// last words are in every error.
package program

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Patience bounds every wait; reaching it is a failure, never a result.
const Patience = 60 * time.Second

// Program is a program that a test started.
type Program struct {
	Name  string
	Log   string          // the file with its output
	Stdin io.Closer       // open until it is closed here, or the test is gone
	Ended <-chan struct{} // closed when it has exited

	cmd *exec.Cmd
	err error // of Wait; read after Ended
}

// Build builds the gate out of the repository at root, with more flags for
// `go build` if there are any, unless BATTERYGATE_BIN names a binary and there
// are none. It returns the path to the binary.
func Build(root, out string, flags ...string) (string, error) {
	if given := os.Getenv("BATTERYGATE_BIN"); given != "" && len(flags) == 0 {
		return filepath.Abs(given)
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), "./cmd/batterygate")...) //nolint:gosec // a test's own words
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, said)
	}
	return out, nil
}

// Start runs a program with its output added to the file log, and with more
// environment if env has any.
func Start(env []string, log, name string, args ...string) (*Program, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = file.Close() }() // the child has its own copy
	ended := make(chan struct{})
	p := &Program{Name: name, Log: log, Ended: ended, cmd: exec.Command(name, args...)} //nolint:gosec // a test's own words
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = dieWithTest()
	if p.Stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("open stdin of %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(ended)
	}()
	return p, nil
}

// Alive reports whether it has not exited.
func (p *Program) Alive() bool {
	select {
	case <-p.Ended:
		return false
	default:
		return true
	}
}

// Gone is the error that a program has exited that should not have.
func (p *Program) Gone() error {
	return fmt.Errorf("%s exited (%w); its last words:\n%s", p.Name, p.err, p.Tail())
}

// PID is its process id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal, whatever comes of it.
func (p *Program) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Terminate sends SIGTERM and waits; the error tells how it exited if not with 0.
func (p *Program) Terminate() error {
	if !p.Alive() {
		return p.Gone()
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	select {
	case <-p.Ended:
	case <-time.After(Patience / 2):
		p.Kill()
		return fmt.Errorf("%s ignored SIGTERM for %v; its last words:\n%s", p.Name, Patience/2, p.Tail())
	}
	// HAProxy ends by the signal itself; the others by their own will.
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM && filepath.Base(p.Name) == "haproxy" {
		return nil
	}
	if p.err != nil {
		return p.Gone()
	}
	return nil
}

// Kill ends it at once, as kill -9 does, and waits until it is gone.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.Ended
}

// AwaitExit waits for a program that ends by itself.
func (p *Program) AwaitExit() error {
	select {
	case <-p.Ended:
		return p.err
	case <-time.After(Patience):
		p.Kill()
		return errors.New("did not end")
	}
}

// Await polls until ok. It fails when the program exits before, or never comes
// to what.
func (p *Program) Await(what string, ok func() bool) error {
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return nil
		}
		if !p.Alive() {
			return p.Gone()
		}
	}
	return fmt.Errorf("%s never came to this: %s; its last words:\n%s", p.Name, what, p.Tail())
}

// AwaitListening waits until the address accepts connections.
func (p *Program) AwaitListening(addr string) error {
	return p.Await("listen on "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil && p.Alive()
	})
}

// Tail is the end of what it said.
func (p *Program) Tail() string {
	b, _ := os.ReadFile(p.Log)
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}
