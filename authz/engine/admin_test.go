package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
)

func TestAdminPolicy(t *testing.T) {
	o := options(t)
	o.Settings = map[string]any{"operators_organization": "org_operators"}
	admin, err := engine.CompileAdmin(shipped(t, "admin"), o)
	if err != nil {
		t.Fatal(err)
	}
	token := func(org string, scopes ...string) engine.Actor {
		return engine.Actor{Kind: "token", ID: "token_1", OrganizationID: org, Scopes: scopes}
	}
	person := func(org string, roles ...string) engine.Actor {
		return engine.Actor{Kind: "session", ID: "session_1", OrganizationID: org, Roles: roles}
	}
	for _, c := range []struct {
		name   string
		actor  engine.Actor
		action string
		allow  bool
		code   string
	}{
		{"an operator token activates a policy", token("", "operator"), "policies.activate", true, "operator"},
		{"a reading token lists", token("", "read"), "decisions.list", true, "scope"},
		{"a reading token does not write", token("", "read"), "apps.create", false, "missing_scope"},
		{"a scope covers its action", token("", "decisions.*"), "decisions.read", true, "scope"},
		{"a token of another organization", token("org_globex", "operator"), "apps.read", false, "other_organization"},
		{"an operator", person("org_operators", "battery:operator"), "tokens.create", true, "operator"},
		{"an auditor reads", person("org_operators", "battery:auditor"), "decisions.list", true, "auditor"},
		{"an auditor does not write", person("org_operators", "battery:auditor"), "tokens.create", false, "missing_role"},
		{"a customer who calls itself operator", person("org_acme", "battery:operator"), "decisions.list", false, "not_an_operator"},
		{"nobody", engine.Actor{}, "decisions.list", false, "unknown_actor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := engine.AdminInput{Actor: c.actor, Action: c.action,
				Resource: engine.Resource{Type: "apps", ID: "crm.acme", OrganizationID: "org_acme"}}
			v, err := admin.Decide(context.Background(), in)
			if err != nil || v.Allow != c.allow || len(v.Reasons) != 1 || v.Reasons[0].Code != c.code {
				t.Errorf("got %+v, %v", v, err)
			}
			var doc any
			text, _ := json.Marshal(in)
			_ = json.Unmarshal(text, &doc)
			if in.Actor.Roles == nil || in.Actor.Scopes == nil {
				return // Go's nil is null in JSON, and an empty list in the input
			}
			if wrong, err := engine.Validate(o, "admin_input", doc); err != nil || len(wrong) > 0 {
				t.Errorf("the input does not match its schema: %v %v", wrong, err)
			}
		})
	}
	t.Run("without an operators' organization there is no operator", func(t *testing.T) {
		none, err := engine.CompileAdmin(shipped(t, "admin"), options(t))
		if err != nil {
			t.Fatal(err)
		}
		v, err := none.Decide(context.Background(), engine.AdminInput{Actor: person("", "battery:operator"), Action: "apps.list"})
		if err != nil || v.Allow {
			t.Errorf("got %+v, %v", v, err)
		}
		if none.Revision() == admin.Revision() {
			t.Error("other settings have the same revision")
		}
	})
}

func TestAdminPolicyIsCompiledApart(t *testing.T) {
	for name, src := range map[string]engine.Source{
		"an app policy":            shipped(t, "authz"),
		"an admin policy and more": {Modules: map[string]string{"a.rego": shipped(t, "admin").Modules["decision.rego"], "b.rego": "package battery.authz\n\ndecision := {\"allow\": true}"}},
		"no decision":              module("package battery.admin\n\nx := 1"),
		"the input of apps":        module("package battery.admin\n\ndecision := {\"allow\": input.app.public}"),
		"forbidden built-ins":      module("package battery.admin\n\ndecision := {\"allow\": opa.runtime().env.X == \"1\"}"),
	} {
		t.Run(name, func(t *testing.T) {
			var faults engine.Faults
			if _, err := engine.CompileAdmin(src, options(t)); !errors.As(err, &faults) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("an app policy is not an admin policy", func(t *testing.T) {
		if _, err := engine.Compile(shipped(t, "admin"), options(t)); err == nil {
			t.Error("compiled")
		}
	})
	t.Run("errors deny", func(t *testing.T) {
		admin, err := engine.CompileAdmin(module("package battery.admin\n\ndecision := {\"allow\": true} if input.action == \"apps.list\""), options(t))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := admin.Decide(context.Background(), engine.AdminInput{Action: "x"}); !errors.Is(err, authz.ErrPolicyUndefined) || v.Allow {
			t.Errorf("got %+v, %v", v, err)
		}
	})
}
