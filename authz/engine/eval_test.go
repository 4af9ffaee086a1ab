package engine_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
)

// endless takes longer than anyone waits: 10^8 combinations.
const endless = `
ns := numbers.range(1, 10000)

decision := {"allow": count([1 | some a in ns; some b in ns; a * b == -1]) == 0}`

func TestBudget(t *testing.T) {
	o := options(t)
	o.Budget = 20 * time.Millisecond
	snap := publish(compile(t, rules(endless), o), nil)

	t.Run("a policy over its budget denies", func(t *testing.T) {
		v, err := snap.Evaluate(context.Background(), question())
		if !errors.Is(err, authz.ErrPolicyTimeout) || v.Allow {
			t.Errorf("got %+v, %v", v, err)
		}
	})
	t.Run("the next evaluation has a budget of its own", func(t *testing.T) {
		if _, err := snap.Evaluate(context.Background(), question()); !errors.Is(err, authz.ErrPolicyTimeout) {
			t.Errorf("got %v", err)
		}
	})

	long := publish(compile(t, rules(endless), options(t)), nil)
	t.Run("a caller who goes away ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(10*time.Millisecond, cancel)
		v, err := long.Evaluate(ctx, question())
		if !errors.Is(err, context.Canceled) || v.Allow {
			t.Errorf("got %+v, %v", v, err)
		}
	})
	t.Run("a caller's deadline counts as the budget", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if _, err := long.Evaluate(ctx, question()); !errors.Is(err, authz.ErrPolicyTimeout) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a caller who is gone already gets no answer", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if v, err := long.Evaluate(ctx, question()); err == nil || v.Allow {
			t.Errorf("got %+v, %v", v, err)
		}
	})
}

func TestWhatIsNoDecisionIsAnError(t *testing.T) {
	for _, c := range []struct {
		name, text string
		undefined  bool
	}{
		{"undefined", `decision := {"allow": true} if input.request.method == "NONE"`, true},
		{"no allow", `decision := {"reasons": []}`, true},
		{"a boolean", `decision := true`, false},
		{"a string", `decision := "allow"`, false},
		{"an array", `decision := [{"allow": true}]`, false},
		{"a set", `decision contains "allow"`, false},
		{"allow is a string", `decision := {"allow": "true"}`, false},
		{"allow is a number", `decision := {"allow": 1}`, false},
		{"allow is null", `decision := {"allow": null}`, false},
		{"allow is an object", `decision := {"allow": {}}`, false},
		{"a mistyped member", `decision := {"allow": true, "header": {}}`, false},
		{"a member that is no string", `decision := {"allow": true, 1: 2}`, false},
		{"reasons is no list", `decision := {"allow": true, "reasons": "x"}`, false},
		{"a reason is a string", `decision := {"allow": true, "reasons": ["x"]}`, false},
		{"a reason without a code", `decision := {"allow": true, "reasons": [{"message": "x"}]}`, false},
		{"a reason with an empty code", `decision := {"allow": true, "reasons": [{"code": "", "message": "x"}]}`, false},
		{"a reason with a number", `decision := {"allow": true, "reasons": [{"code": 1, "message": "x"}]}`, false},
		{"a reason with more", `decision := {"allow": true, "reasons": [{"code": "a", "message": "x", "b": 1}]}`, false},
		{"too many reasons", `decision := {"allow": true, "reasons": [{"code": "a", "message": sprintf("%d", [n])} | some n in numbers.range(1, 100)]}`, false},
		{"a reason without end", `decision := {"allow": true, "reasons": [{"code": "a", "message": concat("", [x | some n in numbers.range(1, 5000); x := sprintf("%d", [n])])}]}`, false},
		{"roles is no list", `decision := {"allow": true, "roles": "admin"}`, false},
		{"a role is a number", `decision := {"allow": true, "roles": [1]}`, false},
		{"a role that is two", `decision := {"allow": true, "roles": ["member,admin"]}`, false},
		{"a role that ends its header", `decision := {"allow": true, "roles": ["member\r\nX-Battery-Roles: admin"]}`, false},
		{"an empty role", `decision := {"allow": true, "roles": [""]}`, false},
		{"headers is no object", `decision := {"allow": true, "headers": []}`, false},
		{"two answers", `decision := {"allow": true} if input.request.method == "GET"` + "\n\n" + `decision := {"allow": false} if input.request.scheme == "https"`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := ask(t, rules(c.text), options(t), question())
			if err == nil || v.Allow || len(v.Headers) > 0 || len(v.Roles) > 0 {
				t.Fatalf("got %+v, %v", v, err)
			}
			if errors.Is(err, authz.ErrPolicyUndefined) != c.undefined || errors.Is(err, authz.ErrPolicyTimeout) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A built-in's error would be undefined by OPA's default, and its negation true.
func TestBuiltinErrorsAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"under not":         `decision := {"allow": true} if not to_number(input.request.method) == 1`,
		"in a helper":       `decision := {"allow": true} if not blocked` + "\n\n" + `blocked if json.unmarshal(input.request.path).blocked`,
		"division by zero":  `decision := {"allow": true} if not 1 / count(input.request.headers) > 5`,
		"in a default":      `default decision := {"allow": true}` + "\n\n" + `decision := {"allow": false} if units.parse(input.request.method) > 1`,
		"in an else branch": `decision := {"allow": false} if units.parse(input.request.method) > 1` + "\n" + `else := {"allow": true}`,
	} {
		t.Run(name, func(t *testing.T) {
			v, err := ask(t, rules(text), options(t), question())
			if err == nil || v.Allow || errors.Is(err, authz.ErrPolicyUndefined) {
				t.Fatalf("got %+v, %v", v, err)
			}
			if !strings.Contains(err.Error(), topdown.BuiltinErr) && !strings.Contains(err.Error(), topdown.TypeErr) {
				t.Errorf("another error: %v", err)
			}
		})
	}
}

func TestPanicsAreErrors(t *testing.T) {
	p := compile(t, rules(`decision := {"allow": true, "reasons": [{"code": "x", "message": input.app.id}]}`), options(t))
	out, err := p.EvalValue(context.Background(), panicking{ast.NewObject()})
	if err == nil || out != nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("got %v, %v", out, err)
	}
}

// panicking is an input that panics when it is looked into.
type panicking struct{ ast.Object }

func (panicking) Find(ast.Ref) (ast.Value, error) { panic("looked into") }

func TestPolicyHeaders(t *testing.T) {
	o := options(t)
	o.Headers = []string{"X-Plan", "x-tier", "X-PLAN"}
	declared := []string{"X-Plan", "X-Tier"}

	t.Run("every declared header is emitted, empty if not set", func(t *testing.T) {
		for _, text := range []string{
			`decision := {"allow": true}`,
			`decision := {"allow": true, "headers": {}}`,
			`decision := {"allow": false, "headers": {"x-plan": "gold"}}`,
		} {
			v, err := ask(t, rules(text), o, question())
			if err != nil || !slices.Equal(slices.Sorted(maps.Keys(v.Headers)), declared) {
				t.Errorf("%s: %+v, %v", text, v, err)
			}
			if v.Headers["X-Tier"] != "" || (strings.Contains(text, "gold") != (v.Headers["X-Plan"] == "gold")) {
				t.Errorf("%s: %+v", text, v.Headers)
			}
		}
	})
	for name, headers := range map[string]string{
		"undeclared":           `{"X-Other": "a"}`,
		"identity":             `{"X-Battery-Roles": "admin"}`,
		"a cookie":             `{"Set-Cookie": "a=b"}`,
		"an alias":             `{"X_Plan": "a"}`,
		"given twice":          `{"X-Plan": "a", "x-plan": "b"}`,
		"a line break":         `{"X-Plan": "a\r\nX-Battery-Roles: admin"}`,
		"a lone line feed":     `{"X-Plan": "a\nb"}`,
		"a NUL":                `{"X-Plan": "a\u0000b"}`,
		"a number":             `{"X-Plan": 1}`,
		"no string for a name": `{1: "a"}`,
		"too long":             `{"X-Plan": concat("", [x | some x in [sprintf("%d", [n]) | some n in numbers.range(1000, 1500)]])}`,
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			v, err := ask(t, rules(`decision := {"allow": true, "headers": `+headers+`}`), o, question())
			if err == nil || v.Allow || v.Headers != nil {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
}

func TestVerdictIsRead(t *testing.T) {
	v, err := ask(t, rules(`decision := {"allow": false, "roles": {"b", "a"}, "reasons": reasons}

reasons contains {"code": "one", "message": "1"}

reasons contains {"code": "two", "message": ""}`), options(t), question())
	want := []authz.Reason{{Code: "one", Message: "1"}, {Code: "two", Message: ""}}
	if err != nil || v.Allow || !slices.Equal(v.Reasons, want) || !slices.Equal(v.Roles, []string{"a", "b"}) {
		t.Errorf("got %+v, %v", v, err)
	}
	v, err = ask(t, rules(`decision := {"allow": true, "roles": ["b", "a", "b"]}`), options(t), question())
	if err != nil || !v.Allow || !slices.Equal(v.Roles, []string{"a", "b"}) || v.Headers != nil || v.Cached {
		t.Errorf("got %+v, %v", v, err)
	}
}

// The policy's clock is the request's time, so a record can be asked again.
func TestTimeIsTheRequests(t *testing.T) {
	text := `decision := {"allow": time.now_ns() == input.request.time_ns, "reasons": [{"code": "x", "message": sprintf("%d", [time.now_ns()])}]}`
	p := compile(t, rules(text), options(t))
	for name, c := range map[string]struct{ at, want time.Time }{
		"of the request": {noon.Add(time.Hour), noon.Add(time.Hour)},
		"of the engine":  {time.Time{}, noon},
	} {
		t.Run(name, func(t *testing.T) {
			in := question()
			in.Request.Time = c.at
			v, err := publish(p, nil).Evaluate(context.Background(), in)
			if err != nil || !v.Allow || v.Reasons[0].Message != strconv.FormatInt(c.want.UnixNano(), 10) {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
}

func TestRoleMappings(t *testing.T) {
	text := `decision := {"allow": true, "roles": {r | some g in input.user.groups; some r in data.battery.role_mappings[g.id]}, "reasons": [
		{"code": "mappings", "message": json.marshal(data.battery.role_mappings)}, {"code": "own", "message": data.battery.own.x}]}`
	src := rules(text)
	src.Data = map[string]any{"battery": map[string]any{"own": map[string]any{"x": "kept"}}}
	p := compile(t, src, options(t))
	dir := &directory{version: 1, mappings: map[string]map[string][]string{
		"org_acme":   {"directory_group_engineering": {"editor", "member"}},
		"org_globex": {"directory_group_engineering": {"admin"}, "directory_group_staff": {"member"}},
	}}
	roles := func(d *directory, org string) []string {
		t.Helper()
		in := question()
		in.App.OrganizationID = org
		v, err := publish(p, d).Evaluate(context.Background(), in)
		if err != nil || v.Reasons[1].Message != "kept" {
			t.Fatalf("got %+v, %v", v, err)
		}
		if org == "org_acme" && strings.Contains(v.Reasons[0].Message, "staff") {
			t.Error("sees the mappings of another organization")
		}
		return v.Roles
	}
	if got := roles(dir, "org_acme"); !slices.Equal(got, []string{"editor", "member"}) {
		t.Errorf("got %v", got)
	}
	if got := roles(dir, "org_globex"); !slices.Equal(got, []string{"admin"}) {
		t.Errorf("got %v", got)
	}
	if got := roles(dir, "org_unknown"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	changed := &directory{version: 2, mappings: map[string]map[string][]string{"org_acme": {"directory_group_engineering": {"admin"}}}}
	if got := roles(changed, "org_acme"); !slices.Equal(got, []string{"admin"}) {
		t.Errorf("a new version of the mappings is not seen: %v", got)
	}
	if got := roles(dir, "org_acme"); !slices.Equal(got, []string{"editor", "member"}) {
		t.Errorf("an older snapshot sees newer mappings: %v", got)
	}
	if n := p.Documents(); n != 3 {
		t.Errorf("%d documents are kept for 3 organizations", n)
	}
	for i := range engine.MaxDocuments + 10 {
		roles(dir, "org_"+strings.Repeat("x", i%7)+time.Duration(i).String())
	}
	if n := p.Documents(); n > engine.MaxDocuments {
		t.Errorf("%d documents are kept", n)
	}
}
