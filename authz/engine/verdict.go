package engine

import (
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"battery.app/gate/authz"
)

// What a decision may hold at most. Reasons are shown to people and recorded;
// header values travel with every request to the app.
const (
	maxReasons = 32
	maxMessage = 2048 // bytes
	maxRoles   = 1024
	maxHeader  = 1024 // bytes of one value
)

// verdict reads the policy's result. Only the very shape that the contract names
// is a verdict: allow has to be a boolean, and a member that nobody knows, an
// undeclared header or a value that would break a header is an error, because
// what the author meant by it is lost otherwise.
func verdict(result ast.Value, declared []string) (authz.Verdict, error) {
	object, ok := result.(ast.Object)
	if !ok {
		return authz.Verdict{}, fmt.Errorf("policy result: %s instead of an object", ast.ValueName(result))
	}
	var v authz.Verdict
	said := false
	err := object.Iter(func(k, value *ast.Term) (err error) {
		switch key, _ := k.Value.(ast.String); key {
		case "allow":
			allow, ok := value.Value.(ast.Boolean)
			if !ok {
				return errors.New("policy result: allow is no boolean")
			}
			v.Allow, said = bool(allow), true
		case "reasons":
			v.Reasons, err = reasonsOf(value.Value)
		case "roles":
			v.Roles, err = rolesOf(value.Value)
		case "headers":
			v.Headers, err = headersOf(value.Value, declared)
		default:
			return fmt.Errorf("policy result: unknown member %s", k)
		}
		return err
	})
	switch {
	case err != nil:
		return authz.Verdict{}, err
	case !said:
		return authz.Verdict{}, fmt.Errorf("policy result without allow: %w", authz.ErrPolicyUndefined)
	}
	if v.Headers == nil {
		v.Headers = emptyHeaders(declared)
	}
	return v, nil
}

func reasonsOf(value ast.Value) ([]authz.Reason, error) {
	list, err := elements(value, "reasons", maxReasons)
	if err != nil {
		return nil, err
	}
	out := make([]authz.Reason, 0, len(list))
	for _, e := range list {
		object, ok := e.Value.(ast.Object)
		if !ok || object.Len() != 2 {
			return nil, errors.New("policy result: a reason is not {code, message}")
		}
		code, okCode := text(object, "code")
		message, okMessage := text(object, "message")
		if !okCode || !okMessage || code == "" {
			return nil, errors.New("policy result: a reason is not {code, message}")
		}
		if len(code) > maxMessage || len(message) > maxMessage {
			return nil, errors.New("policy result: a reason is too long")
		}
		out = append(out, authz.Reason{Code: code, Message: message})
	}
	return out, nil
}

// rolesOf returns the roles sorted, each once. They travel as a comma-separated
// header, so a comma or a control character in one is an error.
func rolesOf(value ast.Value) ([]string, error) {
	list, err := elements(value, "roles", maxRoles)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		role, ok := e.Value.(ast.String)
		if !ok {
			return nil, errors.New("policy result: a role is no string")
		}
		if role == "" || strings.ContainsFunc(string(role), func(r rune) bool { return r < '!' || r > '~' || r == ',' }) {
			return nil, fmt.Errorf("policy result: %s is no role name", e)
		}
		out = append(out, string(role))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func headersOf(value ast.Value, declared []string) (map[string]string, error) {
	object, ok := value.(ast.Object)
	if !ok {
		return nil, errors.New("policy result: headers is no object")
	}
	out := emptyHeaders(declared)
	seen := make([]string, 0, object.Len())
	err := object.Iter(func(k, v *ast.Term) error {
		given, ok := k.Value.(ast.String)
		if !ok {
			return errors.New("policy result: a header name is no string")
		}
		name := textproto.CanonicalMIMEHeaderKey(string(given))
		switch {
		case !slices.Contains(declared, name):
			return fmt.Errorf("policy result: header %s is not declared", k)
		case slices.Contains(seen, name):
			return fmt.Errorf("policy result: header %s is given twice", k)
		}
		seen = append(seen, name)
		content, ok := v.Value.(ast.String)
		if !ok || len(content) > maxHeader || strings.ContainsFunc(string(content), func(r rune) bool {
			return r < ' ' || r == 0x7f
		}) {
			return fmt.Errorf("policy result: the value of header %s is no header value", k)
		}
		out[name] = string(content)
		return nil
	})
	return out, err
}

// emptyHeaders has every declared header: all are always sent, so that one that
// the client sent never reaches the app.
func emptyHeaders(declared []string) map[string]string {
	if len(declared) == 0 {
		return nil
	}
	out := make(map[string]string, len(declared))
	for _, name := range declared {
		out[name] = ""
	}
	return out
}

// elements are those of an array or a set, which a partial rule makes.
func elements(value ast.Value, what string, limit int) (list []*ast.Term, err error) {
	switch v := value.(type) {
	case *ast.Array:
		for i := range v.Len() {
			list = append(list, v.Elem(i))
		}
	case ast.Set:
		list = v.Slice()
	default:
		return nil, fmt.Errorf("policy result: %s is no list", what)
	}
	if len(list) > limit {
		return nil, fmt.Errorf("policy result: more than %d %s", limit, what)
	}
	return list, nil
}

func text(object ast.Object, key string) (string, bool) {
	term := object.Get(ast.InternedTerm(key))
	if term == nil {
		return "", false
	}
	s, ok := term.Value.(ast.String)
	return string(s), ok
}
