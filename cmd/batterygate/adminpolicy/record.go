package adminpolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/store"
)

const (
	versionKeys = "admin-policy/version/"
	bundleKeys  = "admin-policy/bundle/"
	activeKey   = "admin-policy/active/current"

	// shippedName stands for the shipped policy, whichever that is.
	shippedName = "shipped"

	maxVersions = 32 // kept at most; the oldest candidates go first
	maxPrevious = 16 // activations that can be rolled back
)

// versionRecord is what is known of a stored version beside its bundle.
type versionRecord struct {
	V         int       `json:"v"`
	Revision  string    `json:"revision"`
	CreatedAt time.Time `json:"created_at"`
	Author    string    `json:"author"`
	Tests     int       `json:"tests"`
}

type bundleRecord struct {
	V      int    `json:"v"`
	Bundle []byte `json:"bundle"`
}

// activeRecord says which version is in force, and which were before it, the
// last one last.
type activeRecord struct {
	V        int       `json:"v"`
	Revision string    `json:"revision"`
	Previous []string  `json:"previous"`
	At       time.Time `json:"at"`
	By       string    `json:"by"`
}

// decodeActive reads the record. None at all is the shipped policy's.
func decodeActive(value []byte) (activeRecord, error) {
	if value == nil {
		return activeRecord{V: 1, Revision: shippedName}, nil
	}
	var r activeRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return activeRecord{}, fmt.Errorf("read which admin policy is active: %w", err)
	}
	if r.V != 1 || r.Revision == "" {
		return activeRecord{}, fmt.Errorf("read which admin policy is active: version %d of the record is not known here", r.V)
	}
	return r, nil
}

func decodeBundle(value []byte) ([]byte, error) {
	var r bundleRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("read stored bundle: %w", err)
	}
	if r.V != 1 {
		return nil, fmt.Errorf("read stored bundle: version %d of the record is not known here", r.V)
	}
	return r.Bundle, nil
}

func decodeVersion(value []byte) (versionRecord, error) {
	var r versionRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return versionRecord{}, fmt.Errorf("read version of the admin policy: %w", err)
	}
	if r.V != 1 {
		return versionRecord{}, fmt.Errorf("read version of the admin policy: version %d of the record is not known here", r.V)
	}
	return r, nil
}

// pushed is the record with another version in force, and this one on the stack.
func (r activeRecord) pushed(name string, at time.Time, by string) activeRecord {
	previous := append(slices.Clone(r.Previous), r.Revision)
	if r.Revision == "" { // it could not be read
		previous = nil
	}
	if over := len(previous) - maxPrevious; over > 0 {
		previous = previous[over:]
	}
	return activeRecord{V: 1, Revision: name, Previous: previous, At: at.UTC(), By: by}
}

// holds reports whether a version is in force or could be rolled back to.
func (r activeRecord) holds(name string) bool {
	return r.Revision == name || slices.Contains(r.Previous, name)
}

// get is tx.Get with nil for what is not there.
func get(tx store.Tx, key string) ([]byte, error) {
	value, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err == nil && value == nil {
		value = []byte{}
	}
	return value, err
}

func put(tx store.Tx, key string, record any) error {
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	return tx.Put(key, value)
}
