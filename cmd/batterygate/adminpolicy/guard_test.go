package adminpolicy_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/adminpolicy"
)

const (
	deny  = "package battery.admin\n\ndefault decision := {\"allow\": false}\n\n"
	allow = deny + "decision := {\"allow\": true}"
	loop  = "\tsome a in numbers.range(1, 100000)\n\tsome b in numbers.range(1, 100000)\n\ta + b == -1\n"
)

// shut is a policy that lets nobody in from one day until another.
func shut(from, until string) string {
	return allow + " if not shut\n\nshut if {\n\ttime.now_ns() >= time.parse_rfc3339_ns(\"" + from + "T00:00:00Z\")\n\ttime.now_ns() < time.parse_rfc3339_ns(\"" + until + "T00:00:00Z\")\n}"
}

// Each policy would leave its author, or every operator, unable to change it.
var lockOuts = []struct {
	name   string
	author engine.Actor
	text   string
	says   string
}{
	{"denies everything", operator, deny, "token:token_op"},
	{"is undefined", operator, "package battery.admin\n\ndecision := {\"allow\": true} if input.action == \"apps.list\"", "token:token_op"},
	{"denies the author", person, deny + `decision := {"allow": true} if input.actor.kind == "token"`, "session:session_1"},
	{"denies the author alone", operator, allow + ` if input.actor.id != "token_op"`, "token:token_op"},
	{"denies only rolling back", operator, allow + ` if input.action != "admin-policies.rollback"`, "admin-policies.rollback"},
	{"denies only pushing", operator, allow + ` if input.action != "admin-policies.create"`, "admin-policies.create"},
	{"denies only activating", operator, allow + ` if input.action != "admin-policies.activate"`, "admin-policies.activate"},
	{"denies activating anything but itself", operator, allow + " if {\n\tinput.action == \"admin-policies.activate\"\n\tinput.resource.id == \"0123456789abcdef\"\n}\n\n" +
		"decision := {\"allow\": true} if input.action != \"admin-policies.activate\"", "admin-policies.activate"},
	{"allows one certain token", operator, allow + ` if input.actor.id == "token_op"`, "operators' tokens"},
	{"allows people alone", person, allow + ` if input.actor.kind == "session"`, "operators' tokens"},
	{"asks tokens for what they lack", operator, allow + ` if input.actor.id in {"token_op", "token_000000000000000000000000"}`, "operators' tokens"},
	{"has an error", operator, allow + ` if to_number(input.actor.id) == 1`, "to_number"},
	{"gives what is no decision", operator, "package battery.admin\n\ndecision := {\"allow\": \"yes\"}", "no boolean"},
	{"gives a member nobody knows", operator, "package battery.admin\n\ndecision := {\"allow\": true, \"else\": false}", "unknown member"},
	{"has two answers", operator, allow + "\n\ndecision := {\"allow\": false} if input.actor.kind == \"token\"", "conflict"},
	{"loops", operator, allow + " if {\n" + loop + "}", "time budget"},
	{"loops where it rolls back", operator, allow + " if input.action != \"admin-policies.rollback\"\n\ndecision := {\"allow\": true} if {\n\tinput.action == \"admin-policies.rollback\"\n" + loop + "}", "time budget"},
	{"ends tomorrow", operator, allow + ` if time.now_ns() < time.parse_rfc3339_ns("2020-01-02T12:00:00Z")`, "2020-01-02"},
	{"ends in five years", operator, allow + ` if time.now_ns() < time.parse_rfc3339_ns("2025-01-01T00:00:00Z")`, "on 2025-01-"},
	{"knows office hours", operator, allow + ` if time.clock([time.now_ns(), "UTC"])[0] < 18`, "T18:"},
	{"rests on Sundays", operator, allow + ` if time.weekday([time.now_ns(), "UTC"]) != "Sunday"`, "2020-01-05"},
	{"knows the minute of its push", operator, allow + ` if time.clock([time.now_ns(), "UTC"])[1] == time.clock([time.parse_rfc3339_ns("2020-01-01T12:00:00Z"), "UTC"])[1]`, "operators' tokens"},
	{"is shut for three weeks, later", operator, shut("2020-01-10", "2020-01-30"), "on 2020-01-1"},
	{"is shut for most of a year", operator, shut("2020-03-01", "2020-12-20"), "on 2020-03-0"},
	{"is shut for a month in four years", operator, shut("2024-02-01", "2024-03-01"), "on 2024-02-"},
	{"is handed the clock by another name", operator, deny + "at := 0\n\nclosed if at > time.parse_rfc3339_ns(\"2024-02-01T00:00:00Z\")\n\n" +
		"late if closed with data.battery.admin.at as time.now_ns()\n\ndecision := {\"allow\": true} if not late", "on 2024-02-"},
	{"reads an actor as it does not stand", auditor, allow + ` if "battery:operator" in input.actor.roles` + "\n\ndecision := {\"allow\": true} if \"operator\" in input.actor.scopes", "session:session_2"},
	{"denies break-glass's successor", breakGlass, deny, "operators' tokens"},
	{"is pushed by nobody", engine.Actor{}, allow + ` if input.actor.kind != ""`, "lock out :"},
}

func TestLockOutsAreRefusedAtThePush(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	for _, c := range lockOuts {
		t.Run(c.name, func(t *testing.T) {
			v, err := s.Push(t.Context(), c.author, bundle(t, "a.rego", c.text))
			if !errors.Is(err, adminpolicy.ErrLockOut) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, %v, want %s", v, err, c.says)
			}
		})
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("something was kept: %+v, %v", all, err)
	}
}

func TestWhatLocksNobodyOutPasses(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	for name, c := range map[string]struct {
		author engine.Actor
		text   string
	}{
		"everything to operators":     {operator, everything("x")},
		"by an operator who signs in": {person, everything("y")},
		"by break-glass":              {breakGlass, allow + ` if "operator" in input.actor.scopes`},
		"an actor with this very scope": {
			engine.Actor{Kind: "token", ID: "token_ci", Scopes: []string{"admin-policies.create", "admin-policies.activate", "admin-policies.rollback"}},
			allow + " if input.action in input.actor.scopes\n\ndecision := {\"allow\": true} if \"operator\" in input.actor.scopes",
		},
		"office hours for all but this": {operator, allow + " if {\n\tinput.action == \"apps.list\"\n\ttime.clock([time.now_ns(), \"UTC\"])[0] < 18\n}\n\n" +
			"decision := {\"allow\": true} if startswith(input.action, \"admin-policies.\")"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Push(t.Context(), c.author, bundle(t, "a.rego", c.text)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who pushes need not be who activates, and each answers for themselves.
func TestLockOutsAreRefusedAtTheActivation(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	tokensOnly := s.push(operator, deny+`decision := {"allow": true} if input.actor.kind == "token"`)
	if _, _, err := s.Activate(t.Context(), person, tokensOnly.Revision); !errors.Is(err, adminpolicy.ErrLockOut) {
		t.Errorf("a person activated what only knows tokens: %v", err)
	}
	if got, _ := s.List(t.Context()); got[0].Status != adminpolicy.StatusActive {
		t.Error("something was activated")
	}
	s.activate(operator, tokensOnly.Revision)
}

// Settings are the operator's and may be others than at the push.
func TestTheGuardLooksAgainAtTheActivation(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Engine.Settings["door"] = "open"
	text := deny + "decision := {\"allow\": true} if data.battery.settings.door == \"open\""
	v := w.service(o).push(operator, text)
	o = w.options()
	o.Engine.Settings["door"] = "shut"
	s := w.service(o)
	for _, author := range []engine.Actor{operator, breakGlass} {
		if _, _, err := s.Activate(t.Context(), author, v.Revision); !errors.Is(err, adminpolicy.ErrLockOut) {
			t.Errorf("%s: %v", author.Kind, err)
		}
	}
}

func TestRollingBackIntoALockOutIsRefused(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	first := s.inForce()
	tokensOnly := s.push(operator, deny+`decision := {"allow": true} if input.actor.kind == "token"`)
	s.activate(operator, tokensOnly.Revision)
	all := s.push(operator, everything("x"))
	s.activate(operator, all.Revision)
	if _, _, err := s.Rollback(t.Context(), person); !errors.Is(err, adminpolicy.ErrLockOut) || !strings.Contains(err.Error(), first) {
		t.Errorf("a person rolled back to what only knows tokens, or does not hear of %s: %v", first, err)
	}
	if s.inForce() != all.Revision {
		t.Error("something was rolled back")
	}
	if v := s.rollback(breakGlass); v.Revision != tokensOnly.Revision {
		t.Errorf("rolled back to %+v", v)
	}
}

func TestACallerWhoGoesIsNoLockOut(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	v := s.push(operator, everything("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errPush := s.Push(ctx, operator, bundle(t, "a.rego", everything("y")))
	_, _, errActivate := s.Activate(ctx, operator, v.Revision)
	_, _, errRollback := s.Rollback(ctx, operator)
	for _, err := range []error{errPush, errActivate, errRollback} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, adminpolicy.ErrLockOut) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTheGuardEndsInTime(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Engine.Budget = time.Minute
	s := w.service(o)
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Push(ctx, operator, bundle(t, "a.rego", allow+" if {\n"+loop+"}")); err == nil {
		t.Error("pushed")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestBadBundlesAreRejected(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	test := func(text string) string { return "package battery.admin_test\n\nimport data.battery.admin\n\n" + text }
	for _, c := range []struct {
		name   string
		bundle []byte
		file   string
		line   int
		code   string
	}{
		{"nothing", nil, "", 0, "invalid_bundle"},
		{"no bundle", []byte("hello"), "", 0, "invalid_bundle"},
		{"no Rego", bundle(t, "data.json", "{}"), "", 0, "invalid_bundle"},
		{"a path that escapes", bundle(t, "../a.rego", allow), "", 0, "invalid_bundle"},
		{"a file twice", bundle(t, "a.rego", allow, "a.rego", allow), "a.rego", 0, "invalid_bundle"},
		{"WebAssembly", bundle(t, "a.rego", allow, "policy.wasm", ""), "policy.wasm", 0, "invalid_bundle"},
		{"what does not parse", bundle(t, "x/a.rego", "package battery.admin\n\ndecision := {"), "x/a.rego", 3, "rego_parse_error"},
		{"what does not compile", bundle(t, "a.rego", "package battery.admin\n\ndecision := {\"allow\": nobody}"), "a.rego", 3, "rego_unsafe_var_error"},
		{"deep Rego", bundle(t, "a.rego", "package battery.admin\n\nx := "+strings.Repeat("[", 1<<20)), "a.rego", 3, "rego_parse_error"},
		{"deeper Rego", bundle(t, "a.rego", "package battery.admin\n\nx := "+strings.Repeat("{1: (", 1<<20)), "a.rego", 3, "rego_parse_error"},
		{"a mistyped input", bundle(t, "a.rego", allow+" if input.acter.kind == \"token\""), "a.rego", 5, "rego_type_error"},
		{"no decision", bundle(t, "a.rego", "package battery.admin\n\nx := 1"), "", 0, "missing_decision"},
		{"the network", bundle(t, "a.rego", allow+` if http.send({"method": "GET", "url": "http://127.0.0.1"}).status_code == 200`), "a.rego", 5, "rego_type_error"},
		{"the apps' policy", bundle(t, "a.rego", allow, "b.rego", "package battery.authz\n\ndecision := {\"allow\": true}"), "b.rego", 1, "reserved_name"},
		{"settings of its own", bundle(t, "a.rego", allow, "battery/settings/data.json", `{"operators_organization": "org_acme"}`), "", 0, "reserved_name"},
		{"role mappings of its own", bundle(t, "a.rego", allow, "data.yaml", "battery: {role_mappings: {g: [admin]}}"), "", 0, "reserved_name"},
		{"data of the apps'", bundle(t, "a.rego", allow, "battery/authz/data.json", `{"x": 1}`), "", 0, "reserved_name"},
		{"a test that fails", bundle(t, "a.rego", everything("x"), "t/a_test.rego", test(`test_nobody if admin.decision.allow with input as {"actor": {"scopes": [], "roles": []}}`)),
			"t/a_test.rego", 5, "test_failed"},
		{"a test that does not parse", bundle(t, "a.rego", everything("x"), "a_test.rego", "package"), "a_test.rego", 1, "rego_parse_error"},
		{"a test that reaches out", bundle(t, "a.rego", everything("x"), "a_test.rego", test("test_x if opa.runtime().env.X == admin.decision")), "a_test.rego", 5, "rego_type_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := s.Push(t.Context(), operator, c.bundle)
			var rejected adminpolicy.Rejected
			if !errors.As(err, &rejected) || len(rejected.Errors) == 0 {
				t.Fatalf("got %+v, %v", v, err)
			}
			if f := rejected.Errors[0]; f.File != c.file || f.Line != c.line || f.Code != c.code || f.Message == "" {
				t.Errorf("got %+v", rejected.Errors)
			}
			if !strings.Contains(err.Error(), c.code) {
				t.Errorf("the text is %s", err)
			}
		})
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("something was kept: %+v, %v", all, err)
	}
}

// The shipped policy with its tests, as an operator would start from it.
func TestTheShippedPolicyIsAGoodStart(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	src := shipped(t)
	v, err := s.Push(t.Context(), operator, bundle(t,
		".manifest", `{"roots": ["battery/admin"]}`,
		"decision.rego", src.Modules["decision.rego"]+"\n# ours\n", "decision_test.rego", src.Tests["decision_test.rego"]))
	if err != nil || v.Tests < 70 || v.Shipped {
		t.Fatalf("%+v, %v", v, err)
	}
	s.activate(person, v.Revision)
	if !s.may(auditor, "apps.list") || s.may(auditor, "apps.create") {
		t.Error("it does not decide as before")
	}
	largest := strings.Repeat("# a line that says nothing at all\n", 8000)
	if _, err := s.Push(t.Context(), operator, bundle(t, "a.rego", everything("z")+largest)); err != nil {
		t.Errorf("a large one: %v", err)
	}
}

// The limit of a bundle fits what the store takes, whatever is in it.
func TestTheLargestBundleIsKept(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	noise := make([]byte, engine.MaxBundle-4096)
	_, _ = rand.Read(noise)
	packed := bundle(t, "a.rego", everything("large"), "picture.png", string(noise))
	if len(packed) > engine.MaxBundle || len(packed) < engine.MaxBundle*95/100 {
		t.Fatalf("the bundle has %d bytes", len(packed))
	}
	v, err := s.Push(t.Context(), operator, packed)
	if err != nil {
		t.Fatal(err)
	}
	s.activate(operator, v.Revision)
	if s.inForce() != v.Revision {
		t.Error("it does not decide")
	}
}

func BenchmarkGuardedActivation(b *testing.B) {
	w := newWorld(b)
	s := w.service(w.options())
	v := s.push(operator, shipped(b).Modules["decision.rego"]+"\n# ours\n")
	for b.Loop() {
		s.activate(operator, v.Revision)
	}
}
