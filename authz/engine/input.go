package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"battery.app/gate/authz"
)

// input builds the input that schemas/input.json describes, as OPA's values. query and
// time_ns are in it only if the policy reads them, so that a decision never
// hangs on what it did not look at.
func (p *Policy) input(in *authz.Input, at time.Time) (*ast.Term, error) {
	if in == nil || in.Request == nil || in.App == nil {
		return nil, errors.New("evaluate policy: no request or no app")
	}
	session, err := sessionTerm(in.Session)
	if err != nil {
		return nil, fmt.Errorf("evaluate policy: session claims: %w", err)
	}
	user, err := userTerm(in.User)
	if err != nil {
		return nil, fmt.Errorf("evaluate policy: user attributes: %w", err)
	}
	return ast.ObjectTerm(
		item("request", p.requestTerm(in.Request, at)),
		item("app", appTerm(in.App, in.Request.Host)),
		item("session", session),
		item("user", user),
		item("sync", ast.ObjectTerm(item("stale", ast.InternedTerm(in.Stale)))),
	), nil
}

func (p *Policy) requestTerm(r *authz.Request, at time.Time) *ast.Term {
	headers := ast.NewObject()
	for name, value := range r.Headers {
		if slices.Contains(p.requestHeaders, name) {
			headers.Insert(ast.StringTerm(name), ast.StringTerm(value))
		}
	}
	ip := ""
	if r.ClientIP.IsValid() {
		ip = r.ClientIP.String()
	}
	items := []([2]*ast.Term){
		item("method", ast.StringTerm(r.Method)),
		item("scheme", ast.StringTerm(r.Scheme)),
		item("host", ast.StringTerm(r.Host)),
		item("path", ast.StringTerm(r.Path)),
		item("segments", stringsTerm(authz.Segments(r.Path))),
		item("headers", ast.NewTerm(headers)),
		item("client_ip", ast.StringTerm(ip)),
		item("gateway", ast.StringTerm(r.Gateway)),
	}
	if p.reads.query {
		items = append(items, item("query", ast.StringTerm(r.Query)))
	}
	if p.reads.time {
		items = append(items, item("time_ns", ast.NumberTerm(json.Number(strconv.FormatInt(at.UnixNano(), 10)))))
	}
	return ast.ObjectTerm(items...)
}

func appTerm(a *authz.App, host string) *ast.Term {
	labels := ast.NewObject()
	for name, value := range a.Labels {
		labels.Insert(ast.StringTerm(name), ast.StringTerm(value))
	}
	return ast.ObjectTerm(
		item("id", ast.StringTerm(a.ID)),
		item("organization_id", ast.StringTerm(a.OrganizationID)),
		item("host", ast.StringTerm(host)),
		item("allowed_roles", stringsTerm(a.AllowedRoles)),
		item("public", ast.InternedTerm(a.Public)),
		item("labels", ast.NewTerm(labels)),
	)
}

func sessionTerm(s *authz.Session) (*ast.Term, error) {
	if s == nil {
		return ast.InternedNullTerm, nil
	}
	claims, err := objectOf(s.Claims)
	if err != nil {
		return nil, err
	}
	return ast.ObjectTerm(
		item("id", ast.StringTerm(s.ID)),
		item("user_id", ast.StringTerm(s.UserID)),
		item("email", ast.StringTerm(s.Email)),
		item("organization_id", ast.StringTerm(s.OrganizationID)),
		item("connection_id", ast.StringTerm(s.ConnectionID)),
		item("kind", ast.StringTerm(s.Kind)),
		item("issued_at", timeTerm(s.IssuedAt)),
		item("expires_at", timeTerm(s.ExpiresAt)),
		item("claims", ast.NewTerm(claims)),
	), nil
}

func userTerm(u *authz.User) (*ast.Term, error) {
	if u == nil {
		return ast.InternedNullTerm, nil
	}
	attributes, err := objectOf(u.Attributes)
	if err != nil {
		return nil, err
	}
	groups := make([]*ast.Term, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = ast.ObjectTerm(item("id", ast.StringTerm(g.ID)), item("name", ast.StringTerm(g.Name)))
	}
	return ast.ObjectTerm(
		item("id", ast.StringTerm(u.ID)),
		item("directory_id", ast.StringTerm(u.DirectoryID)),
		item("state", ast.StringTerm(u.State)),
		item("groups", ast.ArrayTerm(groups...)),
		item("roles", stringsTerm(u.Roles)),
		item("attributes", ast.NewTerm(attributes)),
	), nil
}

// item is a key with its value. The key comes from OPA's table of shared terms
// where that has it.
func item(key string, value *ast.Term) [2]*ast.Term {
	return ast.Item(ast.InternedTerm(key), value)
}

func stringsTerm(list []string) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = ast.StringTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

// timeTerm writes a time as RFC 3339 in UTC, with its fraction, so that a
// recorded session reads the same when it is evaluated again.
func timeTerm(t time.Time) *ast.Term {
	return ast.StringTerm(t.UTC().Format(time.RFC3339Nano))
}
