package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz/engine"
)

// entry is one member of an archive.
type entry struct {
	name, text string
	kind       byte // 0: a regular file
	link       string
	pax        map[string]string
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.text)), Mode: 0o644, PAXRecords: e.pax}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: e.kind, PAXRecords: e.pax}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

const adminModule = "package battery.admin\n\ndecision := {\"allow\": false}\n"

func TestReadBundle(t *testing.T) {
	rego, data := entry{name: "/admin/decision.rego", text: adminModule}, entry{name: "./admin/teams/data.json", text: `{"a": 1}`}
	for name, c := range map[string][]entry{
		"as opa build or tar name it": {rego, data},
		"with directories":            {{name: "./", kind: tar.TypeDir}, {name: "admin/", kind: tar.TypeDir}, rego, data},
		"as git archive makes it":     {{kind: tar.TypeXGlobalHeader, pax: map[string]string{"comment": "0a28fe1"}}, rego, data},
		"with other files beside":     {rego, data, {name: "README.md", text: "# hi"}, {name: ".git/x.rego", text: "no rego"}, {name: "admin/._decision.rego", text: "\x00"}},
		"with a manifest":             {{name: "/.manifest", text: `{"revision": "7", "roots": ["battery/admin", "admin"], "rego_version": 1}`}, rego, data},
		"with a manifest of no roots": {{name: ".manifest", text: `{}`}, rego, data},
		"with tests outside the roots": {{name: ".manifest", text: `{"roots": ["battery/admin", "admin"]}`}, rego, data,
			{name: "admin/decision_test.rego", text: "package battery.admin_test\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := engine.ReadBundle(pack(t, c...))
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Collect(maps.Keys(src.Modules)); !slices.Equal(got, []string{"admin/decision.rego"}) {
				t.Errorf("modules %v", got)
			}
			if fmt.Sprint(src.Data) != "map[admin:map[teams:map[a:1]]]" {
				t.Errorf("data %v", src.Data)
			}
			if _, err := engine.CompileAdmin(src, options(t)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("tests are kept apart", func(t *testing.T) {
		src, err := engine.ReadBundle(pack(t, rego, entry{name: "a_test.rego", text: "package t\n"}))
		if err != nil || len(src.Modules) != 1 || src.Tests["a_test.rego"] == "" {
			t.Errorf("%v, %v", src, err)
		}
	})
	t.Run("a directory reads the same", func(t *testing.T) {
		a, errA := engine.ReadBundle(pack(t, rego, data))
		b, errB := engine.ReadFS(files("admin/decision.rego", adminModule, "admin/teams/data.json", `{"a": 1}`))
		ra, _ := a.Revision()
		rb, _ := b.Revision()
		if errA != nil || errB != nil || ra != rb || len(ra) != 16 {
			t.Errorf("revisions %q and %q, %v %v", ra, rb, errA, errB)
		}
	})
	t.Run("what does not parse has its place", func(t *testing.T) {
		src, err := engine.ReadBundle(pack(t, entry{name: "/a.rego", text: "package battery.admin\n\ndecision := {"},
			entry{name: "/b.rego", text: "nonsense"}, entry{name: ".manifest", text: `{"roots": ["battery/admin"]}`}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = engine.CompileAdmin(src, options(t))
		if err == nil || !strings.Contains(err.Error(), "a.rego:3: rego_parse_error") || !strings.Contains(err.Error(), "b.rego:1: rego_parse_error") {
			t.Errorf("got %v", err)
		}
	})
}

func TestReadBundleRefuses(t *testing.T) {
	rego := entry{name: "a.rego", text: adminModule}
	noise := make([]byte, engine.MaxBundle+1)
	_, _ = rand.Read(noise)
	good := pack(t, rego)
	many := make([]entry, 0, 2000)
	for i := range 2000 {
		many = append(many, entry{name: fmt.Sprintf("%d.rego", i), text: "package x"})
	}
	torn := bytes.Clone(good)
	torn[len(torn)-6] ^= 1 // in gzip's checksum
	for _, c := range []struct {
		name   string
		bundle []byte
		file   string
		says   string
	}{
		{"nothing", nil, "", "not a gzipped tar"},
		{"no gzip", []byte("package battery.admin"), "", "not a gzipped tar"},
		{"gzip of no tar", zipped(t, strings.Repeat("x", 2048)), "", "not a gzipped tar"},
		{"a truncated bundle", good[:len(good)/2], "a.rego", "EOF"},
		{"a bundle without its end", good[:len(good)-9], "", "not a gzipped tar"},
		{"a wrong checksum", torn, "", "not a gzipped tar"},
		{"too many bytes", noise, "", "512 KiB"},
		{"too many bytes unpacked", pack(t, rego, entry{name: "x", text: strings.Repeat("a", 9<<20)}), "x", "8 MiB"},
		{"too many bytes after the last file", zipped(t, string(unzipped(t, good))+strings.Repeat("\x00", 9<<20)), "", "8 MiB"},
		{"too many bytes of many files", pack(t, entry{name: "x", text: strings.Repeat("a", 5<<20)}, entry{name: "y", text: strings.Repeat("a", 5<<20)}), "y", "8 MiB"},
		{"a sparse file", sparse(t), "x.rego", "8 MiB"},
		{"too many files", pack(t, many...), "", "1024 files"},
		{"an empty archive", pack(t), "", "no .rego"},
		{"only tests", pack(t, entry{name: "a_test.rego", text: "package x"}), "", "no .rego"},
		{"only data", pack(t, entry{name: "data.json", text: "{}"}), "", "no .rego"},
		{"a path that escapes", pack(t, rego, entry{name: "../x.rego", text: "package x"}), "", "not a path inside"},
		{"a path that escapes later", pack(t, rego, entry{name: "a/../../x.rego", text: "package x"}), "", "not a path inside"},
		{"an absolute path twice", pack(t, rego, entry{name: "//x.rego", text: "package x"}), "", "not a path inside"},
		{"a backslash", pack(t, rego, entry{name: `a\x.rego`, text: "package x"}), "", "not a path inside"},
		{"a control character", pack(t, rego, entry{name: "a\nx.rego", text: "package x"}), "", "not a path inside"},
		{"a long path", pack(t, rego, entry{name: strings.Repeat("d/", 200) + "x.rego", text: "package x"}), "", "255 bytes"},
		{"a symbolic link", pack(t, rego, entry{name: "x.rego", kind: tar.TypeSymlink, link: "/etc/passwd"}), "x.rego", "links"},
		{"a hard link", pack(t, rego, entry{name: "x.rego", kind: tar.TypeLink, link: "a.rego"}), "x.rego", "links"},
		{"a device", pack(t, rego, entry{name: "x", kind: tar.TypeChar}), "x", "regular"},
		{"a pipe", pack(t, rego, entry{name: "x", kind: tar.TypeFifo}), "x", "regular"},
		{"a file twice", pack(t, rego, rego), "a.rego", "twice"},
		{"a file twice by two names", pack(t, rego, entry{name: "./a.rego", text: "package x"}), "a.rego", "twice"},
		{"WebAssembly", pack(t, rego, entry{name: "policy.wasm", text: "\x00asm"}), "policy.wasm", "WebAssembly"},
		{"a plan", pack(t, rego, entry{name: "/plan.json", text: "{}"}), "plan.json", "plans"},
		{"a delta", pack(t, entry{name: "/patch.json", text: `{"data": []}`}), "patch.json", "delta"},
		{"a signature", pack(t, rego, entry{name: "/.signatures.json", text: `{"signatures": ["x"]}`}), ".signatures.json", "signed"},
		{"a manifest elsewhere", pack(t, rego, entry{name: "x/.manifest", text: `{}`}), "x/.manifest", "root"},
		{"a manifest that is no JSON", pack(t, rego, entry{name: ".manifest", text: `{`}), ".manifest", "manifest decode"},
		{"overlapping roots", pack(t, rego, entry{name: ".manifest", text: `{"roots": ["battery", "battery/admin"]}`}), ".manifest", "overlapped"},
		{"a package outside the roots", pack(t, rego, entry{name: ".manifest", text: `{"roots": ["acme"]}`}), "a.rego", "root of the manifest"},
		{"a package beside a root", pack(t, rego, entry{name: ".manifest", text: `{"roots": ["battery/adm"]}`}), "a.rego", "root of the manifest"},
		{"data outside the roots", pack(t, rego, entry{name: "x/data.yml", text: "a: 1"}, entry{name: ".manifest", text: `{"roots": ["battery/admin"]}`}), ".manifest", "/x"},
		{"Rego of before v1", pack(t, rego, entry{name: ".manifest", text: `{"rego_version": 0}`}), ".manifest", "rego_version 0"},
		{"one file of before v1", pack(t, rego, entry{name: ".manifest", text: `{"file_rego_versions": {"/a.rego": 0}}`}), ".manifest", "rego_version 0"},
		{"a YAML bomb", pack(t, rego, entry{name: "data.yaml", text: yamlBomb()}), "data.yaml", "alias"},
		{"deep JSON", pack(t, rego, entry{name: "data.json", text: `{"a": ` + strings.Repeat("[", 1<<20)}), "data.json", "depth"},
		{"deep YAML", pack(t, rego, entry{name: "data.yaml", text: "a: " + strings.Repeat("[", 1<<20)}), "data.yaml", "depth"},
		{"broken data", pack(t, rego, entry{name: "x/data.json", text: "{"}), "x/data.json", "EOF"},
		{"data that is no object", pack(t, rego, entry{name: "data.json", text: "[1]"}), "data.json", "cannot unmarshal"},
		{"the same value twice", pack(t, rego, entry{name: "data.json", text: `{"a": 1}`}, entry{name: "data.yaml", text: "a: 2"}), "data.yaml", `"a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := engine.ReadBundle(c.bundle)
			var faults engine.Faults
			if !errors.As(err, &faults) || len(src.Modules) > 0 {
				t.Fatalf("got %v, %v", src, err)
			}
			for _, f := range faults {
				if f.Code == engine.FaultBundle && f.File == c.file && strings.Contains(f.Message, c.says) {
					return
				}
			}
			t.Errorf("want %s ... %s, got %#v", c.file, c.says, faults)
		})
	}
}

// yamlBomb is a few lines that name each other, ten to the ninth values in all.
func yamlBomb() string {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return text
}

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func unzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sparse is an archive of one file with a hole of 1 GiB, which the archive
// names but does not hold (GNU's format 1.0). archive/tar reads such files but
// does not write them, so the names are put in afterwards.
func sparse(t testing.TB) []byte {
	t.Helper()
	const size = 1 << 30
	content := fmt.Sprintf("1\n%d\n0\n", size) // one fragment, empty, at the end
	content += strings.Repeat("\x00", 512-len(content))
	records := map[string]string{"XNU.sparse.major": "1", "XNU.sparse.minor": "0", "XNU.sparse.name": "x.rego", "XNU.sparse.realsize": fmt.Sprint(size)}
	raw := unzipped(t, pack(t, entry{name: "a", text: content, pax: records}))
	return zipped(t, strings.ReplaceAll(string(raw), "XNU.sparse", "GNU.sparse"))
}

func TestAdminPolicyOwnsNoDataOfOurs(t *testing.T) {
	for name, src := range map[string]engine.Source{
		"role mappings as data": {Modules: map[string]string{"a.rego": adminModule}, Data: map[string]any{"battery": map[string]any{"role_mappings": map[string]any{}}}},
		"settings as data":      {Modules: map[string]string{"a.rego": adminModule}, Data: map[string]any{"battery": map[string]any{"settings": map[string]any{}}}},
		"apps' data":            {Modules: map[string]string{"a.rego": adminModule}, Data: map[string]any{"battery": map[string]any{"authz": map[string]any{"x": 1}}}},
		"a package of apps":     {Modules: map[string]string{"a.rego": adminModule, "b.rego": "package battery.authz\n\nx := 1"}},
		"a package of settings": {Modules: map[string]string{"a.rego": adminModule, "b.rego": "package battery.settings\n\noperators_organization := \"org_acme\""}},
		"a package above":       {Modules: map[string]string{"a.rego": adminModule, "b.rego": "package battery\n\nsettings := {}"}},
		"any other package":     {Modules: map[string]string{"a.rego": adminModule, "b.rego": "package acme\n\nx := 1"}},
		"what it does not see":  module("package battery.admin\n\ndecision := {\"allow\": true} if not data.battery.role_mappings.x"),
	} {
		t.Run(name, func(t *testing.T) {
			var faults engine.Faults
			if _, err := engine.CompileAdmin(src, options(t)); !errors.As(err, &faults) {
				t.Fatalf("got %v", err)
			}
			if c := faults[0].Code; c != engine.FaultReserved && c != engine.FaultData {
				t.Errorf("got %v", faults)
			}
		})
	}
}

// Whatever is sent: a source or faults, never both, never neither, and never
// more than the limit in memory.
func FuzzReadBundle(f *testing.F) {
	f.Add(pack(f, entry{name: "a.rego", text: adminModule}, entry{name: ".manifest", text: `{"roots": ["battery/admin"]}`}))
	f.Add(pack(f, entry{name: "x/data.json", text: `{"a": 1}`}, entry{name: "/a.rego", text: adminModule}))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, packed := range [][]byte{data, zipped(t, string(data))} { // gzip's checksum would stop most of them
			src, err := engine.ReadBundle(packed)
			var faults engine.Faults
			if (err == nil) != (len(src.Modules) > 0) || err != nil && !errors.As(err, &faults) {
				t.Fatalf("got %v, %v", src, err)
			}
			size := 0
			for name, text := range src.Modules {
				size += len(text)
				if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
					t.Fatalf("the name %q", name)
				}
			}
			if size > 8<<20 {
				t.Fatalf("%d bytes", size)
			}
		}
	})
}
