package directory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/store"
)

// maxRaw is how much of an event that cannot be applied is kept.
const maxRaw = 16 << 10

// worldDirty stands for the list of organizations, connections and directories
// in the key of a dirty mark and of what is known of readings. No id of WorkOS
// is of this form.
const worldDirty = "organizations"

// maxSoiled bounds the directories that one event marks.
const maxSoiled = 32

// DeadLetter is an event of a page that cannot be applied: it is put aside, so
// that the feed goes on, and what it may have been about is read anew.
type DeadLetter struct {
	ID             string    `json:"id"`
	Type           string    `json:"type"`
	CreatedAt      time.Time `json:"created_at,omitzero"`
	OrganizationID string    `json:"organization_id,omitempty"` // if known, else found in Raw if it is there
	DirectoryID    string    `json:"directory_id,omitempty"`    // as above
	Raw            []byte    `json:"raw"`                       // at most its first 16 KiB are kept
	Reason         string    `json:"reason"`
	ReceivedAt     time.Time `json:"received_at"` // set here
}

type (
	deadRecord struct {
		V int `json:"v"`
		DeadLetter
	}
	// dirtyRecord wants a directory, or the list of them, to be read anew.
	dirtyRecord struct {
		V      int    `json:"v"`
		At     int64  `json:"at"` // Unix ms of our clock
		Reason string `json:"reason"`
	}
)

func (r deadRecord) known() bool  { return r.V == version }
func (r dirtyRecord) known() bool { return r.V == version }

// bury keeps a dead letter and marks what it is about. The first copy stays.
func (w *writer) buryLetter(v *View, dl DeadLetter, received int64) error {
	dl.ReceivedAt = instant(received)
	dl.complete()
	key := dl.ID
	if !validID(key) {
		sum := sha256.Sum256(append([]byte(dl.ID+"\x00"+dl.Type+"\x00"), dl.Raw...))
		key = "sha256-" + hex.EncodeToString(sum[:16])
	}
	dl.ID, dl.Type, dl.Reason = clip(dl.ID, 128), clip(dl.Type, 128), clip(dl.Reason, 512)
	dl.Raw = dl.Raw[:min(len(dl.Raw), maxRaw)]
	old, err := get[deadRecord](w.tx, deadKey(key))
	if err != nil || old.known() {
		return err
	}
	w.at.received = received
	for _, id := range dl.soils(v) {
		if err := w.soil(id, "an event could not be applied"); err != nil {
			return err
		}
	}
	return put(w.tx, deadKey(key), deadRecord{version, dl})
}

// complete finds, in whatever shape it has, which organization and directory
// the letter is about.
func (dl *DeadLetter) complete() {
	type object struct {
		Object         string `json:"object"`
		ID             string `json:"id"`
		DirectoryID    string `json:"directory_id"`
		OrganizationID string `json:"organization_id"`
	}
	var envelope struct {
		Data object `json:"data"`
	}
	var nested struct {
		Data struct {
			User  object `json:"user"`
			Group object `json:"group"`
		} `json:"data"`
	}
	_ = json.Unmarshal(dl.Raw, &envelope) // what can be read of it, is
	_ = json.Unmarshal(dl.Raw, &nested)
	for _, o := range []object{envelope.Data, nested.Data.User, nested.Data.Group} {
		if dl.DirectoryID == "" {
			dl.DirectoryID = o.DirectoryID
			if o.Object == "directory" {
				dl.DirectoryID = o.ID
			}
		}
		if dl.OrganizationID == "" {
			dl.OrganizationID = o.OrganizationID
			if o.Object == "organization" {
				dl.OrganizationID = o.ID
			}
		}
	}
	if !validID(dl.DirectoryID) {
		dl.DirectoryID = ""
	}
	if !validID(dl.OrganizationID) {
		dl.OrganizationID = ""
	}
}

// soils is what must be read anew: the directory if it is known and exists, else
// all of the organization's, and the list of them if that may be concerned.
func (dl *DeadLetter) soils(v *View) []string {
	if dl.DirectoryID != "" {
		if _, ok := v.directories.Get([]byte(dl.DirectoryID)); ok && !isDirectoryEvent(dl.Type) {
			return []string{dl.DirectoryID}
		}
	}
	out := []string{worldDirty}
	for _, dir := range v.Directories(dl.OrganizationID) {
		if len(out) < maxSoiled {
			out = append(out, dir.ID)
		}
	}
	return out
}

func isDirectoryEvent(typ string) bool {
	return typ == typeDirectoryActivated || typ == typeDirectoryDeactivated || typ == typeDirectoryDeleted
}

// soil marks a directory, or worldDirty, to be read anew.
func (w *writer) soil(id, reason string) error {
	return put(w.tx, dirtyKey(id), dirtyRecord{V: version, At: w.at.received, Reason: reason})
}

// MarkDirty asks for a reading of a directory, or, with an empty id, of the list
// of organizations, connections and directories. ErrNotFound: no such directory.
func (d *Directory) MarkDirty(ctx context.Context, dir, reason string) (uint64, error) {
	if dir == "" {
		dir = worldDirty
	} else if _, ok := d.View().Directory(dir); !ok {
		return 0, fmt.Errorf("%w: directory", ErrNotFound)
	}
	rec := dirtyRecord{V: version, At: d.now().UnixMilli(), Reason: clip(reason, 512)}
	rev, err := d.store.Update(ctx, func(tx store.Tx) error { return put(tx, dirtyKey(dir), rec) })
	if err != nil {
		return 0, fmt.Errorf("mark dirty: %w", err)
	}
	return rev, nil
}

// clean takes the mark away if it was there before the reading began.
func (w *writer) clean(id string, started int64) error {
	r, err := get[dirtyRecord](w.tx, dirtyKey(id))
	if err != nil || !r.known() || r.At > started {
		return err
	}
	return w.tx.Delete(dirtyKey(id))
}

// Dirty receives when a reading is wanted; one token stands for any number.
func (d *Directory) Dirty() <-chan struct{} { return d.soiled }

// DirtyDirectories are those whose reading is wanted, by id. The mark of one that
// is not linked waits until it is: what it shows before proves nothing.
func (v *View) DirtyDirectories() []string {
	out := []string{}
	v.dirty.Root().Walk(func(id []byte, _ *dirtyRecord) bool {
		if string(id) != worldDirty {
			if info, ok := v.Directory(string(id)); ok && info.Linked {
				out = append(out, string(id))
			}
		}
		return false
	})
	return out
}

// DirtyOrganizations reports whether a reading of the list of organizations,
// connections and directories is wanted.
func (v *View) DirtyOrganizations() bool {
	_, ok := v.dirty.Get([]byte(worldDirty))
	return ok
}

// DeadLetters are the events that could not be applied, newest receipt first.
func (d *Directory) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	entries, _, err := d.store.List(ctx, deadKey(""))
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	out := make([]DeadLetter, 0, len(entries))
	for _, e := range entries {
		if r, err := decode[deadRecord](e.Value); err == nil {
			out = append(out, r.DeadLetter)
		}
	}
	slices.SortStableFunc(out, func(a, b DeadLetter) int { return b.ReceivedAt.Compare(a.ReceivedAt) })
	return out, nil
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
