package doctor

import (
	"fmt"
	"strings"

	"battery.app/gate/authz/forward"
	"battery.app/gate/cmd/batterygate/probe"
)

const (
	// home is where all paths lie: no app has anything there.
	home = "/battery-gate-doctor/"

	evil       = "doctor-evil"   // what a client claims to be
	canary     = "doctor-canary" // what must not arrive
	forgedIP   = "203.0.113.66"  // TEST-NET-3: nobody's
	forgedHost = "evil.invalid"

	probeCookie = forward.ProbeCookie
)

// identityNames are the headers that only the gate writes.
var identityNames = []string{"User-Id", "Org-Id", "User-Email", "Roles", "App-Id", "Decision-Id", "Groups", "Assertion"}

// ourCookies are names of cookies that are not the app's business.
var ourCookies = []string{"battery_session", "__Host-battery_session", "battery_login", "__Host-battery_login", "battery_verifier_doctor"}

// oddPaths are readable in more than one way, or look as if they were.
var oddPaths = []string{
	"a%2Fb", "a%2fb", "x/../b", "x/./b", "x//b", "x/%2e%2e/b", "x/%2E/b", "x/..%2Fb", "a;v=1/b", "a%3Bv=1/b", "%61dmin", "a%252Fb", "a%5Cb", `a\b`,
	"a%00b", "a%zzb", "a%0Ab", "caf%C3%A9", "a%20b", "%40me", "@me", "a+b", "a%2Bb", "a,b!c", "A/b", "b/", "x/..;/b", "a%3Fb=1", "a%23b", "x/...", "a%E9b",
}

// oddTargets are whole request targets.
var oddTargets = []string{"//battery-gate-doctor/a", "/.//battery-gate-doctor/a", "/%2e/battery-gate-doctor/a", home + "q?a=1?b=2&c=%zz", home + "f#frag", "http://{host}" + home + "abs"}

// corpus is everything that is sent. The first is an ordinary request.
func (d *doctor) corpus() []request {
	all := []request{
		{id: "plain", headers: []string{"Accept: application/json"}},
		{id: "login", anonymous: true, headers: []string{"Accept: text/html"}},
		{id: "nobody", anonymous: true, headers: []string{"Accept: application/json"}},
		{id: "nobody-websocket", anonymous: true, headers: websocket()},
		{id: "nobody-preflight", anonymous: true, method: "OPTIONS", headers: []string{"Origin: https://" + forgedHost, "Access-Control-Request-Method: GET"}},
		{id: "battery", target: "/.battery/userinfo", headers: []string{"Accept: application/json"}},
		{id: "silence", mark: forward.ProbeSilence},
		{id: "wide", mark: probe.Wide},
		{id: "head", method: "HEAD"},
		{id: "post", method: "POST", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, body: "doctor="},
		{id: "query", target: home + "query?" + longQuery},
		{id: "websocket", headers: websocket()},
		{id: "preflight", method: "OPTIONS", headers: []string{"Origin: https://" + forgedHost, "Access-Control-Request-Method: GET"}},
		{id: "framing", method: "POST", headers: []string{"Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close"}, body: chunkedNothing},
		{id: "cookies", cookies: d.mixedCookies()},
		{id: "cookies-lines", headers: cookieLines(d.mixedCookies())},
		{id: "identity-trailer", method: "POST", headers: []string{"Transfer-Encoding: chunked", "Trailer: " + d.Prefix + "User-Id"},
			body: "0\r\n" + d.Prefix + "User-Id: " + evil + "\r\n\r\n"},
	}
	all = append(all, d.identityCorpus()...)
	all = append(all, forwardingCorpus()...)
	all = append(all, d.http2Corpus()...)
	for i, p := range oddPaths {
		all = append(all, request{id: fmt.Sprintf("path-%02d", i+1), target: home + p})
	}
	for i, t := range oddTargets {
		all = append(all, request{id: fmt.Sprintf("target-%d", i+1), target: strings.ReplaceAll(t, "{host}", d.URL.Host)})
	}
	name, port, _ := strings.Cut(d.URL.Host, ":")
	if port != "" {
		port = ":" + port
	}
	return append(all, request{id: "host-case", host: strings.ToUpper(name) + port}, request{id: "host-dot", host: name + "." + port})
}

// rawPaths and rawQuery hold a byte that is no text, and neither a mark that a
// gateway may have put in its place.
var rawPaths = []string{"adm\xffin", "\xc0\xae/a"}

const rawQuery = "query?a=\xff"

// http2Corpus is what HTTP/2 can say, or says in another way. Its first learns
// whether anybody listens.
func (d *doctor) http2Corpus() []request {
	form := []string{"Content-Type: application/x-www-form-urlencoded"}
	var trailers []string
	for _, n := range identityNames {
		trailers = append(trailers, d.Prefix+n+": "+evil)
	}
	all := []request{
		{id: "h2-plain", headers: []string{"Accept: application/json"}},
		{id: "cookies-h2", cookies: d.mixedCookies()},
		{id: "identity-h2", headers: []string{d.Prefix + "User-Id: " + evil, d.Prefix + "Roles: " + evil}},
		{id: "identity-trailers-h2", method: "POST", headers: form, body: "doctor=", trailers: trailers},
		{id: "alias-h2", headers: []string{strings.ReplaceAll(d.Prefix, "-", "_") + "User_Id: " + evil}},
		{id: "alias-mixed-h2", headers: []string{d.Prefix + "User_Id: " + evil}},
		{id: "alias-address-h2", headers: []string{"X_Real_Ip: " + forgedIP}},
		{id: "bytes-query-h2", target: home + rawQuery},
	}
	for i, p := range rawPaths {
		all = append(all, request{id: fmt.Sprintf("bytes-path-%d-h2", i+1), target: home + p})
	}
	for i := range all {
		all[i].http2 = true
	}
	// Some read such bytes over HTTP/1.1, too.
	all = append(all, request{id: "bytes-query", target: home + rawQuery})
	for i, p := range rawPaths {
		all = append(all, request{id: fmt.Sprintf("bytes-path-%d", i+1), target: home + p})
	}
	return all
}

// cookieLines are cookies on lines of their own, as some balancers write HTTP/2's
// fields in HTTP/1.1.
func cookieLines(cookies []string) (lines []string) {
	for _, c := range cookies {
		lines = append(lines, "Cookie: "+c)
	}
	return lines
}

// longQuery is longer than a line of most buffers' halves, and shorter than what
// nginx takes by default (8 KiB).
var longQuery = "q=" + strings.Repeat("0123456789abcdef", 6<<10/16)

// chunkedNothing is sent with a length of its own: that length and the chunked
// coding contradict each other (RFC 9112 §6.3), and the end is the same by both.
const chunkedNothing = "0\r\n\r\n"

func websocket() []string {
	return []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}
}

func (d *doctor) mixedCookies() []string {
	all := []string{"theirs=1"}
	for _, name := range ourCookies {
		all = append(all, name+"="+canary)
	}
	return append(all, "last=2")
}

// identityCorpus claims to be somebody, in every spelling.
func (d *doctor) identityCorpus() []request {
	var claimed, names []string
	for _, n := range identityNames {
		claimed = append(claimed, d.Prefix+n+": "+evil)
		names = append(names, d.Prefix+n)
	}
	under := strings.ReplaceAll(d.Prefix, "-", "_")
	dotted := strings.ReplaceAll(d.Prefix, "-", ".")
	user := d.Prefix + "User-Id: "
	return []request{
		{id: "identity", headers: claimed},
		{id: "identity-case", headers: []string{strings.ToLower(d.Prefix) + "user-id: " + evil, strings.ToUpper(d.Prefix) + "ROLES: " + evil}},
		{id: "identity-twice", headers: []string{user + evil, user + evil + "-2"}},
		{id: "identity-unknown", headers: []string{d.Prefix + "Doctor: " + evil}},
		{id: "identity-named", headers: []string{"Connection: close, " + strings.Join(names, ", ")}},
		{id: "alias-underscore", headers: []string{under + "User_Id: " + evil}},
		{id: "alias-mixed", headers: []string{d.Prefix + "User_Id: " + evil}},
		{id: "alias-dot", headers: []string{dotted + "User.Id: " + evil}},
		{id: "alias-case", headers: []string{strings.ToLower(under) + "ROLES: " + evil}},
		{id: "alias-address", headers: []string{"X_Real_Ip: " + forgedIP}},
		{id: "alias-forwarded", headers: []string{"X_Forwarded_Uri: " + home + evil}},
	}
}

// forwardingCorpus says what only a gateway may say.
func forwardingCorpus() []request {
	return []request{
		{id: "forwarded-for", headers: []string{"X-Forwarded-For: " + forgedIP}},
		{id: "forwarded-for-twice", headers: []string{"X-Forwarded-For: " + forgedIP, "X-Forwarded-For: " + forgedIP}},
		{id: "real-ip", headers: []string{"X-Real-Ip: " + forgedIP}},
		{id: "forwarded-host", headers: []string{"X-Forwarded-Host: " + forgedHost}},
		{id: "forwarded-uri", headers: []string{"X-Forwarded-Uri: " + home + evil}},
		{id: "forwarded-method", headers: []string{"X-Forwarded-Method: DELETE"}},
		{id: "forwarded-proto", headers: []string{"X-Forwarded-Proto: " + evil}},
		{id: "forwarded-prefix", headers: []string{"X-Forwarded-Prefix: /" + evil}},
		{id: "forwarded-port", headers: []string{"X-Forwarded-Port: 6666"}},
		{id: "forwarded", headers: []string{"Forwarded: for=" + forgedIP + ";host=" + forgedHost}},
		{id: "original-url", headers: []string{"X-Original-URL: " + home + evil}},
		{id: "original-uri", headers: []string{"X-Original-URI: " + home + evil}},
		{id: "rewrite-url", headers: []string{"X-Rewrite-URL: " + home + evil}},
		{id: "method-override", headers: []string{"X-HTTP-Method-Override: DELETE"}},
		{id: "http-method", headers: []string{"X-HTTP-Method: DELETE"}},
		{id: "override-method", headers: []string{"X-Method-Override: DELETE"}},
	}
}
