package authoring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"battery.app/gate/authz/engine"
)

// FaultTest is the code of a test that failed, or could not be run to its end.
const FaultTest = "test_failed"

// What tests may take where the options do not say. A test is often a table of
// many evaluations, so it gets more than one evaluation's budget.
const (
	DefaultTestTime  = 5 * time.Second
	DefaultTotalTime = 30 * time.Second
)

// Options of Test. The zero value is usable.
type Options struct {
	TestTime  time.Duration // for one test; 0: DefaultTestTime
	TotalTime time.Duration // for all of them; 0: DefaultTotalTime
}

// Report is what came of the tests of a source. A test that is a table counts
// once for each of its cases.
type Report struct {
	Passed  int
	Failed  int
	Skipped int           // rules that start with todo_test_
	Faults  engine.Faults // one for each that failed, in the order of the files
}

// OK reports whether no test failed.
func (r Report) OK() bool { return r.Failed == 0 && len(r.Faults) == 0 }

// Test runs the tests of a source, the files that end in _test.rego, over its
// data files. Settings and role mappings are not there: a test that needs them
// says what they are (`with data.battery.settings as …`), and so has one answer
// everywhere. A source without tests gives an empty report.
//
// A test fails that is false, undefined, in error (a built-in's included) or
// over its time. Tests that do not compile are engine.Faults, as an error; so is
// a policy that does not, but Compile knows more about those. Every other error
// is that tests could not be run, or ctx's.
func Test(ctx context.Context, src engine.Source, o Options) (Report, error) {
	if len(src.Tests) == 0 {
		return Report{}, nil
	}
	modules, faults := parse(src)
	if len(faults) > 0 {
		return Report{}, faults
	}
	store := inmem.NewFromObjectWithOpts(src.Data, inmem.OptRoundTripOnWrite(true))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("run policy tests: %w", err)
	}
	defer store.Abort(ctx, txn)

	within, cancel := context.WithTimeout(ctx, cmp.Or(o.TotalTime, DefaultTotalTime))
	defer cancel()
	report, err := run(within, modules, store, txn, cmp.Or(o.TestTime, DefaultTestTime))
	switch {
	case err != nil:
		return Report{}, err
	case ctx.Err() != nil:
		return Report{}, fmt.Errorf("run policy tests: %w", ctx.Err())
	case within.Err() != nil: // some never ran, and those are not passed
		report.Failed++
		report.Faults = append(report.Faults, engine.Fault{Code: FaultTest,
			Message: fmt.Sprintf("all tests together took longer than %s", cmp.Or(o.TotalTime, DefaultTotalTime))})
	}
	return report, nil
}

func run(ctx context.Context, modules map[string]*ast.Module, store storage.Store, txn storage.Transaction, each time.Duration) (Report, error) {
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1).
		WithStrict(true).WithRewriteTestRules(true).WithEnablePrintStatements(false)
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(modules).
		RaiseBuiltinErrors(true).SetTimeout(each).RunTests(ctx, txn)
	if err != nil {
		if errs := (ast.Errors)(nil); errors.As(err, &errs) {
			return Report{}, faultsOf(errs)
		}
		return Report{}, fmt.Errorf("run policy tests: %w", err)
	}
	var report Report
	for result := range results { // to the end: the runner waits for its reader
		report.add(result)
	}
	slices.SortStableFunc(report.Faults, func(a, b engine.Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	return report, nil
}

// add counts one result of the runner.
func (r *Report) add(result *tester.Result) {
	fault := engine.Fault{Code: FaultTest}
	if result.Location != nil {
		fault.File, fault.Line = result.Location.File, result.Location.Row
	}
	name := strings.TrimPrefix(result.Package, "data.") + "." + result.Name
	failed := func(format string, args ...any) {
		r.Failed++
		fault.Message = name + fmt.Sprintf(format, args...)
		r.Faults = append(r.Faults, fault)
	}
	switch {
	case result.Skip:
		r.Skipped++
	case result.Error != nil:
		failed(": %v", result.Error)
	case len(result.SubResults) > 0:
		for path, sub := range result.SubResults.Iter {
			switch {
			case len(sub.SubResults) > 0: // its parts count
			case sub.Fail:
				failed("[%s] is not true", strings.Join(path, "/"))
			default:
				r.Passed++
			}
		}
	case result.Fail:
		failed(" is not true")
	default:
		r.Passed++
	}
}

// parse parses the policy and its tests.
func parse(src engine.Source) (modules map[string]*ast.Module, faults engine.Faults) {
	all := maps.Clone(src.Modules)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, src.Tests)
	modules = make(map[string]*ast.Module, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		module, err := ast.ParseModuleWithOpts(name, all[name], ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
		switch errs := (ast.Errors)(nil); {
		case errors.As(err, &errs):
			faults = append(faults, faultsOf(errs)...)
		case err != nil:
			faults = append(faults, engine.Fault{File: name, Code: ast.ParseErr, Message: err.Error()})
		case module == nil:
			faults = append(faults, engine.Fault{File: name, Line: 1, Code: ast.ParseErr, Message: "the file is empty"})
		default:
			modules[name] = module
		}
	}
	return modules, faults
}

func faultsOf(errs ast.Errors) (faults engine.Faults) {
	for _, e := range errs {
		f := engine.Fault{Code: e.Code, Message: e.Message}
		if e.Location != nil {
			f.File, f.Line = e.Location.File, e.Location.Row
		}
		faults = append(faults, f)
	}
	return faults
}

// capabilities are the engine's and what only tests use: the name of a table's
// case, and print, whose calls are dropped.
func capabilities() *ast.Capabilities {
	caps := engine.Capabilities()
	caps.Builtins = append(caps.Builtins, ast.InternalTestCase, ast.Print)
	return caps
}
