package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; reaching it is a failure, never a result.
const patience = 60 * time.Second

// process is a program that a test started.
type process struct {
	cmd     *exec.Cmd
	name    string
	logPath string
	stdin   io.Closer     // open as long as the test lives
	ended   chan struct{} // closed when it has exited
	err     error         // of Wait; read after ended
}

// start runs a program with its output in a file. It dies with the test.
func start(logPath, name string, args ...string) (*process, error) {
	return startWith(nil, logPath, name, args...)
}

// startWith is start with more environment.
func startWith(env []string, logPath, name string, args ...string) (*process, error) {
	log, err := os.Create(logPath)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	defer log.Close() // the child has its own copy
	p := &process{cmd: exec.Command(name, args...), name: name, logPath: logPath, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = dieWithTest()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("open stdin of %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// terminate sends SIGTERM and waits; the error tells how it exited if not with 0.
func (p *process) terminate() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s had already exited (%w); its last words:\n%s", p.name, p.err, p.tail())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience / 2):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s ignored SIGTERM for %v; its last words:\n%s", p.name, patience/2, p.tail())
	}
	// HAProxy ends by the signal itself; the others by their own will.
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM && filepath.Base(p.name) == "haproxy" {
		return nil
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w; its last words:\n%s", p.name, p.err, p.tail())
	}
	return nil
}

// kill ends it at once, as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// awaitExit waits for a program that ends by itself.
func (p *process) awaitExit() error {
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		p.kill()
		return errors.New("did not end")
	}
}

func (p *process) tail() string {
	b, _ := os.ReadFile(p.logPath)
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}

// awaitListening waits until the address accepts connections.
func (p *process) awaitListening(addr string) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("%s exited (%w):\n%s", p.name, p.err, p.tail())
		default:
		}
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			return nil
		}
	}
	return fmt.Errorf("%s does not listen on %s:\n%s", p.name, addr, p.tail())
}

// lastPort is where the search for free ports goes on: below what the kernel
// gives to connections, so that none is taken between here and its use.
var lastPort = func() *atomic.Int32 {
	var p atomic.Int32
	p.Store(20000 + int32(os.Getpid()%8000))
	return &p
}()

// freePort finds a port of loopback that nobody uses just now.
func freePort() (int, error) {
	for range 1000 {
		port := int(lastPort.Add(1))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port, nil
		}
	}
	return 0, errors.New("no free port")
}

// eventually polls until ok or until patience ends.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("gave up waiting: %s", what)
}
