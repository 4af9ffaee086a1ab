package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"
)

// schemas are the JSON schemas that ship with the policies, by base name.
type schemas map[string]any

func readSchemas(fsys fs.FS) (schemas, error) {
	if fsys == nil {
		return nil, errors.New("no schemas are given")
	}
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, err
	}
	out := schemas{}
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		var schema any
		if err := util.NewJSONDecoder(bytes.NewReader(text)).Decode(&schema); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[strings.TrimSuffix(path.Base(name), ".json")] = schema
	}
	return out, nil
}

// set makes them known to the type checker: each as schema.NAME for
// annotations, and the one named input as the type of input in every module,
// annotated or not, so that a mistyped input.sesion never compiles.
func (s schemas) set(input string) (*ast.SchemaSet, error) {
	if s[input] == nil {
		return nil, fmt.Errorf("schema %s.json is missing", input)
	}
	set := ast.NewSchemaSet()
	for name, schema := range s {
		set.Put(ast.SchemaRootRef.Append(ast.StringTerm(name)), schema)
	}
	set.Put(ast.SchemaRootRef, s[input])
	return set, nil
}

// check validates a document against a schema: every violation, in words.
func (s schemas) check(name string, doc any) ([]string, error) {
	if s[name] == nil {
		return nil, fmt.Errorf("schema %s.json is missing", name)
	}
	value, err := ast.InterfaceToValue(doc)
	if err != nil {
		return nil, err
	}
	schema, err := ast.InterfaceToValue(s[name])
	if err != nil {
		return nil, err
	}
	var out []string
	match := topdown.GetBuiltin(ast.JSONMatchSchema.Name)
	bctx := topdown.BuiltinContext{Capabilities: Capabilities()}
	err = match(bctx, []*ast.Term{ast.NewTerm(value), ast.NewTerm(schema)}, func(result *ast.Term) error {
		pair, ok := result.Value.(*ast.Array)
		if !ok || pair.Len() != 2 {
			return errors.New("no result")
		}
		if pair.Elem(0).Value.Compare(ast.Boolean(true)) == 0 {
			return nil
		}
		if list, ok := pair.Elem(1).Value.(*ast.Array); ok {
			list.Foreach(func(e *ast.Term) {
				if text, ok := e.Get(ast.StringTerm("error")).Value.(ast.String); ok {
					out = append(out, string(text))
				}
			})
		}
		if len(out) == 0 {
			out = []string{"does not match its schema"}
		}
		return nil
	})
	return out, err
}

// names are the properties that a schema declares below a path of properties.
func (s schemas) names(schema string, path ...string) []string {
	at, _ := s[schema].(map[string]any)
	for _, part := range path {
		properties, _ := at["properties"].(map[string]any)
		at, _ = properties[part].(map[string]any)
	}
	properties, _ := at["properties"].(map[string]any)
	return util.KeysSorted(properties)
}
