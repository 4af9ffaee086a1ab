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
	Tests   map[string]string // files that end in _test.rego, likewise; never compiled with the rest
	Data    map[string]any    // the data files, merged into one document
}

// Revision names the source whatever the settings are, and whatever tests come
// with it: the first 16 hex digits of a SHA-256. What Policy.Revision and
// AdminPolicy.Revision name has the settings in it, too.
func (s Source) Revision() (string, error) {
	revision, err := revisionOf(s, nil)
	if err != nil {
		return "", fmt.Errorf("compute policy revision: %w", err)
	}
	return revision, nil
}

// newSource is a source to add files to.
func newSource() Source {
	return Source{Modules: map[string]string{}, Tests: map[string]string{}, Data: map[string]any{}}
}

// ReadFS reads a policy directory: every *.rego, and data.json and data.yaml at
// any level, whose content lies under the names of the
// directories they are in (as in an OPA bundle: a/b/data.json is data.a.b).
// Files and directories whose name starts with a dot are left out, so that a
// git checkout and a mounted Kubernetes ConfigMap read as what they show.
//
// A file that cannot be read or parsed, two files that give the same value, and
// a directory without Rego are errors.
func ReadFS(fsys fs.FS) (Source, error) {
	src := newSource()
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
		if !isPolicyFile(name) {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return src.add(name, text)
	})
	if err != nil {
		return Source{}, fmt.Errorf("read policy: %w", err)
	}
	if len(src.Modules) == 0 {
		return Source{}, errors.New("read policy: no .rego file")
	}
	return src, nil
}

// isPolicyFile reports whether a file is Rego or data; others lie beside them.
func isPolicyFile(name string) bool {
	base := path.Base(name)
	return strings.HasSuffix(base, ".rego") || base == "data.json" || base == "data.yaml" || base == "data.yml"
}

// add takes in one file for which isPolicyFile holds.
func (s *Source) add(name string, text []byte) error {
	switch base := path.Base(name); {
	case strings.HasSuffix(base, "_test.rego"):
		s.Tests[name] = string(text)
	case strings.HasSuffix(base, ".rego"):
		s.Modules[name] = string(text)
	default:
		return s.addData(name, text)
	}
	return nil
}

func (s *Source) addData(name string, text []byte) (err error) {
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
