package settings_test

import (
	"context"
	"strings"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sync/directory"
)

// first is acme's table at the beginning.
var first = []directory.Mapping{
	{GroupID: it, Roles: []string{"it-admin"}},
	{GroupID: eng, Roles: []string{"editor"}},
	{GroupID: all, Roles: []string{"member"}},
	{GroupID: adm, Roles: []string{"admin", "member"}},
	{GroupName: "Legacy", Roles: []string{"editor"}},
}

func (w *world) put(org string, m ...directory.Mapping) {
	w.t.Helper()
	_, revision, err := w.directory.PutMappings(context.Background(), org, m, "token:t1")
	w.must(revision, err)
}

// mapping is what a group of acme maps to now; empty if it does not.
func (w *world) mapping(key string) string {
	for _, m := range w.directory.View().Mappings(acme).Mappings {
		if m.GroupID == key || m.GroupName == key {
			return strings.Join(m.Roles, ",")
		}
	}
	return ""
}

// unchanged fails the test if acme's table is not the first.
func (w *world) unchanged() {
	w.t.Helper()
	now := w.directory.View().Mappings(acme).Mappings
	if len(now) != len(first) {
		w.t.Fatalf("the table changed: %+v", now)
	}
	for i, m := range now {
		if m.GroupID != first[i].GroupID || m.GroupName != first[i].GroupName || strings.Join(m.Roles, ",") != strings.Join(first[i].Roles, ",") {
			w.t.Fatalf("row %d changed: %+v", i, m)
		}
	}
}

// acts are the outcomes that the audit holds, newest first.
func (w *world) acts() []audit.Entry {
	w.t.Helper()
	entries, _, err := w.audit.List(context.Background(), audit.Query{Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []audit.Entry
	for _, e := range entries {
		if e.Kind != audit.Intent {
			out = append(out, e)
		}
	}
	return out
}
