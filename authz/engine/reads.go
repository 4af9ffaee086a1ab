package engine

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

// reads is what the rules behind an entry point may look at. What is never read
// is never built, and never recorded.
type reads struct {
	query, time, headers bool // of input.request
	mappings             bool // data.battery.role_mappings
}

func readsFrom(c *ast.Compiler, entry ast.Ref) reads {
	refs := follow(c, entry)
	return reads{
		query:    refs.touch(ast.InputRootRef, "request", "query"),
		time:     refs.touch(ast.InputRootRef, "request", "time_ns"),
		headers:  refs.touch(ast.InputRootRef, "request", "headers"),
		mappings: refs.touch(ast.DefaultRootRef, "battery", "role_mappings"),
	}
}

// refs are references to input and data.
type refs []ast.Ref

// follow gathers the references of the rules that the entry point can reach, over
// all their else branches, comprehensions, functions and `with` values. Rules that are
// named only at run time (data.lib[x]) are all reachable.
func follow(c *ast.Compiler, entry ast.Ref) (out refs) {
	seen := map[*ast.Rule]bool{}
	queue := c.GetRulesDynamicWithOpts(entry, ast.RulesOptions{IncludeHiddenModules: true})

	var visit func(t *ast.Term) bool
	visit = func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Ref:
			switch {
			case v.HasPrefix(ast.InputRootRef):
				out = append(out, v)
			case v.HasPrefix(ast.DefaultRootRef):
				out = append(out, v)
				queue = append(queue, c.GetRulesDynamicWithOpts(v, ast.RulesOptions{IncludeHiddenModules: true})...)
			}
			for i, part := range v {
				if _, head := part.Value.(ast.Var); i > 0 || !head { // a head alone would read as all of input
					ast.WalkTerms(part, visit)
				}
			}
			return true
		case ast.Var:
			if v.Equal(ast.InputRootDocument.Value) || v.Equal(ast.DefaultRootDocument.Value) {
				out = append(out, ast.Ref{t})
			}
		}
		return false
	}
	for len(queue) > 0 {
		rule := queue[0]
		queue = queue[1:]
		if !seen[rule] {
			seen[rule] = true
			ast.WalkTerms(rule, visit)
		}
	}
	return out
}

// touch reports whether the path below the root is read, or may be: a reference
// to something it lies in, or through a key known only at run time, counts.
func (r refs) touch(root ast.Ref, path ...string) bool {
	for _, ref := range r {
		if ref.HasPrefix(root) && along(ref[1:], path) {
			return true
		}
	}
	return false
}

// along: the reference ends on the path, or follows all of it.
func along(ref ast.Ref, path []string) bool {
	for i, name := range path {
		if i == len(ref) {
			return true
		}
		if s, ok := ref[i].Value.(ast.String); ok && string(s) != name {
			return false
		}
	}
	return true
}
