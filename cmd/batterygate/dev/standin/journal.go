package standin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// minJournal is what a journal may grow to before the state is written anew. A
// larger state allows a larger journal, so that writing costs the same per event
// however large the world is.
const minJournal = 4 << 20

// disk is where the state is kept. Server.mu guards it; path never changes.
//
// Every change is one line at the end of the journal, written before the caller
// is answered: a process that is killed loses nothing that it answered. Run
// brings the lines to the disk itself, within syncEvery, and the state whenever
// it is written; so a machine that loses power may lose the last moments, as a
// whole, but never gets a broken world.
type disk struct {
	path          string
	written, room int64 // bytes of the journal: how many there are, how many may be
	unsynced      bool
	broken        bool // a write failed: what is in the journal is not certain
}

// journalOf names the journal of a state file.
func journalOf(path string) string { return path + "-journal" }

type journalHead struct {
	Journal string `json:"journal"`
}

// journalEntry is one line of the journal. Event happened, and its webhook is to be
// sent if Pending; or the webhook of the event Done came through.
type journalEntry[O any] struct {
	Changes []O     `json:"changes,omitempty"`
	Event   *logged `json:"event,omitempty"`
	Pending bool    `json:"pending,omitempty"`
	Done    string  `json:"done,omitempty"`
	LastMS  int64   `json:"last_ms"`
}

func line(v any) ([]byte, error) {
	raw, err := compact(v)
	return append(raw, '\n'), err
}

// save appends to the journal what changed, with e's event or delivery.
func (s *Server) save(e journalEntry[op]) error {
	e.Changes, e.LastMS = s.st.changes, s.st.time.last
	s.st.changes = nil
	d := &s.disk
	if d.path == "" {
		return nil
	}
	if d.broken { // a half line may be at its end
		return d.snapshot(s.st)
	}
	raw, err := line(e)
	if err != nil {
		return fmt.Errorf("save a change: %w", err)
	}
	f, err := os.OpenFile(journalOf(d.path), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		d.broken = true
		return fmt.Errorf("save a change: %w", err)
	}
	_, err = f.Write(raw)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		d.broken = true
		return fmt.Errorf("save a change: %w", err)
	}
	d.written, d.unsynced = d.written+int64(len(raw)), true
	if d.written > d.room {
		return d.snapshot(s.st)
	}
	return nil
}

// syncJournal brings the journal to the disk if there is something new in it.
func (s *Server) syncJournal() error {
	s.mu.Lock()
	due := s.disk.unsynced
	s.disk.unsynced = false
	s.mu.Unlock()
	if !due {
		return nil
	}
	return syncPath(journalOf(s.disk.path))
}

// replay does again what the journal says, if it is the one that is wanted. A
// last line without its end was being written when the process was killed:
// nobody was answered, so it counts for nothing. Anything else that cannot be
// read is an error.
func (st *state) replay(path, want string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bufio.NewReader(bytes.NewReader(raw))
	for n := 0; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			var head journalHead
			if json.Unmarshal(line, &head) != nil || head.Journal != want {
				return nil
			}
			continue
		}
		var e journalEntry[savedOp]
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d of the journal: %w", n+1, err)
		}
		if err := st.redo(e); err != nil {
			return fmt.Errorf("line %d of the journal: %w", n+1, err)
		}
	}
}

// savedOp is an op as it is read.
type savedOp struct {
	Do    string          `json:"do"`
	ID    string          `json:"id"`
	Value json.RawMessage `json:"value"`
}

func (st *state) redo(e journalEntry[savedOp]) error {
	for _, o := range e.Changes {
		if err := st.redoOne(o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
	}
	st.changes, st.time.last = nil, e.LastMS
	if e.Event != nil {
		st.events.add(*e.Event)
		if e.Pending {
			st.pending = append(st.pending, e.Event.Event.ID)
		}
	}
	if i := slices.Index(st.pending, e.Done); i >= 0 {
		st.pending = slices.Delete(st.pending, i, i+1)
	}
	return nil
}

func (st *state) redoOne(o savedOp) error {
	switch o.Do {
	case "organization":
		return redoPut(o, st.putOrganization)
	case "connection":
		return redoPut(o, st.putConnection)
	case "directory":
		return redoPut(o, st.putDirectory)
	case "group":
		return redoPut(o, st.putGroup)
	case "user":
		return redoPut(o, st.putUser)
	case "profile":
		return redoPut(o, st.putProfile)
	case "role":
		return redoPut(o, st.putRole)
	case "belonging":
		return redoPut(o, st.putBelonging)
	case "join":
		return redoPut(o, func(user string) { st.join(o.ID, user) })
	case "leave":
		return redoPut(o, func(user string) { st.leave(o.ID, user) })
	}
	drop, ok := map[string]func(string){
		"drop organization": st.dropOrganization, "drop connection": st.dropConnection, "drop directory": st.dropDirectory,
		"drop group": st.dropGroup, "drop user": st.dropUser, "drop role": st.dropRole, "drop belonging": st.dropBelonging,
	}[o.Do]
	if !ok {
		return errors.New("unknown change")
	}
	drop(o.ID)
	return nil
}

func redoPut[T any](o savedOp, put func(T)) error {
	var v T
	if err := json.Unmarshal(o.Value, &v); err != nil {
		return err
	}
	put(v)
	return nil
}
