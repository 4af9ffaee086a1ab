package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "battery.app/gate"

// mayImport is the house's plan: which room may import which of ours.
// A room that is not in it may import nothing of ours.
var mayImport = map[string][]string{
	"authz":             {},
	"authz/engine":      {"authz"},
	"authz/forward":     {"authz"},
	"authz/apps":        {"authz", "store"},
	"authz/decisionlog": {"authz"},
	"authz/authoring":   {"authz", "authz/engine"},
	"authz/machines":    {"authz"},
	"authz/authzen":     {"authz"},
	"policies":          {},
	"sso":               {"authz", "store", "sync/workosapi", "sync/directory", "sso/"},
	"sync/workosapi":    {},
	"sync/directory":    {"authz", "store"},
	"sync/feed":         {"sync/directory", "sync/workosapi"},
	"store":             {},
	"store/boltstore":   {"store"},
	"store/etcdstore":   {"store"},
	"store/storetest":   {"store"},

	"cmd/batterygate/dev/standin": {},
	"cmd/batterygate/dev/gateway": {},
	"cmd/batterygate/dev/apps":    {},
}

// mayUse says which rooms may import a technology; everybody else must not.
var mayUse = map[string][]string{
	"github.com/open-policy-agent/opa": {"authz/engine", "authz/authoring"},
	"go.etcd.io/bbolt":                 {"store/boltstore"},
	"go.etcd.io/etcd":                  {"store/etcdstore"},
	"github.com/coreos/go-oidc":        {"sso/"},
	"github.com/workos/workos-go":      {"sync/workosapi"},
	"go.opentelemetry.io/otel/sdk":     {"cmd/"},
	"modernc.org/sqlite":               {"authz/decisionlog"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 15 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

func room(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func covers(list []string, r string) bool {
	for _, allowed := range list {
		if r == allowed || (strings.HasSuffix(allowed, "/") && strings.HasPrefix(r, allowed)) {
			return true
		}
	}
	return false
}

func TestRoomsImportOnlyWhatTheHouseAllows(t *testing.T) {
	for _, p := range packages(t) {
		r := room(p.ImportPath)
		for _, imp := range p.Imports {
			if other := room(imp); imp != other && !inCmd(r) && !covers(allowedFor(r), other) {
				t.Errorf("%s imports %s, which the house does not allow", r, other)
			}
			for tech, rooms := range mayUse {
				if (imp == tech || strings.HasPrefix(imp, tech+"/")) && !covers(rooms, r) {
					t.Errorf("%s imports %s, which only %v may", r, imp, rooms)
				}
			}
		}
	}
}

// allowedFor finds a room's row; a package inside a room follows its room.
func allowedFor(r string) []string {
	for ; r != "." && r != ""; r = filepath.Dir(r) {
		if list, ok := mayImport[r]; ok {
			return list
		}
	}
	return nil
}

// inCmd: the composition may import everything, but for the rooms of the demo
// that must stay strangers to us.
func inCmd(r string) bool {
	_, listed := mayImport[r]
	return strings.HasPrefix(r, "cmd/") && !listed
}

func TestEveryRoomHasADoorPlate(t *testing.T) {
	for _, p := range packages(t) {
		words := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			words = max(words, len(strings.Fields(f.Doc.Text())))
		}
		if len(p.GoFiles) > 0 && words < 15 {
			t.Errorf("%s has no package comment that tells a newcomer why it exists", room(p.ImportPath))
		}
	}
}

func TestTheStandardSyncIsNeverShadowed(t *testing.T) {
	for _, p := range packages(t) {
		if room(p.ImportPath) == "sync" {
			t.Errorf("sync/ holds Go files: %v", p.GoFiles)
		}
	}
}
