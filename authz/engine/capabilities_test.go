package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"battery.app/gate/authz/engine"
)

// Each call parses and type-checks with OPA's full capabilities; ours refuse it.
func TestForbiddenBuiltinsDoNotCompile(t *testing.T) {
	for _, call := range []string{
		`http.send({"method": "GET", "url": "http://127.0.0.1/"})`,
		`net.lookup_ip_addr("localhost")`,
		`opa.runtime()`,
		`rand.intn("a", 10)`,
		`uuid.rfc4122("a")`,
		`io.jwt.decode_verify("a.b.c", {"secret": "s"})`,
		`io.jwt.encode_sign({}, {}, {})`,
		`crypto.x509.parse_and_verify_certificates("x")`,
		`crypto.x509.parse_keypair("a", "b")`,
		`crypto.parse_private_keys("x")`,
		`json.match_schema({}, {"$ref": "http://127.0.0.1/"})`,
		`json.verify_schema({})`,
		`rego.parse_module("a", "package a")`,
		`trace("x")`,
		`time.parse_ns("MST", "CET")`,
		`time.add_date(1, 1, 1, 1)`,
		`providers.aws.sign_req({}, {}, 1)`,
		`graphql.is_valid("a", "b")`,
		`yaml.unmarshal("a")`,
		`bits.lsh(1, 2)`,
		`net.cidr_expand("0.0.0.0/0")`,
		`regex.globs_match("a", "b")`,
	} {
		t.Run(call, func(t *testing.T) {
			text := "package battery.authz\n\ndecision := {\"allow\": true} if {\n\t" + call + "\n}"
			full := ast.NewCompiler()
			full.Compile(map[string]*ast.Module{"p.rego": ast.MustParseModule(text)})
			if full.Failed() {
				t.Fatalf("the case is wrong, OPA itself refuses it: %v", full.Errors)
			}
			faults := fault(t, module(text), options(t))
			if f := faults[0]; f.Code != "rego_type_error" || !strings.Contains(f.Message, "undefined function") {
				t.Errorf("refused for another reason: %v", f)
			}
		})
		t.Run("with "+call, func(t *testing.T) {
			name, _, _ := strings.Cut(call, "(")
			fault(t, module("package battery.authz\n\ndecision := {\"allow\": count({1}) > 0} if count({1}) == 1 with count as "+name), options(t))
		})
	}
	t.Run("print", func(t *testing.T) {
		got := fault(t, module("package battery.authz\n\ndecision := {\"allow\": true} if print(input)"), options(t))
		if got[0].Code != engine.FaultPrint || got[0].Line != 3 {
			t.Errorf("got %v", got)
		}
	})
}

func TestCapabilities(t *testing.T) {
	caps := engine.Capabilities()
	if caps.AllowNet == nil || len(caps.AllowNet) != 0 {
		t.Errorf("AllowNet is %v: nil would allow any host", caps.AllowNet)
	}
	var names []string
	for _, b := range caps.Builtins {
		names = append(names, b.Name)
		if b.Nondeterministic && b.Name != "time.now_ns" {
			t.Errorf("%s gives no answer twice", b.Name)
		}
		if b.IsDeprecated() {
			t.Errorf("%s is deprecated", b.Name)
		}
	}
	for _, want := range strings.Fields(engine.AllowedBuiltins) {
		if !slices.Contains(names, want) {
			t.Errorf("%s is allowed, but OPA has no such built-in", want)
		}
	}
	if again := engine.Capabilities(); len(again.Builtins) != len(names) || len(ast.CapabilitiesForThisVersion().Builtins) <= len(names) {
		t.Error("filtering changed OPA's own list")
	}
}

// A schema that points elsewhere must not make the compiler fetch it.
func TestRemoteSchemasAreNotFetched(t *testing.T) {
	text := "# METADATA\n# scope: package\n# schemas:\n#   - input.session.claims: {\"$ref\": \"http://127.0.0.1:1/x.json\"}\npackage battery.authz\n\n" +
		"decision := {\"allow\": input.session.claims.x == 1}"
	if got := fault(t, module(text), options(t)).Error(); !strings.Contains(got, "not allowed") && !strings.Contains(got, "remote reference") {
		t.Errorf("refused for another reason: %s", got)
	}
}
