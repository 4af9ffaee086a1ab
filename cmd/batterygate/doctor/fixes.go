package doctor

import (
	"slices"
	"strings"
)

// Gateways are those that fixes are known for.
func Gateways() []string { return []string{"traefik", "envoy", "nginx", "caddy", "haproxy"} }

// whole is what helps with every finding.
const whole = "# the whole, proven configuration: batterygate gateway gen "

// fixFor is the configuration to add for a finding.
func fixFor(id, gateway string) string {
	if !slices.Contains(Gateways(), gateway) {
		return "# name your gateway for the lines to add: --gateway " + strings.Join(Gateways(), "|")
	}
	line, ok := fixes[id][gateway]
	if !ok {
		return whole + gateway
	}
	return line + "\n" + whole + gateway
}

// fixes is the table of findings and gateways. The words are those of the
// configuration that `gateway gen` prints.
var fixes = map[string]map[string]string{
	"asked": {
		"traefik": "# every router of the app\nmiddlewares: [battery-gate]",
		"envoy":   "# in http_filters, before the router; disabled: true in typed_per_filter_config for /.battery/ alone\n- name: envoy.filters.http.ext_authz",
		"nginx":   "# in every location that leads to the app\nauth_request /.battery/ask;\n# and no 'satisfy any'",
		"caddy":   "# before every reverse_proxy to the app, within one route { }\nforward_auth AUTHZ_ADDRESS {\n\turi /authz/forward-auth?\n}",
		"haproxy": "http-request lua.battery_ask unless { var(txn.battery) -m bool }\nhttp-request deny deny_status 503 unless { var(txn.battery) -m bool } or { var(txn.battery_allowed) -m bool }",
	},
	"fail-closed": {
		"traefik": "# ForwardAuth lets nothing through by itself: look for an errors middleware or a fallback service on the router",
		"envoy":   "# of the ext_authz filter\nfailure_mode_allow: false\nstatus_on_error: {code: Forbidden}",
		"nginx":   "# in the location that auth_request names: no error_page and no proxy_intercept_errors that makes a 2xx of a failure\nproxy_intercept_errors off;",
		"caddy":   "# remove handle_errors blocks that proxy to the app",
		"haproxy": "http-request set-var(txn.battery_allowed) bool(false)\nhttp-request deny deny_status 503 unless { var(txn.battery_allowed) -m bool }",
	},
	"preflight": {
		"traefik": "# the battery-gate middleware stands before any headers (CORS) middleware\nmiddlewares: [battery-gate, cors]",
		"envoy":   "# in http_filters: ext_authz stands before envoy.filters.http.cors",
		"nginx":   "# remove 'if ($request_method = OPTIONS) { return 204; }', which runs before auth_request",
		"caddy":   "# no respond or reverse_proxy with a matcher 'method OPTIONS' or 'header Upgrade' before forward_auth",
		"haproxy": "# no use_backend or http-request return for OPTIONS before\nhttp-request lua.battery_ask",
	},
	"identity": {
		"traefik": "# of the forwardAuth middleware\nauthResponseHeaders: [X-Battery-User-Id, X-Battery-Org-Id, X-Battery-User-Email, X-Battery-Roles, X-Battery-App-Id, X-Battery-Decision-Id, X-Battery-Groups, X-Battery-Assertion]\nauthResponseHeadersRegex: \"(?i)^x-battery-\"",
		"envoy":   "# a header_mutation filter before ext_authz\nrequest_mutations:\n  - remove_on_match: {key_matcher: {prefix: \"x-battery-\"}}",
		"nginx":   "# one pair for each identity header, in the location of the app\nauth_request_set $battery_h_x_battery_user_id $upstream_http_x_battery_user_id;\nproxy_set_header X-Battery-User-Id $battery_h_x_battery_user_id;",
		"caddy":   "# before forward_auth\nrequest_header -X-Battery-*\n# within it\ncopy_headers X-Battery-User-Id X-Battery-Org-Id X-Battery-User-Email X-Battery-Roles X-Battery-App-Id X-Battery-Decision-Id X-Battery-Groups X-Battery-Assertion",
		"haproxy": "http-request del-header x-battery- -m beg",
	},
	"identity-arrives": {
		"envoy": "# over HTTP, of authorization_response\nallowed_upstream_headers: {patterns: [{prefix: \"x-battery-\"}]}",
	},
	"identity-unknown": {
		"traefik": "# of the forwardAuth middleware\nauthResponseHeadersRegex: \"(?i)^x-battery-\"",
		"envoy":   "# a header_mutation filter before ext_authz\nrequest_mutations:\n  - remove_on_match: {key_matcher: {prefix: \"x-battery-\"}}",
		"caddy":   "# before forward_auth\nrequest_header -X-Battery-*",
		"haproxy": "http-request del-header x-battery- -m beg",
	},
	"aliases": {
		"traefik": "# of the forwardAuth middleware: empty, so that the door sees aliases and refuses them\nauthRequestHeaders: []\n# or, of the entry point\naliasHeadersStrategy: reject",
		"envoy":   "# over HTTP, among allowed_headers, so that the door sees them and refuses\n- {safe_regex: {regex: \"x[^-a-z0-9]battery[^a-z0-9].*|x-battery[^-a-z0-9].*|x-battery-.*[^-a-z0-9].*\"}}\n- {safe_regex: {regex: \"x[^a-z0-9]real[^a-z0-9]ip|x[^a-z0-9]forwarded[^a-z0-9].*\"}}",
		"nginx":   "underscores_in_headers off;\nignore_invalid_headers on;",
		"caddy":   "# forward_auth sends all headers: remove header_up -X_* and copies of requests that leave them out, so that the door can refuse",
		"haproxy": "http-request deny deny_status 400 if { req.fhdr_names -m reg -i (^|,)x[_.]battery|(^|,)x-battery[^,]*[_.] }",
	},
	"cookies": {
		"traefik": "# of the forwardAuth middleware, with gateway.cookie_rewrite on Battery Gate's side\nauthResponseHeaders: [Cookie]",
		"envoy":   "# the lua filter after ext_authz that takes cookies named battery_ and __Host-battery_ out; over gRPC the door does it",
		"nginx":   "proxy_set_header Cookie $battery_cookie;",
		"caddy":   "request_header Cookie (^|;)[\\s]*(__Host-)?battery_[^;]* \"\"",
		"haproxy": "# battery_ask of battery-gate.lua rewrites the Cookie header (without_ours)",
	},
	"cookies-kept": {
		"traefik": "# Cookie among authResponseHeaders needs gateway.cookie_rewrite on Battery Gate's side, too: set both or neither",
	},
	"wide-headers": {
		"nginx":   "proxy_buffer_size 8k;\nlarge_client_header_buffers 4 16k;",
		"envoy":   "# of the HttpConnectionManager and the app's cluster\nmax_request_headers_kb: 60",
		"haproxy": "tune.bufsize 32768",
	},
	"path": {
		"traefik": "# of the entry point; and no replacePath, stripPrefix or addPrefix before battery-gate\nhttp: {sanitizePath: true}",
		"envoy":   "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: KEEP_UNCHANGED\n# and no prefix_rewrite that the app's policy does not know of",
		"nginx":   "# proxy_pass without a path, so that $request_uri goes on as it came\nproxy_pass http://$battery_upstream;",
		"caddy":   "# no uri, rewrite or handle_path between forward_auth and reverse_proxy",
		"haproxy": "# http-request normalize-uri only before\nhttp-request lua.battery_ask",
	},
	"host": {
		"traefik": "# of the app's loadBalancer\npassHostHeader: true",
		"envoy":   "# no host_rewrite_* on the app's route",
		"nginx":   "proxy_set_header Host $battery_authority;",
		"caddy":   "# within reverse_proxy\nheader_up Host {http.request.hostport}",
		"haproxy": "# no http-request set-header Host after battery_ask",
	},
	"method": {
		"nginx": "# in the location that asks\nproxy_set_header X-Original-Method $request_method;",
		"caddy": "# no method directive after forward_auth",
	},
	"query": {
		"traefik": "# of the entry point\nhttp: {encodeQuerySemicolons: true}",
		"nginx":   "large_client_header_buffers 4 16k;",
		"envoy":   "max_request_headers_kb: 60",
		"haproxy": "tune.bufsize 32768",
	},
	"bytes": {
		"envoy": "# of the ext_authz filter\nencode_raw_headers: true",
	},
	"forwarding": {
		"traefik": "# of the entry point and the forwardAuth middleware\nforwardedHeaders: {insecure: false}\ntrustForwardHeader: false",
		"envoy":   "# in the header_mutation filter before ext_authz\n- remove_on_match: {key_matcher: {safe_regex: {regex: \"x-forwarded-(host|method|port|prefix|server|uri)|forwarded|x-real-ip\"}}}",
		"nginx":   "proxy_set_header X-Forwarded-Host $battery_authority;\nproxy_set_header X-Forwarded-Proto $scheme;\nproxy_set_header X-Forwarded-Port \"\";\nproxy_set_header X-Forwarded-Prefix \"\";\nproxy_set_header X-Forwarded-Uri \"\";\nproxy_set_header X-Forwarded-Method \"\";\nproxy_set_header X-Real-IP $remote_addr;",
		"caddy":   "request_header -X-Forwarded-Uri\nrequest_header -X-Forwarded-Method\nrequest_header -X-Forwarded-Prefix\nrequest_header -X-Forwarded-Port\nrequest_header -X-Real-Ip",
		"haproxy": "http-request del-header x-forwarded- -m beg\nhttp-request del-header x-real-ip",
	},
	"forwarded": {
		"traefik": "# a headers middleware before battery-gate\ncustomRequestHeaders: {Forwarded: \"\"}",
		"envoy":   "# in the header_mutation filter before ext_authz\n- remove_on_match: {key_matcher: {exact: \"forwarded\"}}",
		"nginx":   "proxy_set_header Forwarded \"\";",
		"caddy":   "request_header -Forwarded",
		"haproxy": "http-request del-header forwarded",
	},
	"client-ip": {
		"traefik": "# of the entry point\nforwardedHeaders: {insecure: false, trustedIPs: []}",
		"envoy":   "use_remote_address: true\nxff_num_trusted_hops: 0\nskip_xff_append: false\n# in the header_mutation filter before ext_authz\n- append:\n    header: {key: x-forwarded-for, value: \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"}\n    append_action: OVERWRITE_IF_EXISTS_OR_ADD",
		"nginx":   "# in the location that asks and in the app's\nproxy_set_header X-Forwarded-For $remote_addr;",
		"caddy":   "# no trusted_proxies that hold clients\nservers { trusted_proxies static ADDRESSES_OF_YOUR_LOAD_BALANCER }",
		"haproxy": "http-request set-header X-Forwarded-For %[src]",
	},
	"overrides": {
		"traefik": "# of the forwardAuth middleware: empty, so that the door sees them and refuses\nauthRequestHeaders: []",
		"envoy":   "# over HTTP, among allowed_headers, so that the door sees them and refuses\n- {safe_regex: {regex: \"x[^a-z0-9](http[^a-z0-9]method([^a-z0-9]override)?|method[^a-z0-9]override|original[^a-z0-9].*|rewrite[^a-z0-9]url)\"}}",
		"nginx":   "# in the location of the app\nproxy_set_header X-Original-URL \"\";\nproxy_set_header X-Original-URI \"\";\nproxy_set_header X-Rewrite-URL \"\";\nproxy_set_header X-HTTP-Method-Override \"\";\nproxy_set_header X-HTTP-Method \"\";\nproxy_set_header X-Method-Override \"\";",
		"caddy":   "request_header -X-Original-*\nrequest_header -X-Rewrite-Url\nrequest_header -X-Http-Method*\nrequest_header -X-Method-Override",
		"haproxy": "http-request del-header x-original- -m beg\nhttp-request del-header x-rewrite-url\nhttp-request del-header x-http-method -m beg\nhttp-request del-header x-method-override",
	},
	"login": {
		"traefik": "# of the forwardAuth middleware\npreserveLocationHeader: true",
		"envoy":   "# over HTTP: leave allowed_client_headers unset, so that Location and every Set-Cookie go to the client",
		"nginx":   "auth_request_set $battery_location $upstream_http_location;\nerror_page 401 = $battery_unauthorized;",
		"caddy":   "# remove handle_response blocks of forward_auth that answer by themselves",
		"haproxy": "# let battery_ask of battery-gate.lua answer: no http-request return after it",
	},
	"battery-path": {
		"traefik": "# a router of its own, without battery-gate\nrule: \"Host(`APP_HOST`) && PathPrefix(`/.battery/`)\"\nservice: battery-public\npriority: 200",
		"envoy":   "# the first route of the app's virtual host, with ext_authz disabled: true\n- match: {prefix: \"/.battery/\"}\n  route: {cluster: battery-public}",
		"nginx":   "location /.battery/ {\n    auth_request off;\n    proxy_pass http://battery_public;\n}",
		"caddy":   "handle /.battery/* {\n\treverse_proxy PUBLIC_ADDRESS\n}",
		"haproxy": "http-request set-var(txn.battery) bool(true) if { path_beg /.battery/ }\nuse_backend battery_public if { var(txn.battery) -m bool }",
	},
	"requests-pass": {
		"envoy": "upgrade_configs: [{upgrade_type: websocket}]\n# cookies on several lines of HTTP/1.1: the lua filter battery.cookie-lines before ext_authz",
		"nginx": "# in the location that asks\nproxy_pass_request_body off;\nproxy_set_header Content-Length \"\";\n# in the location of the app\nproxy_http_version 1.1;\nproxy_set_header Upgrade $battery_upgrade;\nproxy_set_header Connection $battery_connection;",
	},
}
