package settings

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"battery.app/gate/sync/directory"
)

// The actions that forms are made for.
const (
	formMappings = "settings role-mappings"
	formPortal   = "settings portal"
)

// What the buttons of the table's form say.
const (
	doSave = "save"
	doFind = "find" // also "find.N": from the Nth result on
)

// Limits of a form: the widest page of the table with every box ticked is far
// below them.
const (
	maxMappingsForm = 512 << 10
	maxFields       = 20_000
	maxFind         = 200 // bytes
)

// errMalformed: the form was not made by this page.
var errMalformed = errors.New("malformed form")

// typed is the table's form as it was sent, read once.
type typed struct {
	do   string
	hash string
	from int // the first row of the page of the table

	rows map[string]typedRow // by the row's field
	keys []string            // in the form's order

	find     string
	at       int // the first result to show
	newGroup string
	newRoles []string
}

type typedRow struct {
	called string // the group, to be shown if its row is gone
	roles  []string
	remove bool
}

// keyOf names a mapping within its table: no two have the same group.
func keyOf(m directory.Mapping) string {
	if m.GroupID != "" {
		return "id:" + m.GroupID
	}
	return "name:" + m.GroupName
}

// parseTyped reads a form. What is there twice, or in a row that is not named,
// is no form of this page's.
func parseTyped(f url.Values) (typed, error) {
	t := typed{rows: map[string]typedRow{}}
	once := map[string]*string{"do": &t.do, "hash": &t.hash, "find": &t.find, "new.group": &t.newGroup}
	fields := 0
	for name, values := range f {
		fields += len(values)
		if into, ok := once[name]; ok {
			if len(values) != 1 {
				return t, errMalformed
			}
			*into = values[0]
		}
	}
	if fields > maxFields || len(t.find) > maxFind {
		return t, errMalformed
	}
	var err error
	if t.from, err = number(f.Get("from")); err != nil {
		return t, err
	}
	if n, ok := strings.CutPrefix(t.do, doFind+"."); ok {
		if t.at, err = number(n); err != nil {
			return t, err
		}
		t.do = doFind
	}
	t.newRoles = unique(f["new.roles"])
	return t, t.readRows(f)
}

func (t *typed) readRows(f url.Values) error {
	for i := 0; ; i++ {
		n := strconv.Itoa(i)
		key, ok := f["row."+n]
		if !ok {
			break
		}
		if _, twice := t.rows[key[0]]; twice || len(key) != 1 {
			return errMalformed
		}
		t.keys = append(t.keys, key[0])
		t.rows[key[0]] = typedRow{called: f.Get("called." + n), roles: unique(f["roles."+n]), remove: len(f["remove."+n]) > 0}
	}
	for name := range f {
		kind, n, ok := strings.Cut(name, ".")
		if !ok || kind == "new" {
			continue
		}
		if i, err := number(n); err != nil || i >= len(t.keys) {
			return errMalformed
		}
	}
	return nil
}

// number reads a small count; nothing is zero.
func number(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 24)
	if err != nil {
		return 0, errMalformed
	}
	return int(n), nil
}

func unique(roles []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(roles)))
}

// fieldOf is the id and the name of a mapping's row in the page and its form. Keys
// hold what identity providers name, which browsers do not send back as it was
// (line ends, NUL), so it is a hash.
func fieldOf(m directory.Mapping) string {
	sum := sha256.Sum256([]byte(keyOf(m)))
	return "row-" + hex.EncodeToString(sum[:12])
}

// fingerprint names the table that a form is made from: the mappings, and which
// roles have boxes. With another set of boxes an empty one would mean something
// else.
func fingerprint(m directory.Mappings, grantable []string) (string, error) {
	type bound struct {
		directory.Mapping
		BoundTo string
	}
	all := make([]bound, 0, len(m.Mappings))
	for _, e := range m.Mappings {
		all = append(all, bound{e.Mapping, e.BoundTo})
	}
	raw, err := json.Marshal([]any{m.RoleSource.Source, all, grantable})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}
