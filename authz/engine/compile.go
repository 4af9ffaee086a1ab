package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Names in data that are not an app policy's to define: who may administer
// Battery Gate, and what the engine itself puts there.
var (
	decisionRef = ast.MustParseRef("data.battery.authz.decision")
	adminRef    = ast.MustParseRef("data.battery.admin.decision")
	authzenRef  = ast.MustParseRef("data.battery.authzen.decision") // optional

	adminRoot    = ast.MustParseRef("data.battery.admin")
	mappingsRoot = ast.MustParseRef("data.battery.role_mappings")
	settingsRoot = ast.MustParseRef("data.battery.settings")
)

// Policy is a compiled app policy. It is immutable but for its cache of data
// that is bound to an organization, and is shared by every snapshot made of it.
type Policy struct {
	program
	revision       string
	reads          reads
	headers        []string // declared, canonical
	requestHeaders []string // allowed, lower case
	data           *dataSet
	authzen        *evaluator // nil if the source has no such entry point
}

// Compile compiles an app policy, whose entry point is
// data.battery.authz.decision. It compiles strictly: unused variables and
// imports, deprecated or forbidden built-ins, types that cannot match the
// schemas, and references to data that nothing provides are faults. Where it
// fails its error is Faults, which lists every one of them.
//
// A source may also have data.battery.authzen.decision, for AuthZEN evaluations
// (see EvaluateAuthZEN). Packages and data below battery.admin, battery.role_mappings and
// battery.settings are refused: they are not an app policy's to define.
func Compile(src Source, o Options) (*Policy, error) {
	o, faults := o.complete()
	faults = append(faults, reserved(src.Data)...)
	b := builder{src: src, options: o, entry: decisionRef, input: "input", faults: faults}
	b.refuse = func(path ast.Ref) bool {
		return path.HasPrefix(adminRoot) || path.HasPrefix(mappingsRoot) || path.HasPrefix(settingsRoot)
	}
	prog := b.build()
	authzen := b.linkAuthZEN(prog)
	if err := b.faults.err(); err != nil {
		return nil, err
	}
	data, revision, err := dataOf(src, o)
	if err != nil {
		return nil, err
	}
	return &Policy{
		program: prog, revision: revision, reads: readsFrom(prog.compiler, decisionRef),
		headers: o.Headers, requestHeaders: o.RequestHeaders, data: data,
		authzen: authzen,
	}, nil
}

// dataOf is the data that goes with a source, and the revision of both.
func dataOf(src Source, o Options) (*dataSet, string, error) {
	data, err := newDataSet(src.Data, o.Settings)
	if err != nil {
		return nil, "", fmt.Errorf("prepare policy data: %w", err)
	}
	revision, err := revisionOf(src, o.Settings)
	if err != nil {
		return nil, "", fmt.Errorf("compute policy revision: %w", err)
	}
	return data, revision, nil
}

// Revision names what the policy was compiled from: the first 16 hex digits of
// a SHA-256 over its modules, its data and the settings. The same source has the
// same revision on every machine.
func (p *Policy) Revision() string { return p.revision }

// ReadsQuery reports whether the policy reads input.request.query, or may: a
// policy that looks at all of input or input.request, or at a part of it that
// is known only when it runs, counts as reading it.
func (p *Policy) ReadsQuery() bool { return p.reads.query }

// RequestHeaders are the request headers, in lower case, that the doors should
// put into a Request: those that are allowed, if the policy reads any.
func (p *Policy) RequestHeaders() []string {
	if !p.reads.headers {
		return nil
	}
	return slices.Clone(p.requestHeaders)
}

// builder compiles one program and gathers every fault on the way.
type builder struct {
	src     Source
	options Options
	entry   ast.Ref
	input   string             // name of the input's schema
	refuse  func(ast.Ref) bool // names the source must not define
	schemas schemas
	faults  Faults
}

func (b *builder) build() program {
	set := b.readSchemas()
	modules := b.parse()
	if len(b.faults) > 0 {
		return program{}
	}
	c := ast.NewCompiler().
		WithCapabilities(Capabilities()).
		WithDefaultRegoVersion(ast.RegoV1).
		WithStrict(true).
		WithSchemas(set).
		WithUseTypeCheckAnnotations(true).
		WithPathConflictsCheck(func(path []string) (bool, error) { return holds(b.src.Data, path), nil }).
		SetErrorLimit(0)
	c.Compile(modules)
	if c.Failed() {
		b.faults.addOPA("", c.Errors)
		return program{}
	}
	b.checkNames(c)
	b.checkTimeZones(c)
	b.checkData(c)
	return b.link(c)
}

// link compiles the query of the entry point against the compiled modules.
func (b *builder) link(c *ast.Compiler) program {
	if len(c.GetRulesDynamicWithOpts(b.entry, ast.RulesOptions{IncludeHiddenModules: true})) == 0 {
		b.faults.add(FaultNoDecision, "no rule %s", b.entry)
		return program{}
	}
	qc := c.QueryCompiler()
	body, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(b.entry), ast.NewTerm(resultVar))))
	if err != nil {
		b.faults.addOPA("", err)
		return program{}
	}
	return program{
		compiler: c, query: body, queryCompiler: qc,
		budget: b.options.Budget, log: b.options.Log, now: b.options.Now,
		indexing: true, earlyExit: true, readsClock: b.readsClock(c),
	}
}

func (b *builder) readSchemas() *ast.SchemaSet {
	var err error
	if b.schemas, err = readSchemas(b.options.Schemas); err != nil {
		b.faults.add(FaultSchema, "%v", err)
		return nil
	}
	set, err := b.schemas.set(b.input)
	if err != nil {
		b.faults.add(FaultSchema, "%v", err)
	}
	settings := b.options.Settings
	if settings == nil {
		settings = map[string]any{}
	}
	wrong, err := b.schemas.check("data", map[string]any{"settings": settings})
	if err != nil {
		b.faults.add(FaultSchema, "%v", err)
	}
	for _, w := range wrong {
		b.faults.add(FaultSetting, "the settings for policies are wrong: %s", w)
	}
	return set
}

func (b *builder) parse() map[string]*ast.Module {
	modules := make(map[string]*ast.Module, len(b.src.Modules))
	for _, name := range slices.Sorted(maps.Keys(b.src.Modules)) {
		module, err := ast.ParseModuleWithOpts(name, b.src.Modules[name], ast.ParserOptions{
			ProcessAnnotation: true, RegoVersion: ast.RegoV1, Capabilities: Capabilities(),
		})
		switch {
		case err != nil:
			b.faults.addOPA(name, err)
		case module == nil:
			b.faults = append(b.faults, Fault{File: name, Line: 1, Code: ast.ParseErr, Message: "the file is empty"})
		default:
			b.checkPrint(module)
			modules[name] = module
		}
	}
	return modules
}

// holds reports whether the data has anything at a path.
func holds(data map[string]any, path []string) bool {
	var at any = data
	for _, part := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = object[part]; !ok {
			return false
		}
	}
	return true
}

// reserved refuses data where the engine puts its own.
func reserved(data map[string]any) (faults Faults) {
	battery, taken := data["battery"]
	if !taken {
		return nil
	}
	object, ok := battery.(map[string]any)
	if !ok {
		faults.add(FaultReserved, "data.battery must be an object")
	}
	for _, root := range []ast.Ref{adminRoot, mappingsRoot, settingsRoot} {
		name, _ := root[len(root)-1].Value.(ast.String)
		if _, taken := object[string(name)]; taken {
			faults.add(FaultReserved, "data files must not define %s", root)
		}
	}
	return faults
}

// revisionOf hashes every part with its length before it, so that no two
// different sources read the same.
func revisionOf(src Source, settings map[string]any) (string, error) {
	h := sha256.New()
	part := func(h hash.Hash, text []byte) { fmt.Fprintf(h, "%d:%s", len(text), text) }
	for _, name := range slices.Sorted(maps.Keys(src.Modules)) {
		part(h, []byte(name))
		part(h, []byte(src.Modules[name]))
	}
	for _, doc := range []map[string]any{src.Data, settings} {
		text, err := json.Marshal(doc)
		if err != nil {
			return "", err
		}
		if len(doc) == 0 {
			text = []byte("{}")
		}
		part(h, []byte{})
		part(h, text)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// nearest is the location of a rule or a term, whichever is known.
func nearest(locs ...*ast.Location) *ast.Location { return cmp.Or(locs...) }
