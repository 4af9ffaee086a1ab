package engine_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"battery.app/gate/authz/engine"
)

const admits = `decision := {"allow": true}` + "\n"

// fault compiles a source that must be refused and returns why.
func fault(t *testing.T, src engine.Source, o engine.Options) engine.Faults {
	t.Helper()
	_, err := engine.Compile(src, o)
	var faults engine.Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("compiled, or failed without faults: %v", err)
	}
	return faults
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		name, text, code, says string
	}{
		{"what does not parse", "package battery.authz\n\ndecision := {", "rego_parse_error", "eof"},
		{"an empty file", "", "rego_parse_error", "empty"},
		{"Rego of before v1", "package battery.authz\n\ndecision = x { x := 1 }", "rego_parse_error", "`if`"},
		{"a policy without a decision", "package battery.authz\n\nallow := true", "missing_decision", "data.battery.authz.decision"},
		{"a decision elsewhere", "package battery.policy\n\n" + admits, "missing_decision", "data.battery.authz.decision"},
		{"an unused variable", "package battery.authz\n\ndecision := {\"allow\": true} if {\n\tx := 1\n}", "rego_compile_error", "unused"},
		{"an unused import", "package battery.authz\n\nimport data.foo\n\n" + admits, "rego_compile_error", "unused"},
		{"a function nobody defines", "package battery.authz\n\ndecision := {\"allow\": f(1)}", "rego_type_error", "undefined function f"},
		{"a decision that is a function", "package battery.authz\n\ndecision(x) := {\"allow\": x}", "rego", ""},
		{"recursion", "package battery.authz\n\ndecision := {\"allow\": decision.allow}", "rego_recursion_error", "recursive"},

		{"a mistyped part of input", "package battery.authz\n\ndecision := {\"allow\": true} if input.sesion.user_id != \"\"", "rego_type_error", "input.sesion"},
		{"a mistyped part of the session", "package battery.authz\n\ndecision := {\"allow\": true} if input.session.emial != \"\"", "rego_type_error", "input.session.emial"},
		{"a mistyped part of a group", "package battery.authz\n\ndecision := {\"allow\": true} if {\n\tsome g in input.user.groups\n\tg.nam == \"x\"\n}", "rego_type_error", "nam"},
		{"a mistyped part behind a variable", "package battery.authz\n\ndecision := {\"allow\": true} if {\n\ts := input.session\n\ts.emial == \"x\"\n}", "rego_type_error", "emial"},
		{"a number where a string is", "package battery.authz\n\ndecision := {\"allow\": true} if input.request.method == 1", "rego_type_error", "match error"},
		{"null compared where OPA's types have none", "package battery.authz\n\ndecision := {\"allow\": true} if input.session == null", "rego_type_error", "is_null"},
		{"data that nothing provides", "package battery.authz\n\ndecision := {\"allow\": true} if not data.blokced[input.session.user_id]", "unknown_data", "data.blokced"},
		{"data of ours that there is not", "package battery.authz\n\ndecision := {\"allow\": true} if data.battery.role_mapings.g", "unknown_data", "role_mapings"},
		{"a rule that there is not", "package battery.authz\n\ndecision := {\"allow\": true} if not data.battery.authz.blokced", "unknown_data", "blokced"},
		{"a setting that there is not", "package battery.authz\n\ndecision := {\"allow\": true} if not data.battery.settings.deny_when_stael", "unknown_data", "deny_when_stael"},

		{"the admin package", "package battery.admin\n\n" + admits, "reserved_name", "battery.admin"},
		{"a package below it", "package battery.admin.more\n\n" + admits, "reserved_name", "battery.admin"},
		{"the role mappings as a package", "package battery.role_mappings\n\ng := [\"admin\"]", "reserved_name", "role_mappings"},
		{"the role mappings as a rule", "package battery\n\nrole_mappings[\"g\"] := [\"admin\"]", "reserved_name", "role_mappings"},
		{"the settings as a rule", "package battery\n\nsettings := {}", "reserved_name", "settings"},
		{"a setting as a rule", "package battery\n\nsettings.deny_when_stale := false", "reserved_name", "settings"},
		{"the admin decision as a rule", "package battery\n\nadmin.decision := {\"allow\": true}", "reserved_name", "admin"},

		{"the zone of the host", "package battery.authz\n\ndecision := {\"allow\": true} if time.weekday([time.now_ns(), \"Local\"]) == \"Monday\"", "time_zone", "host"},
		{"the zone of the host behind a variable", "package battery.authz\n\ndecision := {\"allow\": true} if {\n\tz := \"Local\"\n\ttime.weekday([time.now_ns(), z]) == \"Monday\"\n}", "time_zone", "write the zone out"},
		{"a zone from the request", "package battery.authz\n\ndecision := {\"allow\": true} if time.weekday([time.now_ns(), input.request.host]) == \"Monday\"", "time_zone", "write the zone out"},
		{"no zone", "package battery.authz\n\ndecision := {\"allow\": true} if time.weekday(time.now_ns()) == \"Monday\"", "time_zone", "write the zone out"},
		{"a zone in the second operand", "package battery.authz\n\ndecision := {\"allow\": true} if time.diff([1, \"UTC\"], [2, \"Local\"])[0] == 0", "time_zone", "host"},
		{"a zone that there is not", "package battery.authz\n\ndecision := {\"allow\": true} if time.weekday([time.now_ns(), \"Europe/Atlantis\"]) == \"Monday\"", "time_zone", "Atlantis"},
		{"a zone through with", "package battery.authz\n\ndecision := {\"allow\": true} if upper([1, \"Local\"]) == \"Monday\" with upper as time.weekday", "", ""},
		{"a zone through with, of no type", "package battery.authz\n\ndecision := {\"allow\": true} if type_name([1, \"Local\"]) == \"Monday\" with type_name as time.weekday", "time_zone", "with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := module(c.text)
			if !strings.Contains(c.text, "package battery.authz") && c.code == "reserved_name" {
				src.Modules["ok.rego"] = "package battery.authz\n\n" + admits
			}
			faults := fault(t, src, options(t))
			for _, f := range faults {
				if strings.Contains(f.Code, c.code) && strings.Contains(f.Message, c.says) {
					if f.Code != engine.FaultNoDecision && (f.File != "p.rego" || f.Line == 0) && !strings.HasPrefix(f.Code, "rego_") {
						t.Errorf("fault has no place: %+v", f)
					}
					return
				}
			}
			t.Errorf("want %s ... %s, got:\n%v", c.code, c.says, faults)
		})
	}
}

func TestCompileListsEveryFault(t *testing.T) {
	o := options(t)
	o.Headers = []string{"Set-Cookie"}
	src := engine.Source{Modules: map[string]string{
		"a.rego": "package battery.authz\n\ndecision := {",
		"b.rego": "package battery.authz.b\n\nx := }",
	}}
	faults := fault(t, src, o)
	text := faults.Error()
	for _, want := range []string{"forbidden_header", "a.rego:3: rego_parse_error", "b.rego:3: rego_parse_error"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

func TestCompileAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"a decision in parts":       "decision.allow := input.app.public\n\ndecision.roles := []",
		"office hours":              `decision := {"allow": time.clock([time.now_ns(), "Europe/Berlin"])[0] < 18}`,
		"is_null":                   `decision := {"allow": true} if not is_null(input.session)`,
		"claims of any name":        `decision := {"allow": input.session.claims.anything == "x"}`,
		"the Rego v1 import":        "import rego.v1\n\n" + `decision := {"allow": input.app.public}`,
		"a label of any name":       `decision := {"allow": input.app.labels.tier == "gold"}`,
		"template strings":          `decision := {"allow": true, "reasons": [{"code": "x", "message": $"{input.app.id} is open"}]}`,
		"a package of its own":      "import data.acme.lib\n\n" + `decision := {"allow": lib.ok}`,
		"role mappings":             `decision := {"allow": "admin" in data.battery.role_mappings[input.user.groups[_].id]}`,
		"a setting that is default": `decision := {"allow": true} if not data.battery.settings.deny_when_stale`,
		"a setting of its own":      `decision := {"allow": data.battery.settings.plan == "gold"}`,
		"data of its own":           `decision := {"allow": true} if not data.blocked[input.session.user_id]`,
	} {
		t.Run(name, func(t *testing.T) {
			src := rules(text)
			src.Modules["lib.rego"] = "package acme.lib\n\nok := true"
			src.Data = map[string]any{"blocked": map[string]any{}}
			o := options(t)
			o.Settings = map[string]any{"plan": "gold"}
			compile(t, src, o)
		})
	}
}

func TestReservedDataIsRefused(t *testing.T) {
	for name, data := range map[string]map[string]any{
		"role mappings": {"battery": map[string]any{"role_mappings": map[string]any{"g": []any{"admin"}}}},
		"settings":      {"battery": map[string]any{"settings": map[string]any{}}},
		"admin":         {"battery": map[string]any{"admin": map[string]any{}}},
		"no object":     {"battery": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			src := rules(admits)
			src.Data = data
			if got := fault(t, src, options(t)); got[0].Code != engine.FaultReserved {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("data under a rule's name", func(t *testing.T) {
		src := rules(admits)
		src.Data = map[string]any{"battery": map[string]any{"authz": map[string]any{"decision": map[string]any{"allow": true}}}}
		fault(t, src, options(t))
	})
	t.Run("a decision that is only data", func(t *testing.T) {
		src := module("package battery.other\n\nx := 1")
		src.Data = map[string]any{"battery": map[string]any{"authz": map[string]any{"decision": map[string]any{"allow": true}}}}
		fault(t, src, options(t))
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*engine.Options){
		"no schemas":         func(o *engine.Options) { o.Schemas = nil },
		"a missing schema":   func(o *engine.Options) { o.Schemas = fstest.MapFS{"data.json": {Data: []byte("{}")}} },
		"a broken schema":    func(o *engine.Options) { o.Schemas = fstest.MapFS{"input.json": {Data: []byte("{")}} },
		"a negative budget":  func(o *engine.Options) { o.Budget = -time.Second },
		"a setting's type":   func(o *engine.Options) { o.Settings = map[string]any{"deny_when_stale": "yes"} },
		"a setting's type 2": func(o *engine.Options) { o.Settings = map[string]any{"operators_organization": 1} },
		"a cookie to read":   func(o *engine.Options) { o.RequestHeaders = []string{"Cookie"} },
		"credentials":        func(o *engine.Options) { o.RequestHeaders = []string{"Authorization"} },
		"no header name":     func(o *engine.Options) { o.RequestHeaders = []string{"a b"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			change(&o)
			fault(t, rules(admits), o)
		})
	}
}

func TestForbiddenPolicyHeaders(t *testing.T) {
	for _, name := range []string{
		"X-Battery-Roles", "x-battery-user-id", "X_Battery_Roles", "X.Battery.Roles", "X-Battery-Anything",
		"Cookie", "Set-Cookie", "Location", "Authorization", "Forwarded", "X-Forwarded-For", "X_Forwarded_Host",
		"Host", "Connection", "Keep-Alive", "TE", "Transfer-Encoding", "Upgrade", "Proxy-Authorization",
		"Content-Length", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Envoy-Original-Path",
		"X-Accel-Redirect", "", "X Plan", "X-Plan:", "X-Plan\r\nSet-Cookie", "X-Plän",
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Headers = []string{name}
			if got := fault(t, rules(admits), o); got[0].Code != engine.FaultHeader {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("another prefix is another identity", func(t *testing.T) {
		o := options(t)
		o.IdentityPrefix, o.Headers = "X-Gate-", []string{"X-Gate-Roles"}
		fault(t, rules(admits), o)
		o.Headers = []string{"X-Battery-Level"}
		compile(t, rules(admits), o)
	})
}

func TestRevision(t *testing.T) {
	base := rules(admits)
	base.Data = map[string]any{"a": map[string]any{"b": 1, "c": 2}}
	first := compile(t, base, options(t)).Revision()
	if len(first) != 16 || strings.Trim(first, "0123456789abcdef") != "" {
		t.Fatalf("revision %q is not 16 hex digits", first)
	}
	if again := compile(t, base, options(t)).Revision(); again != first {
		t.Errorf("the same source has revisions %s and %s", first, again)
	}
	other := map[string]func(*engine.Source, *engine.Options){
		"a module's text": func(s *engine.Source, _ *engine.Options) { s.Modules["p.rego"] += "\n# changed\n" },
		"another module":  func(s *engine.Source, _ *engine.Options) { s.Modules["q.rego"] = "package q\n\nx := 1" },
		"a module's name": func(s *engine.Source, _ *engine.Options) {
			s.Modules["q.rego"] = s.Modules["p.rego"]
			delete(s.Modules, "p.rego")
		},
		"data": func(s *engine.Source, _ *engine.Options) {
			s.Data = map[string]any{"a": map[string]any{"b": 1, "c": 3}}
		},
		"settings": func(_ *engine.Source, o *engine.Options) { o.Settings = map[string]any{"plan": "gold"} },
	}
	seen := map[string]string{first: "the first"}
	for name, change := range other {
		src, o := rules(admits), options(t)
		src.Data = base.Data
		change(&src, &o)
		got := compile(t, src, o).Revision()
		if was, dup := seen[got]; dup {
			t.Errorf("%s has the revision of %s", name, was)
		}
		seen[got] = name
	}
}
