package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A power cut right after any 200 loses nothing that was answered. The disk as
// it would be left is made from the recorded system calls: what was synced is
// there; of what was written later, sectors may be there or not, in any mixture.
func TestWhatWasAnsweredSurvivesAPowerCut(t *testing.T) {
	cuts := 15
	if shared.soak {
		cuts = 200
	}
	r := record(t, shared.binary)
	missing, found := 0, 0
	for range cuts {
		lost, there, err := r.cut(t)
		do(t, err)
		missing, found = missing+len(lost), found+there
		if len(lost) > 0 {
			t.Errorf("answered 200 and lost in a power cut: %v", lost)
		}
	}
	if found == 0 {
		t.Error("no event was answered before any cut: nothing was shown")
	}
	proven(t, "%d power cuts in a flood of %d events from 8 connections: %d answered ones looked for, lost=%d", cuts, len(r.answered), found+missing, missing)
}

// Take the sync out, and the test above fails: events are lost, or the file is
// beyond reading.
func TestThePowerCutFindsTheMissingSync(t *testing.T) {
	r := record(t, must(withoutSync())(t))
	for n := range 5 {
		lost, _, err := r.cut(t)
		if len(lost) > 0 || err != nil {
			proven(t, "a build without the sync is found out at cut %d: %d answered events lost, does it start: %t", n+1, len(lost), err == nil)
			return
		}
	}
	t.Error("five power cuts under a store that never syncs, and nothing was lost: the test is blind")
}

// recording is a flood as the disk saw it.
type recording struct {
	binary   string
	place    place
	home     string // the data as it was before, but for the decision log
	before   []byte // the store's file then
	calls    []step
	answered []answered
	users    map[string]string // event → the user that it creates
	rand     *rand.Rand
}

// record floods a traced gate for a moment. Every event creates a user of its
// own, so that each leaves its trace whatever comes after it.
func record(t *testing.T, binary string) *recording {
	t.Helper()
	r := &recording{binary: binary, home: t.TempDir(), users: map[string]string{}, rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))}
	g := newGate(t, binary, "--catch-up=false")
	do(t, g.start())
	r.place = must(g.place("acme"))(t)
	stop := trace(t, g)
	do(t, copyHome(g.data(), r.home))
	r.before = must(os.ReadFile(filepath.Join(r.home, "battery.db")))(t)

	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, 8)
	end := time.Now().Add(800 * time.Millisecond)
	for i := range errs {
		wg.Go(func() {
			own, hc := rand.New(rand.NewPCG(uint64(i), 7)), loopback(1)
			for time.Now().Before(end) && errs[i] == nil {
				now := time.Now()
				e := newEvent(own, r.place, userCreated, ulid(own, "directory_user_", now), "", attributes{state: "active"}, now)
				mu.Lock()
				r.users[e.id] = e.user
				mu.Unlock()
				status, err := g.post(hc, e)
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("%w %d", errAnswered, status)
				}
				errs[i] = err
			}
		})
	}
	wg.Wait()
	do(t, errors.Join(errs...))
	r.calls = stop()
	g.kill()
	r.answered = webhooks(r.calls)
	if len(r.answered) != len(r.users) {
		t.Fatalf("strace shows %d webhooks that were answered 200; %d were sent", len(r.answered), len(r.users))
	}
	return r
}

// copyHome copies a dev world's data; its decision log is written all the time
// and not needed.
func copyHome(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(d.Name(), "decisions.db") {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !d.Type().IsRegular() { // a socket
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}

// cut turns the power off right after a random 200, starts the program on what
// is left and returns the answered events that it no longer knows, and how many
// it knows. The error says that it does not start.
func (r *recording) cut(t *testing.T) (lost []string, there int, err error) {
	t.Helper()
	last := r.rand.IntN(len(r.answered))
	at := r.answered[last].reply
	g := newGate(t, r.binary, "--catch-up=false")
	do(t, copyHome(r.home, g.data()))
	do(t, os.WriteFile(filepath.Join(g.data(), "battery.db"), r.disk(at), 0o600))
	if err := g.start(); err != nil {
		return nil, 0, fmt.Errorf("the program does not start on what a power cut left: %w", err)
	}
	defer g.kill()
	known := map[string]bool{}
	for _, u := range must(list[shown](g, "directories/"+r.place.directory+"/users"))(t) {
		known[u.ID] = true
	}
	for _, a := range r.answered[:last+1] {
		if known[r.users[a.event]] {
			there++
		} else {
			lost = append(lost, a.event)
		}
	}
	return lost, there, nil
}

// disk is the store's file as it may be after the power went at a moment.
func (r *recording) disk(at int) []byte {
	const sector = 512
	image := slices.Clone(r.before)
	put := func(c step, from, to int) {
		if need := int(c.offset) + to; need > len(image) {
			image = append(image, make([]byte, need-len(image))...)
		}
		copy(image[int(c.offset)+from:], c.data[from:to])
	}
	for i, c := range r.calls {
		if c.begin > at || !strings.HasSuffix(c.file, "/battery.db") {
			continue
		}
		switch {
		case c.name == "ftruncate": // grows only; what is new reads as zeros either way
			if grow := int(c.offset) - len(image); grow > 0 {
				image = append(image, make([]byte, grow)...)
			}
		case c.name != "pwrite64":
		case r.synced(i, at):
			put(c, 0, len(c.data))
		default:
			for from := 0; from < len(c.data); from += sector {
				if r.rand.IntN(2) == 0 {
					put(c, from, min(from+sector, len(c.data)))
				}
			}
		}
	}
	return image
}

// synced reports whether a write was over before a sync began that was over in
// time.
func (r *recording) synced(write, at int) bool {
	w := r.calls[write]
	for _, c := range r.calls[write:] {
		if (c.name == "fdatasync" || c.name == "fsync") && strings.HasSuffix(c.file, "/battery.db") && w.over(c.begin) && c.over(at) {
			return true
		}
	}
	return false
}
