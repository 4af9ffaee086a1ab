package api

import (
	"encoding/json"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
)

func TestOpenAPIDescribesExactlyTheRoutes(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Summary     string
			Parameters  []struct{ Name, In string }
			RequestBody json.RawMessage
			Responses   map[string]struct{ Headers map[string]json.RawMessage }
		}
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(openapi, &doc); err != nil {
		t.Fatal(err)
	}
	bodiless := regexp.MustCompile(`/(approve|rotate|activate|rollback)$`)
	described := map[string]bool{}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			described[strings.ToUpper(method)+" "+path] = true
			if op.Summary == "" || len(op.Responses) < 2 {
				t.Errorf("%s %s has no summary or lacks an answer", method, path)
			}
			if body := (method == "post" || method == "put" || method == "patch") && !bodiless.MatchString(path); body != (op.RequestBody != nil) {
				t.Errorf("%s %s: request body described: %v", method, path, op.RequestBody != nil)
			}
			// What has an ETag says so, and what holds to If-Match too; nothing else does.
			names := map[string]bool{}
			for _, p := range op.Parameters {
				names[p.In+" "+p.Name] = true
			}
			has := tagged[strings.ReplaceAll(path, "{id}", ":id")]
			_, gone := op.Responses["412"]
			_, tag := op.Responses["200"].Headers["ETag"]
			if names["header If-Match"] != (has && method != "get") || gone != (has && method != "get") ||
				tag != (has && method == "get") || names["header If-None-Match"] != (has && method == "get") {
				t.Errorf("%s %s: conditions described: %v, 412: %v, ETag: %v", method, path, names, gone, tag)
			}
		}
	}
	param := regexp.MustCompile(`:(\w+)`)
	for _, r := range (&API{}).routes() {
		key := r.method + " " + param.ReplaceAllString(r.path, "{$1}")
		if !described[key] {
			t.Errorf("%s is not described", key)
		}
		delete(described, key)
	}
	left := []string{}
	for key := range described {
		left = append(left, key)
	}
	sort.Strings(left)
	if len(left) > 0 {
		t.Errorf("described but not there: %v", left)
	}
	for _, ref := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllStringSubmatch(string(openapi), -1) {
		if doc.Components.Schemas[ref[1]] == nil {
			t.Errorf("schema %s is referred to but missing", ref[1])
		}
	}
}

func TestOpenAPIListsTheScopes(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas struct {
				NewToken struct {
					Properties struct {
						Scopes struct{ Items struct{ Enum []string } }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(openapi, &doc); err != nil {
		t.Fatal(err)
	}
	if got := doc.Components.Schemas.NewToken.Properties.Scopes.Items.Enum; !slices.Equal(got, Scopes()) {
		t.Errorf("described: %q\nthere are: %q", got, Scopes())
	}
}
