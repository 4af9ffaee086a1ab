package engine

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// allowedBuiltins are the built-ins that policies may call: pure functions of
// their operands whose work is bounded by them or stops when the time budget
// ends, and time.now_ns, which is the request's time. It is an allow-list, so a
// built-in that a later OPA brings is refused until somebody has looked at it.
//
// Left out, and why:
//   - http.send, net.lookup_ip_addr, opa.runtime, json.match_schema and
//     json.verify_schema (which may fetch a schema): network, environment;
//   - rand.intn, uuid.rfc4122: no answer twice;
//   - io.jwt.decode_verify, crypto.x509.parse_and_verify_certificates: they
//     compare with the host's clock;
//   - time.parse_ns, time.add_date: they may read the host's time zone, the
//     first through zone abbreviations, the second through an undeclared
//     operand (checkTimeZones does the same for the others);
//   - io.jwt.encode_sign, crypto.parse_private_keys, providers.aws.sign_req:
//     policies hold no keys;
//   - rego.parse_module, trace, print, internal.print: not for deciding;
//   - bits.lsh, regex.globs_match, yaml.unmarshal, graphql.*: a small operand
//     can cost any amount of memory or time, and nothing stops them;
//   - deprecated ones.
const allowedBuiltins = `
	eq assign equal neq gt gte lt lte plus minus mul div rem abs round ceil floor numbers.range numbers.range_step
	bits.and bits.negate bits.or bits.rsh bits.xor
	and or internal.member_2 internal.member_3 internal.template_string intersection union
	count sum product max min sort
	array.concat array.flatten array.reverse array.slice
	object.filter object.get object.keys object.remove object.subset object.union object.union_n
	concat contains endswith format_int indexof indexof_n lower replace split sprintf startswith substring upper
	strings.any_prefix_match strings.any_suffix_match strings.count strings.render_template strings.replace_n
	strings.reverse strings.split_n trim trim_left trim_prefix trim_right trim_space trim_suffix
	regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match regex.replace regex.split regex.template_match
	glob.match glob.quote_meta
	to_number units.parse units.parse_bytes type_name
	is_array is_boolean is_null is_number is_object is_set is_string
	base64.decode base64.encode base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad
	hex.decode hex.encode urlquery.decode urlquery.decode_object urlquery.encode urlquery.encode_object
	json.filter json.is_valid json.marshal json.marshal_with_options json.patch json.remove json.unmarshal walk
	graph.reachable graph.reachable_paths
	crypto.hmac.equal crypto.hmac.sha256 crypto.hmac.sha512 crypto.sha256
	io.jwt.decode io.jwt.verify_eddsa io.jwt.verify_es256 io.jwt.verify_es384 io.jwt.verify_es512
	io.jwt.verify_hs256 io.jwt.verify_hs384 io.jwt.verify_hs512 io.jwt.verify_ps256 io.jwt.verify_ps384
	io.jwt.verify_ps512 io.jwt.verify_rs256 io.jwt.verify_rs384 io.jwt.verify_rs512
	net.cidr_contains net.cidr_contains_matches net.cidr_intersects net.cidr_is_valid net.cidr_merge
	semver.compare semver.is_valid uri.is_valid uri.parse uuid.parse
	rego.metadata.chain rego.metadata.rule
	time.now_ns time.clock time.date time.diff time.format time.weekday
	time.parse_duration_ns time.parse_rfc3339_ns`

// Capabilities is what Rego can do here: the allowed built-ins, no network for
// remote schemas, and the language of Rego v1 without experiments. The caller
// owns what is returned.
func Capabilities() *ast.Capabilities {
	allowed := strings.Fields(allowedBuiltins)
	caps := ast.CapabilitiesForThisVersion()
	caps.Builtins = slices.DeleteFunc(slices.Clone(caps.Builtins), func(b *ast.Builtin) bool {
		return !slices.Contains(allowed, b.Name)
	})
	caps.FutureKeywords = nil
	caps.Features = []string{ast.FeatureRefHeadStringPrefixes, ast.FeatureRefHeads, ast.FeatureRegoV1Import,
		ast.FeatureRegoV1, ast.FeatureKeywordsInRefs, ast.FeatureTemplateStrings}
	caps.AllowNet = []string{}
	return caps
}
