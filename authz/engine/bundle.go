package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader/filter"
)

// What a bundle may be at most. Whoever may push one may not fill the memory
// with it: unpacked bytes are counted as they come out, whatever headers say.
const (
	MaxBundle        = 512 << 10 // bytes as pushed
	maxUnpacked      = 8 << 20   // bytes of the archive inside
	maxBundleEntries = 1024
	maxBundleName    = 255 // bytes of a file's path
)

// ReadBundle reads an OPA bundle: a gzipped tar of *.rego files, data.json and
// data.yaml at any level, and at its root an optional .manifest, as `opa build`
// or tar make it. What it gives is what ReadFS gives for the same files, under
// the names they have in the bundle without "/" or "./" before them. Other
// files, and those whose path has a part that starts with a dot, are left out.
//
// Refused is what we would not run as its author means it: WebAssembly, plans
// and delta bundles, which hold no Rego; signed bundles, because nothing here
// says whose signature counts; Rego before v1; and, where the manifest names
// roots, packages and data outside them (tests excepted). Refused, too, is what
// could be read in two ways or outside the bundle: links and devices, paths
// with "..", the same file or value twice.
//
// Its error is Faults. Rego that does not parse is not among them: Compile says
// that, of all files at once.
func ReadBundle(data []byte) (Source, error) {
	var faults Faults
	files, err := unpack(data)
	if err != nil {
		return Source{}, append(faults, faultIn(err))
	}
	src := newSource()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if why := refusedFile(name); why != "" {
			faults = append(faults, Fault{File: name, Code: FaultBundle, Message: why})
			continue
		}
		if hidden(name) || !isPolicyFile(name) {
			continue
		}
		if err := src.add(name, files[name]); err != nil {
			faults = append(faults, Fault{File: name, Code: FaultBundle, Message: strings.TrimPrefix(err.Error(), name+": ")})
		}
	}
	if len(src.Modules) == 0 && len(faults) == 0 {
		faults.add(FaultBundle, "the bundle holds no .rego file")
	}
	if len(faults) == 0 {
		faults = append(faults, checkManifest(src, files)...)
	}
	if err := faults.err(); err != nil {
		return Source{}, err
	}
	return src, nil
}

// errIn is a fault with the file it is in.
type errIn struct {
	file string
	err  error
}

func (e errIn) Error() string { return e.file + ": " + e.err.Error() }
func (e errIn) Unwrap() error { return e.err }

func faultIn(err error) Fault {
	if in := (errIn{}); errors.As(err, &in) {
		return Fault{File: in.file, Code: FaultBundle, Message: in.err.Error()}
	}
	return Fault{Code: FaultBundle, Message: err.Error()}
}

// limited fails where io.LimitReader would only end: a truncated archive must
// not be taken for a short one.
type limited struct {
	from io.Reader
	left int64
}

var errUnpacked = fmt.Errorf("the bundle holds more than %d MiB unpacked", maxUnpacked>>20)

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errUnpacked
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.from.Read(p)
	l.left -= int64(n)
	return n, err
}

// unpack returns the regular files of the archive by their names. It reads to
// the very end, so that gzip's checksum is looked at.
func unpack(data []byte) (map[string][]byte, error) {
	if len(data) > MaxBundle {
		return nil, fmt.Errorf("the bundle has more than %d KiB", MaxBundle>>10)
	}
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not a gzipped tar: %w", err)
	}
	in := &limited{from: zipped, left: maxUnpacked}
	u := unpacked{files: map[string][]byte{}, left: maxUnpacked}
	for archive, n := tar.NewReader(in), 0; ; n++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not a gzipped tar: %w", err)
		}
		if n >= maxBundleEntries {
			return nil, fmt.Errorf("the bundle holds more than %d files", maxBundleEntries)
		}
		if err := u.take(header, archive); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, fmt.Errorf("not a gzipped tar: %w", err)
	}
	return u.files, nil
}

// unpacked are the files so far. What they hold is counted apart from what came
// out of the archive: the holes of a sparse file cost nothing there.
type unpacked struct {
	files map[string][]byte
	left  int64
}

// take adds one entry of the archive.
func (u *unpacked) take(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // git archive's: a comment on the whole
		return nil
	}
	name, err := entryName(header.Name)
	if err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink:
		return errIn{name, errors.New("links are refused: put the file itself into the bundle")}
	default:
		return errIn{name, errors.New("not a regular file")}
	}
	if _, twice := u.files[name]; twice {
		return errIn{name, errors.New("the file is in the bundle twice")}
	}
	text, err := io.ReadAll(&limited{from: content, left: u.left + 1})
	if err != nil {
		return errIn{name, err}
	}
	if u.left -= int64(len(text)); u.left < 0 {
		return errUnpacked
	}
	u.files[name] = text
	return nil
}

// entryName is a file's path in the bundle, relative and clean.
func entryName(given string) (string, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(given, "/"), "./"), "/")
	if name == "" {
		name = "."
	}
	switch {
	case len(given) > maxBundleName:
		return "", fmt.Errorf("a file's path has more than %d bytes", maxBundleName)
	case !fs.ValidPath(name), strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "", fmt.Errorf("%q is not a path inside the bundle", given)
	}
	return name, nil
}

// hidden reports whether a part of the path starts with a dot.
func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") }

const manifestFile = ".manifest"

// refusedFile says why a bundle with this file is refused; empty if it is not.
func refusedFile(name string) string {
	switch base := path.Base(name); {
	case path.Ext(base) == ".wasm":
		return "WebAssembly is not run here; build the bundle as Rego"
	case base == "plan.json", base == "plan.pb":
		return "plans are not run here; build the bundle as Rego"
	case base == "patch.json":
		return "delta bundles are refused; push the whole policy"
	case base == ".signatures.json":
		return "the bundle is signed, and nothing says whose signature counts; push it unsigned"
	case strings.HasSuffix(base, manifestFile) && name != manifestFile, strings.HasSuffix(base, ".manifest.pb"):
		return "only a .manifest at the root of the bundle, as JSON, counts"
	}
	return ""
}

// checkManifest lets OPA's own reader judge the manifest, and the data by its
// roots; packages are looked at here, because OPA would stop at the first file
// that does not parse.
func checkManifest(src Source, files map[string][]byte) (faults Faults) {
	if files[manifestFile] == nil {
		return nil
	}
	wrong := func(format string, args ...any) {
		faults = append(faults, Fault{File: manifestFile, Code: FaultBundle, Message: fmt.Sprintf(format, args...)})
	}
	given := &given{files: files}
	for name := range files {
		if name == manifestFile || !hidden(name) && isPolicyFile(name) && path.Ext(name) != ".rego" {
			given.names = append(given.names, name)
		}
	}
	slices.Sort(given.names)
	read, err := bundle.NewCustomReader(given).WithSkipBundleVerification(true).Read()
	if err != nil {
		wrong("%s", strings.TrimPrefix(err.Error(), "bundle load failed on "))
		return faults
	}
	for _, version := range append(slices.Collect(maps.Values(read.Manifest.FileRegoVersions)), ptrOr(read.Manifest.RegoVersion, 1)) {
		if version != 1 {
			wrong("rego_version %d is refused: policies are Rego v1", version)
			return faults
		}
	}
	if len(read.Manifest.WasmResolvers) > 0 {
		wrong("WebAssembly is not run here; build the bundle as Rego")
	}
	for _, name := range slices.Sorted(maps.Keys(src.Modules)) {
		module, err := ast.ParseModuleWithOpts(name, src.Modules[name], ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil || module == nil {
			continue // Compile's to say
		}
		under := strings.Join(constants(module.Package.Path), "/")
		if !bundle.RootPathsContain(*read.Manifest.Roots, under) {
			faults.addAt(module.Package.Location, FaultBundle, "package %s is not under a root of the manifest",
				strings.TrimPrefix(module.Package.Path.String(), "data."))
		}
	}
	return faults
}

func ptrOr(p *int, otherwise int) int {
	if p == nil {
		return otherwise
	}
	return *p
}

// given hands OPA's bundle reader files that are in memory.
type given struct {
	files map[string][]byte
	names []string
}

var _ bundle.DirectoryLoader = (*given)(nil)

func (g *given) NextFile() (*bundle.Descriptor, error) {
	if len(g.names) == 0 {
		return nil, io.EOF
	}
	name := g.names[0]
	g.names = g.names[1:]
	return bundle.NewDescriptor("/"+name, "/"+name, bytes.NewReader(g.files[name])), nil
}

func (g *given) WithFilter(filter.LoaderFilter) bundle.DirectoryLoader         { return g }
func (g *given) WithPathFormat(bundle.PathFormat) bundle.DirectoryLoader       { return g }
func (g *given) WithSizeLimitBytes(int64) bundle.DirectoryLoader               { return g }
func (g *given) WithFollowSymlinks(followSymlinks bool) bundle.DirectoryLoader { return g }
