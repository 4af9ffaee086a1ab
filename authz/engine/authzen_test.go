package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
)

// withAuthZEN is the shipped policy with more files beside it.
func withAuthZEN(t testing.TB, files map[string]string) engine.Source {
	src := shipped(t, "authz")
	maps.Copy(src.Modules, files)
	return src
}

const authzenHead = "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.authzen_input\npackage battery.authzen\n\n"

func evaluator(t testing.TB, rules string, o engine.Options, dir *directory) authz.Evaluator {
	t.Helper()
	e, ok := publish(compile(t, withAuthZEN(t, map[string]string{"authzen.rego": authzenHead + rules}), o), dir).(authz.Evaluator)
	if !ok {
		t.Fatal("the snapshot evaluates nothing")
	}
	return e
}

func authzenInput() map[string]any {
	return map[string]any{
		"subject":  map[string]any{"type": "user", "id": "alice", "properties": map[string]any{}},
		"action":   map[string]any{"name": "read", "properties": map[string]any{}},
		"resource": map[string]any{"type": "doc", "id": "1", "properties": map[string]any{"owner": "alice", "level": 3}},
		"context":  map[string]any{},
		"caller":   map[string]any{"id": "token_1", "organization_id": "org_acme"},
	}
}

func TestAuthZEN(t *testing.T) {
	for name, c := range map[string]struct {
		rules string
		want  authz.Evaluation
		err   error // any, if it is errAny
	}{
		"permit":             {`decision := {"decision": input.resource.properties.owner == input.subject.id}`, authz.Evaluation{Decision: true}, nil},
		"deny":               {`decision := {"decision": false}`, authz.Evaluation{}, nil},
		"with a context":     {`decision := {"decision": true, "context": {"id": "0", "n": [1]}}`, authz.Evaluation{Decision: true, Context: map[string]any{"id": "0", "n": []any{json.Number("1")}}}, nil},
		"undefined":          {`decision := {"decision": true} if input.subject.id == "bob"`, authz.Evaluation{}, authz.ErrPolicyUndefined},
		"no decision":        {`decision := {"context": {}}`, authz.Evaluation{}, authz.ErrPolicyUndefined},
		"a bare boolean":     {`decision := true`, authz.Evaluation{}, errAny},
		"a text":             {`decision := {"decision": "true"}`, authz.Evaluation{}, errAny},
		"a number":           {`decision := {"decision": 1}`, authz.Evaluation{}, errAny},
		"unknown member":     {`decision := {"decision": true, "allow": true}`, authz.Evaluation{}, errAny},
		"context a list":     {`decision := {"decision": true, "context": []}`, authz.Evaluation{}, errAny},
		"context too big":    {`decision := {"decision": true, "context": {"x": numbers.range(0, 9999)}}`, authz.Evaluation{}, errAny},
		"a built-in's error": {`decision := {"decision": true} if not to_number(input.subject.id) == 3`, authz.Evaluation{}, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			e := evaluator(t, c.rules, options(t), nil)
			got, err := e.EvaluateAuthZEN(context.Background(), "org_acme", authzenInput(), noon)
			asWanted := errors.Is(err, c.err) || err != nil && errors.Is(c.err, errAny)
			if !reflect.DeepEqual(got, c.want) || !asWanted {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, c.want, c.err)
			}
			if !e.HasAuthZEN() {
				t.Error("it says it has no entry point")
			}
			in := question()
			if v, err := e.Evaluate(context.Background(), in); err != nil || !v.Allow {
				t.Errorf("the gateways' policy beside it: %+v, %v", v, err)
			}
		})
	}
}

var errAny = errors.New("any")

func TestAuthZENWithoutAnEntryPoint(t *testing.T) {
	e, ok := publish(compile(t, shipped(t, "authz"), options(t)), nil).(authz.Evaluator)
	if !ok || e.HasAuthZEN() {
		t.Fatal("the shipped policy has an entry point for AuthZEN")
	}
	got, err := e.EvaluateAuthZEN(context.Background(), "", authzenInput(), noon)
	if got.Decision || !errors.Is(err, authz.ErrNotConfigured) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAuthZENHasTheSameBudgetAndClock(t *testing.T) {
	o := options(t)
	e := evaluator(t, `decision := {"decision": time.now_ns() == 1577880000000000000}`, o, nil)
	if got, err := e.EvaluateAuthZEN(context.Background(), "", authzenInput(), noon); err != nil || !got.Decision {
		t.Errorf("the policy sees another time: %+v, %v", got, err)
	}
	o.Budget = 20 * time.Millisecond
	e = evaluator(t, `decision := {"decision": count([1 | some i in numbers.range(0, 3000); some j in numbers.range(0, 3000); i * j == -1]) == 0}`, o, nil)
	got, err := e.EvaluateAuthZEN(context.Background(), "", authzenInput(), noon)
	if got.Decision || !errors.Is(err, authz.ErrPolicyTimeout) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A caller sees the role mappings of its own organization and of no other.
func TestAuthZENSeesTheCallersOrganizationAlone(t *testing.T) {
	dir := &directory{version: 1, mappings: map[string]map[string][]string{"org_acme": {"g1": {"editor"}}, "org_globex": {"g2": {"admin"}}}}
	e := evaluator(t, `decision := {"decision": true, "context": {"groups": sort(object.keys(data.battery.role_mappings))}}`, options(t), dir)
	for org, want := range map[string][]any{"org_acme": {"g1"}, "org_globex": {"g2"}, "": {}, "org_other": {}} {
		got, err := e.EvaluateAuthZEN(context.Background(), org, authzenInput(), noon)
		if err != nil || !reflect.DeepEqual(got.Context["groups"], want) {
			t.Errorf("%q sees %v, %v", org, got.Context, err)
		}
	}
}

func TestMistakesInAuthZENPoliciesDoNotCompile(t *testing.T) {
	for name, text := range map[string]string{
		"a typo":                   authzenHead + `decision := {"decision": input.subjet.id == "x"}`,
		"the gateways' input":      authzenHead + `decision := {"decision": input.request.method == "GET"}`,
		"no declaration":           "package battery.authzen\n\n" + `decision := {"decision": input.subject.id == "x"}`,
		"the network":              authzenHead + `decision := {"decision": http.send({"method": "GET", "url": "http://x"}).status_code == 200}`,
		"data that nothing gives":  authzenHead + `decision := {"decision": data.user.x}`,
		"print":                    authzenHead + "decision := {\"decision\": true} if print(1)",
		"the host's time zone":     authzenHead + `decision := {"decision": time.clock([0, "Local"])[0] == 1}`,
		"the admin policy's names": "package battery.admin\n\ndecision := {\"allow\": true}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := engine.Compile(withAuthZEN(t, map[string]string{"authzen.rego": text}), options(t))
			if err == nil || !strings.Contains(err.Error(), "authzen.rego:") {
				t.Errorf("compiled, or failed without a place: %v", err)
			}
		})
	}
}

// Both examples stand beside each other and beside the gateways' policy.
func TestExamplesFitTogether(t *testing.T) {
	files := map[string]string{}
	for _, name := range []string{"authzen-gateway", "authzen-todo"} {
		maps.Copy(files, shipped(t, "examples/"+name).Modules)
	}
	if p := compile(t, withAuthZEN(t, files), options(t)); !p.HasAuthZEN() {
		t.Error("together they have no entry point")
	}
}
