package harness

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// step is a system call that strace saw. begin and end are places in the one
// order in which it saw all of them: a call that ended before another began was
// over when that one was made. end is 0 for one that was not seen to end.
type step struct {
	begin, end int
	name       string
	file       string // what the descriptor is: a path or a connection
	data       []byte // what was read or written
	offset     int64  // of a pwrite64; the new size for an ftruncate
	result     int64
}

func (c step) over(at int) bool { return c.end != 0 && c.end < at && c.result >= 0 }

// traced are the calls that matter: how requests come and answers go, and all
// ways by which a file gets its content and reaches the disk.
const traced = "read,write,writev,pwrite64,pwritev,pwritev2,fdatasync,fsync,sync,msync,sync_file_range,ftruncate,fallocate"

// trace attaches strace to a running gate and returns what detaches it and reads
// what it wrote.
func trace(t *testing.T, g *gate) (stop func() []step) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		notProven(t, "strace is missing (a Debian package; `make tools` fetches it)")
	}
	out, log := filepath.Join(g.home, "strace.txt"), filepath.Join(g.home, "strace.log")
	p, err := program.Start(nil, log, strace, "-f", "-yy", "-xx", "-s", "2000000", "-e", "signal=none", "-e", "trace="+traced, "-o", out,
		"-p", strconv.Itoa(g.proc.PID()))
	do(t, err)
	t.Cleanup(p.Kill)
	if err := p.Await("attach", func() bool { return strings.Contains(p.Tail(), "attached") }); err != nil {
		notProven(t, "strace cannot attach (it needs ptrace): "+err.Error())
	}
	return func() []step {
		t.Helper()
		do(t, p.Signal(os.Interrupt)) // it detaches; the program lives on
		select {
		case <-p.Ended:
		case <-time.After(patience):
			t.Fatal("strace does not detach")
		}
		f := must(os.Open(out))(t)
		defer f.Close()
		calls, err := readTrace(f)
		do(t, err)
		return calls
	}
}

var (
	wholeLine  = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+|\?).*$`)
	unfinished = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <(?:unfinished|detached) \.\.\.>$`)
	resumed    = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?).*$`)
)

// readTrace puts the two halves of calls back together that strace had to split
// because something else happened in between.
func readTrace(f *os.File) ([]step, error) {
	var calls []step
	open := map[string]int{} // thread → index of its unfinished call
	half := map[string]string{}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 64<<20)
	line := 0
	for in.Scan() {
		line++
		text := in.Text()
		if m := unfinished.FindStringSubmatch(text); m != nil {
			open[m[1]], half[m[1]] = len(calls), m[3]
			c, err := parseCall(m[2], m[3], "0")
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			c.begin = line
			calls = append(calls, c)
		} else if m := resumed.FindStringSubmatch(text); m != nil {
			i, ok := open[m[1]]
			if !ok {
				continue // began before strace came
			}
			c, err := parseCall(m[2], half[m[1]]+m[3], m[4])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			c.begin, c.end = calls[i].begin, line
			calls[i] = c
			delete(open, m[1])
		} else if m := wholeLine.FindStringSubmatch(text); m != nil {
			c, err := parseCall(m[2], m[3], m[4])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			c.begin, c.end = line, line
			calls = append(calls, c)
		}
	}
	if len(calls) == 0 {
		return nil, errors.New("strace saw nothing")
	}
	return calls, in.Err()
}

// parseCall reads "18<path>, \"\\x..\", 4096, 8192".
func parseCall(name, args, result string) (step, error) {
	c := step{name: name}
	if result != "?" { // it was not to see how it ended
		c.result, _ = strconv.ParseInt(result, 10, 64)
	} else {
		c.result = -1
	}
	// Descriptors of connections hold "->" and need care: the name ends at ">,".
	fd, rest, _ := strings.Cut(args, ">, ")
	if at := strings.IndexByte(fd, '<'); at >= 0 {
		c.file = unhexName(strings.TrimSuffix(fd[at+1:], ">"))
	}
	switch name {
	case "read", "write", "pwrite64":
		quoted, after, ok := cutQuoted(rest)
		if !ok {
			return c, nil // a read that failed, or whose second half is still to come
		}
		data, err := hex.DecodeString(strings.ReplaceAll(quoted, `\x`, ""))
		if err != nil {
			return c, fmt.Errorf("read strace's bytes: %w", err)
		}
		c.data = data
		numbers := strings.Split(strings.Trim(after, ", "), ", ")
		if name == "pwrite64" {
			c.offset, err = strconv.ParseInt(numbers[len(numbers)-1], 10, 64)
		}
		return c, err
	case "ftruncate":
		size, err := strconv.ParseInt(rest, 10, 64)
		c.offset = size
		return c, err
	}
	return c, nil
}

// cutQuoted splits `"…", 1, 2` behind the quoted part. With -xx no quote is in it.
func cutQuoted(s string) (quoted, after string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", false
	}
	return strings.Cut(s[1:], `"`)
}

// unhexName: -xx writes paths in hex, too, in some versions of strace.
func unhexName(s string) string {
	if !strings.HasPrefix(s, `\x`) {
		return s
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		return s
	}
	return string(raw)
}

// answered is a webhook and its 200, by their places in the trace.
type answered struct {
	event       string // its id
	came, reply int    // the request was read; the answer's write began
}

var eventID = regexp.MustCompile(`"id":"(event_\w+)"`)

// webhooks finds the webhooks that were answered 200, in the order of the
// answers. A request may come in several reads: Go's server asks for one byte of
// the next one while it works on this one. So a read counts when it ended, and a
// write when it began.
func webhooks(calls []step) []answered {
	at := func(c step) int {
		if c.name == "read" {
			return c.end
		}
		return c.begin
	}
	calls = slices.Clone(calls)
	slices.SortStableFunc(calls, func(a, b step) int { return cmp.Compare(at(a), at(b)) })
	type request struct {
		came int
		text []byte
	}
	var out []answered
	requests := map[string]request{} // by connection
	for _, c := range calls {
		switch {
		case c.name == "read" && strings.HasPrefix(c.file, "TCP") && len(c.data) > 0:
			r := requests[c.file]
			if r.came == 0 {
				r.came = c.end
			}
			r.text = append(r.text, c.data...)
			requests[c.file] = r
		case c.name == "write" && bytes.HasPrefix(c.data, []byte("HTTP/1.1 ")):
			r := requests[c.file]
			delete(requests, c.file)
			id := eventID.FindSubmatch(r.text)
			if id != nil && bytes.HasPrefix(r.text, []byte("POST /webhooks/workos ")) && bytes.HasPrefix(c.data, []byte("HTTP/1.1 200 ")) {
				out = append(out, answered{event: string(id[1]), came: r.came, reply: c.begin})
			}
		}
	}
	return out
}
