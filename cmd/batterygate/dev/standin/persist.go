package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// savedVersion is the version of the state file; another one is refused.
const savedVersion = 1

type saved struct {
	Version int      `json:"version"`
	World   World    `json:"world"`
	Events  []logged `json:"events"`
	Pending []string `json:"pending"`
	LastMS  int64    `json:"last_ms"`
}

// load reads the state file. found is false where there is none yet.
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
	if s.Version != savedVersion {
		return nil, false, fmt.Errorf("read the world in %s: version %d is not %d", path, s.Version, savedVersion)
	}
	if err := s.World.check(); err != nil {
		return nil, false, fmt.Errorf("read the world in %s: %w", path, err)
	}
	st.lay(s.World)
	st.events, st.pending, st.time.last = s.Events, s.Pending, s.LastMS
	return st, true, nil
}

// save writes the whole state beside the file and renames it into place: a
// reader, or the next start after a crash, finds the old world or the new one.
func (st *state) save(path string) (err error) {
	if path == "" {
		return nil
	}
	raw, err := compact(saved{
		Version: savedVersion, World: st.world(), Events: st.events, Pending: st.pending, LastMS: st.time.last,
	})
	if err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(raw); err != nil {
		_ = f.Close()
		return fmt.Errorf("save the world: %w", err)
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("save the world: %w", err)
	}
	return nil
}
