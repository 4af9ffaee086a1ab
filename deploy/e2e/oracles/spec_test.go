package oracles_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// spec is WorkOS's OpenAPI description, made into JSON schemas.
type spec struct {
	doc      map[string]any
	paths    map[string]any
	events   map[string]int // event type → its place in EventSchema's oneOf
	compiler *jsonschema.Compiler

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

var loadSpec = sync.OnceValues(func() (*spec, error) {
	path := filepath.Join(root, ".tools/oracles/node_modules/@workos/openapi-spec/open-api-spec.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("run `make tools` first: %w", err)
	}
	var tree any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	// Through JSON, so that the compiler gets what it decodes itself.
	asJSON, err := json.Marshal(strict(tree, false))
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, err
	}
	s := &spec{compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}, events: map[string]int{}}
	s.doc, s.paths = doc.(map[string]any), at(doc, "paths").(map[string]any)
	s.compiler.AssertFormat()
	if err := s.compiler.AddResource("spec.json", doc); err != nil {
		return nil, err
	}
	variants, _ := at(doc, "components", "schemas", "EventSchema", "allOf", 1, "oneOf").([]any)
	for i, v := range variants {
		if name, ok := at(v, "properties", "event", "const").(string); ok {
			s.events[name] = i
		}
	}
	if len(s.events) < 50 {
		return nil, fmt.Errorf("the description has only %d types of event", len(s.events))
	}
	return s, nil
})

// at walks into decoded JSON; nil where there is nothing.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// strict makes the description a harder judge than it is: an object with named
// properties has no others, unless it says so or is a part of an allOf. Errors
// are left open: the description gives most of them a message only, and WorkOS
// sends more. It also repairs what JSON schema forbids: names that are twice in
// "required".
func strict(v any, part bool) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = strict(v[i], false)
		}
	case map[string]any:
		if _, isSchema := v["properties"].(map[string]any); isSchema && !part {
			if _, says := v["additionalProperties"]; !says {
				v["additionalProperties"] = false
			}
		}
		for k, sub := range v {
			parts, isList := sub.([]any)
			switch {
			case isError(k):
				v[k] = lenient(sub)
			case k == "example" || k == "examples" || k == "default":
				delete(v, k) // not schemas, and not needed
			case k == "required" && isList:
				v[k] = once(parts)
			case k == "allOf" && isList:
				for i := range parts {
					parts[i] = strict(parts[i], true)
				}
			default:
				v[k] = strict(sub, false)
			}
		}
	}
	return v
}

func isError(key string) bool { return len(key) == 3 && (key[0] == '4' || key[0] == '5') }

// lenient lets objects have more than the properties that are named.
func lenient(v any) any {
	v = strict(v, false)
	var open func(any)
	open = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, sub := range v {
				open(sub)
			}
		case map[string]any:
			if v["additionalProperties"] == false {
				delete(v, "additionalProperties")
			}
			for _, sub := range v {
				open(sub)
			}
		}
	}
	open(v)
	return v
}

func once(names []any) []any {
	out, seen := []any{}, map[any]bool{}
	for _, n := range names {
		if !seen[n] {
			out, seen[n] = append(out, n), true
		}
	}
	return out
}

// schema compiles what is at a JSON pointer. It is nil where nothing is.
func (s *spec) schema(path ...any) (*jsonschema.Schema, error) {
	if at(s.doc, path...) == nil {
		return nil, nil
	}
	pointer := "spec.json#"
	for _, p := range path {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", " ", "%20").Replace(fmt.Sprint(p))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.compiled[pointer]; c != nil {
		return c, nil
	}
	c, err := s.compiler.Compile(pointer)
	if err != nil {
		return nil, err
	}
	s.compiled[pointer] = c
	return c, nil
}

// operation finds the template of a path: a literal segment before a parameter.
func (s *spec) operation(method, path string) (template string, op map[string]any) {
	best := -1
	for candidate := range s.paths {
		o, ok := at(s.paths, candidate, strings.ToLower(method)).(map[string]any)
		if !ok {
			continue
		}
		if score := fits(candidate, path); score > best {
			best, template, op = score, candidate, o
		}
	}
	return template, op
}

// fits counts the segments that agree literally; -1 if they do not fit.
func fits(template, path string) int {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return -1
	}
	score := 0
	for i := range want {
		switch {
		case want[i] == got[i]:
			score++
		case !strings.HasPrefix(want[i], "{") || got[i] == "":
			return -1
		}
	}
	return score
}

var errNoSchema = errors.New("the description has no schema for this")

// checkEvent validates one event against its type's schema.
func (s *spec) checkEvent(event any) error {
	name, _ := at(event, "event").(string)
	i, ok := s.events[name]
	if !ok {
		return fmt.Errorf("event %q: %w", name, errNoSchema)
	}
	schema, err := s.schema("components", "schemas", "EventSchema", "allOf", 1, "oneOf", i)
	if err != nil {
		return err
	}
	if err := schema.Validate(event); err != nil {
		return fmt.Errorf("event %s: %w", name, err)
	}
	return nil
}

// checkAnswer validates an answer to a call.
func (s *spec) checkAnswer(method, path string, status int, body []byte) error {
	template, op := s.operation(method, path)
	if op == nil {
		return errNoSchema
	}
	answer, ok := at(op, "responses", fmt.Sprint(status)).(map[string]any)
	if !ok {
		return fmt.Errorf("%s %s has no answer %d: %w", method, template, status, errNoSchema)
	}
	content := at(answer, "content", "application/json", "schema")
	if nothing, ok := content.(map[string]any); ok && len(nothing) == 0 && len(body) == 0 {
		return nil // anything, and so nothing too
	}
	if answer["content"] == nil {
		if len(body) > 0 {
			return fmt.Errorf("%s %s %d has a body, and should have none", method, template, status)
		}
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s %d: %w", method, template, status, err)
	}
	if template == "/events" && status == 200 { // one by one: 130 variants make an unreadable error
		events, _ := at(value, "data").([]any)
		for _, e := range events {
			if err := s.checkEvent(e); err != nil && !newerEvent(e) {
				return err
			}
		}
		value.(map[string]any)["data"] = []any{}
	}
	schema, err := s.schema("paths", template, strings.ToLower(method), "responses", fmt.Sprint(status), "content", "application/json", "schema")
	if err != nil {
		return err
	}
	if schema == nil {
		return fmt.Errorf("%s %s %d: %w", method, template, status, errNoSchema)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%s %s %d: %w", method, template, status, err)
	}
	return nil
}

// The judge itself must be able to say no.
func TestTheDescriptionRefuses(t *testing.T) {
	s, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"object":"event","id":"event_1","event":"role.created","created_at":"2026-01-15T12:00:00.000Z","context":{},"data":{"object":"role","slug":"a","resource_type_slug":"organization","permissions":[],"created_at":"2026-01-15T12:00:00.000Z","updated_at":"2026-01-15T12:00:00.000Z"}}`
	for name, c := range map[string]struct {
		change [2]string
		want   bool
	}{
		"nothing":                    {[2]string{}, true},
		"a type that is not there":   {[2]string{"role.created", "role.crowned"}, false},
		"a field that is missing":    {[2]string{`"slug":"a",`, ``}, false},
		"a field that is unknown":    {[2]string{`"slug":"a",`, `"slug":"a","colour":"red",`}, false},
		"a time that is none":        {[2]string{`"created_at":"2026-01-15T12:00:00.000Z","context"`, `"created_at":"2026-01-15 12:00:00","context"`}, false},
		"another type of a value":    {[2]string{`"permissions":[]`, `"permissions":{}`}, false},
		"an object with a new name":  {[2]string{`"object":"role"`, `"object":"rule"`}, false},
		"an unknown envelope member": {[2]string{`"context":{}`, `"contexts":{}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.ReplaceAll(good, c.change[0], c.change[1])))
			if c.change[0] == "" {
				e, err = jsonschema.UnmarshalJSON(strings.NewReader(good))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.checkEvent(e); (err == nil) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}
