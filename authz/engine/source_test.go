package engine_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"battery.app/gate/authz/engine"
)

func files(pairs ...string) fstest.MapFS {
	out := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return out
}

func TestReadFS(t *testing.T) {
	src, err := engine.ReadFS(files(
		"authz/decision.rego", "package battery.authz",
		"authz/decision_test.rego", "package battery.authz_test",
		"lib/deep/er/x.rego", "package x",
		"README.md", "# no policy",
		"data.json", `{"a": {"one": 1}}`,
		"a/data.yaml", "two: 2\nlist: [x, y]\n",
		"a/b/data.json", `{"three": true}`,
		"a/other.json", `{"no": "data"}`,
		".git/x.rego", "no rego",
		".hidden.rego", "no rego",
		"..data/y.rego", "no rego",
	))
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(src.Modules)); !slices.Equal(got, []string{"authz/decision.rego", "lib/deep/er/x.rego"}) {
		t.Errorf("modules %v", got)
	}
	a, _ := src.Data["a"].(map[string]any)
	if len(src.Data) != 1 || len(a) != 4 || !reflect.DeepEqual(a["b"], map[string]any{"three": true}) || !reflect.DeepEqual(a["list"], []any{"x", "y"}) {
		t.Errorf("data %v", src.Data)
	}
}

func TestReadFSRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		fsys fstest.MapFS
		says string
	}{
		{"a directory without Rego", files("data.json", "{}"), "no .rego"},
		{"only tests", files("x_test.rego", "package x"), "no .rego"},
		{"broken JSON", files("x.rego", "package x", "a/data.json", "{"), "a/data.json"},
		{"broken YAML", files("x.rego", "package x", "data.yaml", "a: [\n"), "data.yaml"},
		{"data that is no object", files("x.rego", "package x", "data.json", "[1]"), "data.json"},
		{"the same value twice", files("x.rego", "package x", "data.json", `{"a": 1}`, "data.yaml", "a: 2\n"), `"a"`},
		{"a value where a directory is", files("x.rego", "package x", "data.json", `{"a": 1}`, "a/data.json", `{"b": 2}`), `"a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := engine.ReadFS(c.fsys); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
