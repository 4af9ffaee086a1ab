package authoring_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz/authoring"
	"battery.app/gate/authz/engine"
	"battery.app/gate/policies"
)

const policy = `package battery.admin

decision := {"allow": input.action == data.may.action}
`

func source(tests string) engine.Source {
	return engine.Source{
		Modules: map[string]string{"p.rego": policy},
		Tests:   map[string]string{"p_test.rego": "package battery.admin_test\n\nimport data.battery.admin\n\n" + tests},
		Data:    map[string]any{"may": map[string]any{"action": "apps.list"}},
	}
}

func TestShippedPoliciesPassTheirTests(t *testing.T) {
	for dir, least := range map[string]int{"authz": 40, "admin": 70, "examples/authzen-gateway": 13, "examples/authzen-todo": 17} {
		fsys, err := fs.Sub(policies.FS, dir)
		if err != nil {
			t.Fatal(err)
		}
		src, err := engine.ReadFS(fsys)
		if err != nil {
			t.Fatal(err)
		}
		r, err := authoring.Test(context.Background(), src, authoring.Options{})
		if err != nil || !r.OK() || r.Passed < least {
			t.Errorf("%s: %+v, %v", dir, r, err)
		}
	}
}

func TestPasses(t *testing.T) {
	for name, c := range map[string]struct {
		tests           string
		passed, skipped int
	}{
		"a test":         {`test_list if admin.decision.allow with input as {"action": "apps.list"}`, 1, 0},
		"a table":        {"test_t[name] if {\n\tsome name, action in {\"a\": \"apps.list\", \"b\": \"apps.list\"}\n\tadmin.decision.allow with input as {\"action\": action}\n}", 2, 0},
		"one to do":      {`todo_test_x if false` + "\n\ntest_y if is_object(admin.decision) with input as {\"action\": \"x\"}", 1, 1},
		"print, dropped": {"test_list if {\n\tprint(\"hello\")\n\tadmin.decision.allow with input as {\"action\": \"apps.list\"}\n}", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := authoring.Test(context.Background(), source(c.tests), authoring.Options{})
			if err != nil || !r.OK() || r.Passed != c.passed || r.Skipped != c.skipped {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	t.Run("no tests, an empty report", func(t *testing.T) {
		src := source("")
		src.Tests = nil
		if r, err := authoring.Test(context.Background(), src, authoring.Options{}); err != nil || !r.OK() || r.Passed != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestFails(t *testing.T) {
	for name, c := range map[string]struct {
		tests string
		line  int
		says  string
	}{
		"what is undefined":  {"# one\ntest_x if admin.decision.allow with input as {\"action\": \"x\"}", 6, "battery.admin_test.test_x is not true"},
		"what is false":      {"test_x := false if admin.decision with input as {\"action\": \"x\"}", 5, "is not true"},
		"a case of a table":  {"test_t[name] if {\n\tsome name, action in {\"good\": \"apps.list\", \"bad\": \"x\"}\n\tadmin.decision.allow with input as {\"action\": action}\n}", 5, "test_t[bad] is not true"},
		"a built-in's error": {"test_x if {\n\tadmin.decision with input as {\"action\": \"x\"}\n\tnot to_number(\"x\") == 1\n}", 5, "to_number"},
		"what takes too long": {"test_x if {\n\tsome a in numbers.range(1, 100000)\n\tsome b in numbers.range(1, 100000)\n\ta + b == -1\n\tadmin.decision\n}",
			5, "cancel"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := authoring.Test(context.Background(), source(c.tests), authoring.Options{TestTime: 100 * time.Millisecond})
			if err != nil || r.OK() || len(r.Faults) != 1 || r.Failed != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			if f := r.Faults[0]; f.File != "p_test.rego" || f.Line != c.line || f.Code != authoring.FaultTest || !strings.Contains(f.Message, c.says) {
				t.Errorf("%+v", f)
			}
		})
	}
	t.Run("what takes too long in all", func(t *testing.T) {
		const slow = "test_%s if {\n\tsome a in numbers.range(1, 100000)\n\tsome b in numbers.range(1, 100000)\n\ta + b == -1\n\tadmin.decision\n}\n\n"
		tests := ""
		for _, n := range []string{"a", "b", "c", "d"} {
			tests += strings.ReplaceAll(slow, "%s", n)
		}
		start := time.Now()
		r, err := authoring.Test(context.Background(), source(tests), authoring.Options{TestTime: time.Minute, TotalTime: 200 * time.Millisecond})
		if err != nil || r.OK() || !strings.Contains(r.Faults.Error(), "all tests together") {
			t.Errorf("%+v, %v", r, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
	t.Run("when the caller goes", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := authoring.Test(ctx, source("test_x if admin.decision"), authoring.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// Tests reach no further than the policy: whoever pushes one must not get at
// the network, the environment or the host's clock through it.
func TestTestsThatDoNotCompileAreFaults(t *testing.T) {
	for name, c := range map[string]struct{ tests, says string }{
		"the network":        {`test_x if http.send({"method": "GET", "url": "http://127.0.0.1"})`, "http.send"},
		"the environment":    {`test_x if opa.runtime().env.PATH != ""`, "opa.runtime"},
		"what does not end":  {`test_x if {`, ""},
		"an unused variable": {"test_x if {\n\ty := 1\n\tadmin.decision\n}", "unused"},
		"an import unused":   {"test_x if true", "unused"},
		"recursion":          {"test_x if test_x\n\ny := admin.decision", "recursive"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := authoring.Test(context.Background(), source(c.tests), authoring.Options{})
			var faults engine.Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %v", err)
			}
			if f := faults[0]; f.File != "p_test.rego" || f.Line == 0 || !strings.Contains(faults.Error(), c.says) {
				t.Errorf("got %+v", faults)
			}
		})
	}
	t.Run("an empty file", func(t *testing.T) {
		src := source("")
		src.Tests["q_test.rego"] = ""
		var faults engine.Faults
		if _, err := authoring.Test(context.Background(), src, authoring.Options{}); !errors.As(err, &faults) {
			t.Errorf("got %v", err)
		}
	})
}
