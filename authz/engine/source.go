package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/util"
)

// Source is a policy as its authors wrote it.
type Source struct {
	Modules map[string]string // Rego by file path, which messages name
	Data    map[string]any    // the data files, merged into one document
}

// ReadFS reads a policy directory: every *.rego but *_test.rego, and data.json
// and data.yaml at any level, whose content lies under the names of the
// directories they are in (as in an OPA bundle: a/b/data.json is data.a.b).
// Files and directories whose name starts with a dot are left out, so that a
// git checkout and a mounted Kubernetes ConfigMap read as what they show.
//
// A file that cannot be read or parsed, two files that give the same value, and
// a directory without Rego are errors.
func ReadFS(fsys fs.FS) (Source, error) {
	src := Source{Modules: map[string]string{}, Data: map[string]any{}}
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		return src.read(fsys, name)
	})
	if err != nil {
		return Source{}, fmt.Errorf("read policy: %w", err)
	}
	if len(src.Modules) == 0 {
		return Source{}, errors.New("read policy: no .rego file")
	}
	return src, nil
}

func (s *Source) read(fsys fs.FS, name string) error {
	base := path.Base(name)
	switch {
	case strings.HasSuffix(base, "_test.rego"):
		return nil
	case strings.HasSuffix(base, ".rego"):
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		s.Modules[name] = string(text)
	case base == "data.json", base == "data.yaml", base == "data.yml":
		return s.readData(fsys, name)
	}
	return nil
}

func (s *Source) readData(fsys fs.FS, name string) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	var doc map[string]any
	if path.Ext(name) == ".json" {
		err = util.NewJSONDecoder(bytes.NewReader(text)).Decode(&doc)
	} else {
		err = util.Unmarshal(text, &doc)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	under := s.Data
	if dir := path.Dir(name); dir != "." {
		for _, part := range strings.Split(dir, "/") {
			next, ok := under[part].(map[string]any)
			if !ok {
				if _, taken := under[part]; taken {
					return fmt.Errorf("%s: %q is already another value", name, part)
				}
				next = map[string]any{}
				under[part] = next
			}
			under = next
		}
	}
	return merge(under, doc, name)
}

// merge adds what is in from to into. Objects are joined; anything else that is
// there twice is an error, because which file won would hang on their names.
func merge(into, from map[string]any, name string) error {
	for key, value := range from {
		old, taken := into[key]
		if !taken {
			into[key] = value
			continue
		}
		a, okA := old.(map[string]any)
		b, okB := value.(map[string]any)
		if !okA || !okB {
			return fmt.Errorf("%s: %q is given by another data file, too", name, key)
		}
		if err := merge(a, b, name); err != nil {
			return err
		}
	}
	return nil
}
