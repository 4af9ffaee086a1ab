package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// savedVersion is the version of the state file. Version 1 had no journal and
// is still read; any other is refused.
const savedVersion = 2

// saved is the state file: the whole world at one moment. What happened since
// is in the journal beside it, if that has the same Journal.
type saved struct {
	Version int      `json:"version"`
	Journal string   `json:"journal,omitempty"`
	World   World    `json:"world"`
	Events  []logged `json:"events"`
	Pending []string `json:"pending"`
	LastMS  int64    `json:"last_ms"`
}

// load reads the state file and its journal. found is false where there is none
// yet.
func load(path string) (st *state, found bool, err error) {
	st = newState()
	if path == "" {
		return st, false, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the world: %w", err)
	}
	var s saved
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, false, fmt.Errorf("read the world in %s: %w", path, err)
	}
	if s.Version != 1 && s.Version != savedVersion {
		return nil, false, fmt.Errorf("read the world in %s: version %d is not %d", path, s.Version, savedVersion)
	}
	if err := s.World.check(); err != nil {
		return nil, false, fmt.Errorf("read the world in %s: %w", path, err)
	}
	st.lay(s.World)
	for _, e := range s.Events {
		st.events.add(e)
	}
	st.pending, st.time.last = s.Pending, s.LastMS
	if s.Journal != "" {
		if err := st.replay(journalOf(path), s.Journal); err != nil {
			return nil, false, fmt.Errorf("read the world in %s: %w", path, err)
		}
	}
	return st, true, nil
}

// snapshot writes the whole state, and begins a new journal. A crash at any
// point leaves the old state with the old journal, or the new one with a
// journal that is not its own, which counts as none.
func (d *disk) snapshot(st *state) error {
	st.changes = nil
	if d.path == "" {
		return nil
	}
	next := token()
	raw, err := compact(saved{
		Version: savedVersion, Journal: next, World: st.world(), Events: st.events.list, Pending: st.pending, LastMS: st.time.last,
	})
	if err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	if err := replaceFile(d.path, raw); err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	head, err := line(journalHead{Journal: next})
	if err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	if err := replaceFile(journalOf(d.path), head); err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	d.written, d.room, d.unsynced, d.broken = 0, max(minJournal, int64(len(raw))), false, false
	return nil
}

// replaceFile writes beside the file, to the disk, and renames into place: a
// reader, or the next start after a crash, finds the old content or the new.
func replaceFile(path string, raw []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(raw); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// syncPath brings to the disk what was written to a file, or renamed in a
// directory.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
