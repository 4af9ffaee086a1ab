package engine_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"

	"battery.app/gate/authz/engine"
)

// TestShippedPolicies runs the Rego tests that ship, with every line of the
// policies covered, under the capabilities they are compiled with in production.
func TestShippedPolicies(t *testing.T) {
	for dir, least := range map[string]int{"authz": 40, "admin": 70, "examples/authzen-gateway": 13, "examples/authzen-todo": 17} {
		t.Run(dir, func(t *testing.T) {
			modules := parseAll(t, sub(t, dir))
			coverage := cover.New()
			caps := engine.Capabilities()
			for _, b := range ast.CapabilitiesForThisVersion().Builtins {
				if b.Name == ast.InternalTestCase.Name {
					caps.Builtins = append(caps.Builtins, b) // names the cases of a table
				}
			}
			results, err := tester.NewRunner().
				SetCompiler(ast.NewCompiler().WithCapabilities(caps).WithStrict(true).WithRewriteTestRules(true)).
				RaiseBuiltinErrors(true).
				SetModules(modules).
				SetCoverageQueryTracer(coverage).
				RunTests(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			ran := 0
			for result := range results {
				ran += max(1, len(result.SubResults))
				if !result.Pass() || result.Skip {
					t.Errorf("%s.%s: failed=%v skipped=%v error=%v\n%v", result.Package, result.Name, result.Fail, result.Skip, result.Error, result.SubResults)
				}
			}
			if ran < least {
				t.Errorf("%d cases ran, want at least %d", ran, least)
			}
			shippedOnly := map[string]*ast.Module{}
			for name, m := range modules {
				if !strings.HasSuffix(name, "_test.rego") {
					shippedOnly[name] = m
				}
			}
			report := coverage.Report(shippedOnly)
			for name := range shippedOnly {
				file := report.Files[name]
				if file == nil || file.Coverage != 100 {
					t.Errorf("%s is not covered: %+v", name, file)
				}
			}
		})
	}
}

func parseAll(t *testing.T, fsys fs.FS) map[string]*ast.Module {
	t.Helper()
	out := map[string]*ast.Module{}
	names, err := fs.Glob(fsys, "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		out[name] = m
	}
	return out
}

// A mistake in the shipped policies must fail the check, wherever it is made.
func TestTyposInTheShippedPoliciesDoNotCompile(t *testing.T) {
	for _, c := range []struct{ dir, right, wrong string }{
		{"authz", "is_null(input.session)", "is_null(input.sesion)"},
		{"authz", "input.app.public == true", "input.app.pubic == true"},
		{"authz", "input.session.email != \"\"", "input.session.emial != \"\""},
		{"authz", "some role in input.user.roles", "some role in input.user.rolls"},
		{"authz", "data.battery.settings.deny_when_stale", "data.battery.settings.deny_when_stael"},
		{"admin", "input.actor.kind == \"token\"", "input.actor.kid == \"token\""},
		{"admin", "\"operator\" in input.actor.scopes", "\"operator\" in input.actor.scope"},
		{"admin", "input.resource.organization_id", "input.resource.organisation_id"},
		{"admin", "data.battery.settings.operators_organization != \"\"", "data.battery.settings.operators_organisation != \"\""},
	} {
		t.Run(c.wrong, func(t *testing.T) {
			src := shipped(t, c.dir)
			text := src.Modules["decision.rego"]
			if !strings.Contains(text, c.right) {
				t.Fatalf("the policy does not say %q", c.right)
			}
			src.Modules["decision.rego"] = strings.Replace(text, c.right, c.wrong, 1)
			var err error
			if c.dir == "admin" {
				_, err = engine.CompileAdmin(src, options(t))
			} else {
				_, err = engine.Compile(src, options(t))
			}
			if err == nil || !strings.Contains(err.Error(), "decision.rego:") {
				t.Errorf("compiled, or failed without a place: %v", err)
			}
		})
	}
}

// settings.json repeats a part of data.json for annotations, which cannot point
// into a file.
func TestSettingsSchemaIsThatOfData(t *testing.T) {
	read := func(name string) (out map[string]any) {
		text, err := fs.ReadFile(sub(t, "schemas"), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	alone := read("settings.json")
	delete(alone, "$schema")
	delete(alone, "title")
	a, _ := json.Marshal(alone)
	b, _ := json.Marshal(read("data.json")["properties"].(map[string]any)["settings"])
	if string(a) != string(b) {
		t.Errorf("settings.json has\n%s\ndata.json has\n%s", a, b)
	}
}
