package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/topdown"

	"battery.app/gate/authz"
)

// TestOPAsOwnCases puts OPA's public test cases, from its module, through our
// way of evaluating: data as OPA's values, one shared transaction, strict
// built-in errors, a time budget, and OPA's optimisations on and off. It sees
// the inside of the package because the cases are no decisions.
func TestOPAsOwnCases(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-policy-agent/opa").Output()
	if err != nil {
		t.Fatalf("find OPA's module: %v", err)
	}
	set := cases.MustLoad(filepath.Join(strings.TrimSpace(string(out)), "v1", "test", "cases", "testdata", "v1"))
	ran, stricter := 0, 0
	for _, tc := range set.Sorted().Cases {
		variable, ok := queried(tc)
		if !ok {
			continue
		}
		ran++
		t.Run(tc.Note, func(t *testing.T) {
			for _, optimised := range []bool{true, false} {
				value, err := evalCase(t, tc, optimised)
				if builtinFailed(err) && tc.WantErrorCode == nil && tc.WantError == nil {
					stricter++ // undefined to OPA by default, an error to us
					return
				}
				if why := compareCase(tc, variable, value, err); why != "" {
					t.Errorf("optimised=%v: %s", optimised, why)
				}
			}
		})
	}
	if ran < 1500 {
		t.Errorf("only %d cases ran", ran)
	}
	t.Logf("%d of %d cases ran; %d end in an error that OPA leaves undefined", ran, len(set.Cases), stricter)
}

var oneValue = regexp.MustCompile(`^(data[\w.]*) = ([a-z]+)$`)

// queried picks the cases that ask for one value, as we do, and that neither
// reach out nor need an environment or a language feature we leave out.
func queried(tc cases.TestCase) (variable string, ok bool) {
	m := oneValue.FindStringSubmatch(tc.Query)
	if m == nil || m[2] == "input" || tc.ExperimentalKeywords || len(tc.Env) > 0 {
		return "", false
	}
	text := strings.Join(tc.Modules, "\n")
	for _, outside := range []string{"http.send", "net.lookup_ip_addr", "opa.runtime", "test.sleep", "import rego.v2"} {
		if strings.Contains(text, outside) {
			return "", false
		}
	}
	return m[2], true
}

func evalCase(t *testing.T, tc cases.TestCase, optimised bool) (ast.Value, error) {
	t.Helper()
	modules := map[string]string{}
	for i, text := range tc.Modules {
		modules[fmt.Sprintf("%d.rego", i)] = text
	}
	c, err := ast.CompileModulesWithOpt(modules, ast.CompileOpts{ParserOptions: ast.ParserOptions{RegoVersion: ast.RegoV1}})
	if err != nil {
		t.Fatal(err)
	}
	qc := c.QueryCompiler()
	entry := ast.MustParseRef(oneValue.FindStringSubmatch(tc.Query)[1])
	body, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(entry), ast.NewTerm(resultVar))))
	if err != nil {
		t.Fatal(err)
	}
	data := map[string]any{}
	if tc.Data != nil {
		data = *tc.Data
	}
	root, err := objectOf(data)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := newDocument(root, 0)
	if err != nil {
		t.Fatal(err)
	}
	var input *ast.Term
	if tc.InputTerm != nil {
		input = ast.MustParseTerm(*tc.InputTerm)
	} else if tc.Input != nil {
		input = ast.NewTerm(ast.MustInterfaceToValue(*tc.Input))
	}
	p := program{
		compiler: c, query: body, queryCompiler: qc, budget: time.Minute,
		log: slog.New(slog.DiscardHandler), indexing: optimised, earlyExit: optimised,
	}
	return p.eval(context.Background(), input, doc, time.Now())
}

func builtinFailed(err error) bool {
	var e *topdown.Error
	return errors.As(err, &e) && (e.Code == topdown.BuiltinErr || e.Code == topdown.TypeErr)
}

func compareCase(tc cases.TestCase, variable string, value ast.Value, err error) string {
	undefined := errors.Is(err, authz.ErrPolicyUndefined)
	switch {
	case tc.WantErrorCode != nil || tc.WantError != nil:
		if err == nil || undefined {
			return fmt.Sprintf("got %v, %v, want an error", value, err)
		}
		return ""
	case err != nil && !undefined:
		return err.Error()
	case tc.WantDefined != nil && *tc.WantDefined == undefined:
		return fmt.Sprintf("defined: %v", !undefined)
	case tc.WantResult == nil:
		return ""
	case len(*tc.WantResult) == 0 || undefined:
		if !undefined || len(*tc.WantResult) > 0 {
			return fmt.Sprintf("got %v, want %v", value, *tc.WantResult)
		}
		return ""
	}
	got, err := ast.JSON(value)
	if err != nil {
		return err.Error()
	}
	want := (*tc.WantResult)[0][variable]
	if !reflect.DeepEqual(normal(got, tc.SortBindings), normal(want, tc.SortBindings)) {
		return fmt.Sprintf("got %v, want %v", got, want)
	}
	return ""
}

// normal makes numbers of one kind, and sorts lists where the case says that
// order does not matter.
func normal(v any, sorted bool) any {
	text, _ := json.Marshal(v)
	var out any
	_ = json.Unmarshal(text, &out)
	if list, ok := out.([]any); ok && sorted {
		slices.SortFunc(list, func(a, b any) int {
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(b)
			return strings.Compare(string(x), string(y))
		})
	}
	return out
}
