package forward_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

func sha256Base64(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// FuzzDoors: no question gets a 200 unless the Checker was asked exactly that
// question, in canonical form, once, and allowed it, and no app could see another
// one in it.
func FuzzDoors(f *testing.F) {
	f.Add("GET", "https", "status.acme.test", "/", "X-Forwarded-For", "1.2.3.4")
	f.Add("GET", "https", "crm.acme.test:443", "/a%20b?x=%2e", "Cookie", "__Host-battery_session=t-ada")
	f.Add("GET", "wss", "CRM.acme.test.", "/%2e%2e/", "X_Forwarded_Uri", "/")
	f.Add("POST", "http", "[2001:db8::1]", "//x", "X-Forwarded-Uri", "/y")
	f.Add("get", "https", "a@status.acme.test", "/.battery/login", "X-Http-Method-Override", "GET")
	f.Add("GET", "https", "notes.acme.test", "/public/..;/admin", "Cookie", "__Host-battery_session=t-ada")
	f.Add("GET", "https", "notes.acme.test", "/x%2f..%5cy/%2561", "Cookie", "__Host-battery_session=t-ada")
	f.Add("OPTIONS", "https", "spa.acme.test", "/", "Origin", "https://a.test")
	f.Add("delete", "ftp", "status.acme.test:443.", "/", "X-Forwarded-Host", "crm.acme.test")
	f.Add("get", "https", "status.acme.test", "/", "", "")
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, method, scheme, authority, uri, name, value string) {
		c := client{method: method, scheme: scheme, authority: authority, uri: uri, header: http.Header{}}
		if name != "" {
			c.header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
		}
		if strings.HasPrefix(authority, "notes.") && name == "" {
			c.header["Cookie"] = []string{oursValue}
		}
		for door, do := range map[string]ask{"forward-auth": forwardAuth, "auth-request": authRequest, "ext-authz": extAuthz} {
			w.records, w.asked, w.answers = nil, nil, nil
			res := do(t, w, c)
			if len(w.records) != 1 {
				t.Fatalf("%s: %d records", door, len(w.records))
			}
			if res.status < 200 || res.status > 499 || res.status > 200 && res.status < 300 {
				t.Fatalf("%s: status %d", door, res.status)
			}
			if res.status == 200 {
				checkAllowed(t, w, c, door)
			}
		}
	})
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// checkAllowed compares the request that was allowed with the one that was sent,
// by rules simpler than the doors' own.
func checkAllowed(t failer, w *world, c client, door string) {
	t.Helper()
	if len(w.asked) != 1 || w.answers[0].Result() != authz.Allow {
		t.Fatalf("%s: 200 without an allow", door)
	}
	req := w.asked[0]
	checkSent(t, req, c, door)
	sent := c.uri
	if v := c.header["X-Forwarded-Uri"]; door == "forward-auth" && v != nil {
		sent = v[0]
	}
	if door == "auth-request" { // the URL comes in one piece there
		full := c.scheme + "://" + c.authority + c.uri
		if v := c.header["X-Original-Url"]; v != nil {
			full = v[0]
		}
		_, rest, _ := strings.Cut(full, "://")
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			t.Fatalf("%q allowed", full)
		}
		sent = rest[i:]
	}
	sentPath, sentQuery, _ := strings.Cut(sent, "?")
	if req.Query != sentQuery || authz.DecodePath(req.Path) != authz.DecodePath(sentPath) {
		t.Fatalf("%s: %q ? %q allowed, %q sent", door, req.Path, req.Query, sent)
	}
	if req.Fault != nil || req.Answered != nil || req.Method != strings.ToUpper(req.Method) || req.Host != strings.ToLower(req.Host) ||
		req.Scheme != "http" && req.Scheme != "https" || !strings.HasPrefix(req.Path, "/") {
		t.Fatalf("%s: allowed what is not canonical: %+v", door, req)
	}
	if req.Ambiguous != authz.Ambiguous(req.Path) || req.Ambiguous && w.answers[0].App.PathMode != authz.PathEveryReading {
		t.Fatalf("%s: allowed a path with several readings: %+v", door, req)
	}
	for app, see := range appsThatRead() {
		saw := see(sentPath)
		if first := strings.SplitN(strings.TrimLeft(saw, "/"), "/", 2)[0]; strings.EqualFold(first, ".battery") {
			t.Fatalf("%s: allowed %q, in which %s sees our own %q", door, sentPath, app, saw)
		} else if first == "admin" && !w.answers[0].App.Public && w.answers[0].Code() != authz.CodeCORSPreflight && !w.answers[0].Session.Machine() {
			t.Fatalf("%s: allowed %q, in which %s sees %q", door, sentPath, app, saw)
		}
	}
}

// whatwg is the pathname of new URL(p, "http://app"): a backslash is a slash, all
// slashes before a host are skipped, and dot segments may be escaped.
func whatwg(p string) string {
	p = strings.ReplaceAll(p, `\`, "/")
	if rest := strings.TrimLeft(p, "/"); len(p)-len(rest) > 1 {
		_, after, _ := strings.Cut(rest, "/")
		p = "/" + after
	}
	var out []string
	segments := strings.Split(p[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(s), "%2e", ".") {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			out = out[:max(0, len(out)-1)]
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

// appsThatRead are ways in which real apps find their route in a path.
func appsThatRead() map[string]func(string) string {
	decode := func(p string) string {
		if u, err := url.PathUnescape(p); err == nil {
			return u
		}
		return p
	}
	cut := func(p string) string {
		segments := strings.Split(p, "/")
		for i, s := range segments {
			segments[i], _, _ = strings.Cut(s, ";")
		}
		return strings.Join(segments, "/")
	}
	back := func(p string) string { return strings.ReplaceAll(p, `\`, "/") }
	return map[string]func(string) string{
		"a raw matcher":             func(p string) string { return p },
		"a Go server":               func(p string) string { return path.Clean("/" + decode(p)) },
		"a static file server":      func(p string) string { return path.Clean("/" + back(decode(p))) },
		"a servlet container":       func(p string) string { return path.Clean("/" + decode(cut(p))) },
		"a container that cuts":     func(p string) string { return path.Clean("/" + cut(decode(p))) },
		"an app behind a decoder":   func(p string) string { return path.Clean("/" + decode(decode(p))) },
		"a decoder of cleaned":      func(p string) string { return path.Clean("/" + decode(path.Clean("/"+decode(p)))) },
		"a Windows app":             func(p string) string { return path.Clean("/" + back(decode(back(decode(p))))) },
		"a router that parses":      func(p string) string { q, _, _ := strings.Cut(decode(p), "?"); return path.Clean("/" + q) },
		"a router with fragments":   func(p string) string { q, _, _ := strings.Cut(decode(decode(p)), "#"); return path.Clean("/" + q) },
		"a filter like Shiro's":     func(p string) string { q, _, _ := strings.Cut(decode(p), ";"); return path.Clean("/" + q) },
		"a browser's URL parser":    func(p string) string { return whatwg(p) },
		"a decoder after it":        func(p string) string { return path.Clean("/" + decode(whatwg(p))) },
		"a cleaner without decoder": func(p string) string { return path.Clean("/" + p) },
	}
}

// TestNoAppSeesWhatThePolicyDenies builds paths out of what readers disagree
// about and asks with a session, for apps of both path modes.
func TestNoAppSeesWhatThePolicyDenies(t *testing.T) {
	w := newWorld(t)
	allowed := 0
	rapid.Check(t, func(rt *rapid.T) {
		uri := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"/", "/", "//", ".", "..", ";", ";x", `\`, "%", "%25", "%2e", "%2f", "%5c", "%3b", "%3f", "%23", "%61", "a", "admin", "dmin",
			"%252e", "%252f", "%2561", "pub", ".battery", "%40", "?", "%c3%a9", "%20"}), 0, 9).Draw(rt, "parts"), "")
		for _, host := range []string{"notes.acme.test", "crm.acme.test"} {
			c := get(host, uri, ada)
			for door, do := range map[string]ask{"forward-auth": forwardAuth, "auth-request": authRequest, "ext-authz": extAuthz} {
				w.records, w.asked, w.answers = nil, nil, nil
				if res := do(t, w, c); res.status == 200 {
					allowed++
					checkAllowed(rt, w, c, door)
				}
			}
		}
	})
	if allowed == 0 {
		t.Error("nothing was allowed, so nothing was tested")
	}
}

// TestCanonicalIsStable: what was made canonical stays as it is.
func TestCanonicalIsStable(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		c := client{
			method:    rapid.SampledFrom([]string{"GET", "POST", "PROPFIND"}).Draw(rt, "method"),
			scheme:    rapid.SampledFrom([]string{"http", "https", "ws", "wss"}).Draw(rt, "scheme"),
			authority: rapid.StringMatching(`([A-Za-z0-9_-]{1,8}\.){0,3}[a-zA-Z]{1,5}\.?(:[1-9][0-9]{0,4})?|\[[0-9A-F:]{2,9}\](:80)?`).Draw(rt, "authority"),
			uri:       rapid.StringMatching(`(/[a-z.%0-9A-F;@|]{0,6}){1,4}(\?[ -~]{0,9})?`).Draw(rt, "uri"),
			header:    http.Header{},
		}
		first := canonical(w, c)
		if first.Fault != nil {
			return
		}
		c.scheme, c.authority, c.uri = first.Scheme, first.Authority(), first.Path
		if first.Query != "" {
			c.uri += "?" + first.Query
		}
		again := canonical(w, c)
		if again.Fault != nil || first.Method != again.Method || first.Scheme != again.Scheme || first.Authority() != again.Authority() ||
			first.Path != again.Path || first.Query != again.Query || first.Ambiguous != again.Ambiguous {
			rt.Fatalf("%+v became %+v", first, again)
		}
	})
}

func canonical(w *world, c client) *authz.Request {
	w.asked, w.records = nil, nil
	forwardAuth(nil, w, c)
	return w.asked[0]
}

// service catches the Authorization service, so that it can be called without a
// network between: coverage then depends on the input alone.
type service struct{ authv3.AuthorizationServer }

func (s *service) ask(t *testing.T, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	gateway := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	out, err := s.Check(peer.NewContext(t.Context(), &peer.Peer{Addr: gateway}), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzCheck: whatever a CheckRequest holds, the call does not fail, its answer
// can be sent, and nothing gets through that was not allowed.
func FuzzCheck(f *testing.F) {
	f.Add("/", "status.acme.test", "cookie", "__Host-battery_session=t-ada", "")
	f.Add("/a#b", "crm.acme.test", ":path", "/", "crm.acme")
	f.Add("/.battery/login", "crm.acme.test", "x_forwarded_uri", "/", "wiki.acme")
	f.Add("/a/..;/admin", "notes.acme.test", "cookie", "__Host-battery_session=t-ada; a=1", "notes.acme")
	f.Add("/AdmIn", "notes.acme.test", "cookie", "__Host-battery_session=t-ada", "") // another path than /admin
	f.Add("/acme.Deals/List", "crm.acme.test", "content-type", "application/grpc", "")
	w := newWorld(f)
	s := service{w.doors.CheckServer()}
	f.Fuzz(func(t *testing.T, path, host, name, value, app string) {
		c := get(host, path)
		in := checkRequest(c)
		in.Attributes.Request.Http.Headers[name] = value
		in.Attributes.ContextExtensions = map[string]string{"app": app}
		w.records, w.asked, w.answers = nil, nil, nil
		out := s.ask(t, in)
		if len(w.records) != 1 {
			t.Fatalf("%d records", len(w.records))
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Fatalf("the answer cannot be sent: %v", err)
		}
		if out.GetStatus().GetCode() == 0 || out.GetOkResponse() != nil {
			checkAllowed(t, w, c, "ext-authz-grpc")
			if app != "" && app != w.answers[0].App.ID {
				t.Fatalf("the route is bound to %q, the request reached %s", app, w.answers[0].App.ID)
			}
		}
	})
}

// FuzzDoorsAgree: one request, asked about at every door as its gateway would, is
// one canonical request with one answer, but for what a dialect cannot say.
func FuzzDoorsAgree(f *testing.F) {
	f.Add("GET", "https", "crm.acme.test", "/deals?x=1", "Cookie", oursValue, false)
	f.Add("GET", "wss", "CRM.acme.test.:443", "/a/../b", "Accept", "text/html", true)
	f.Add("POST", "https", "notes.acme.test", "/%61dmin", "Cookie", oursValue, true)
	f.Add("GET", "https", "api.acme.test", "/", "Authorization", "Bearer "+goodJWT, true)
	f.Add("GET", "https", "crm.acme.test", "/", "X-Battery_Roles", "admin", false)
	f.Add("GET", "https", "crm.acme.test", "/.battery/login", "Sec-Fetch-Mode", "navigate", false)
	f.Add("GET", "https", "crm.acme.test", "/", "X-Forwarded-For", "1.2.3.4, 10.0.0.1", true)
	w := newWorld(f)
	s := service{w.doors.CheckServer()}
	f.Fuzz(func(t *testing.T, method, scheme, authority, uri, name, value string, twice bool) {
		c := client{method: method, scheme: scheme, authority: authority, uri: uri, header: http.Header{}}
		if !askable(c, name, value) {
			return
		}
		values := []string{value}
		if twice {
			values = append(values, value)
		}
		c.header[textproto.CanonicalMIMEHeaderKey(name)] = values

		type answer struct {
			status int
			code   string
			asked  authz.Request
		}
		take := func(status int) answer {
			if len(w.records) != 1 || len(w.asked) != 1 {
				t.Fatalf("%d records, %d questions", len(w.records), len(w.asked))
			}
			a := answer{status: status, code: w.records[0].Reasons[0].Code, asked: *w.asked[0]}
			a.asked.Dialect, a.asked.Gateway, a.asked.TraceID = authz.Dialect{}, "", "" // joined lines are no trace, or another
			if f := a.asked.Fault; f != nil {
				a.asked.Fault = &authz.Fault{Code: f.Code, Malformed: f.Malformed}
			}
			w.records, w.asked, w.answers = nil, nil, nil
			return a
		}
		w.records, w.asked, w.answers = nil, nil, nil

		overGRPC := func(in *authv3.CheckRequest) answer {
			out := s.ask(t, in)
			a := take(200)
			if denied := out.GetDeniedResponse(); denied != nil {
				a.status = int(denied.GetStatus().GetCode())
			}
			return a
		}
		want := overGRPC(rawCheckRequest(c))
		if sentPath, _, _ := strings.Cut(uri, "?"); !strings.Contains(sentPath, "!") { // else it may be another path
			if got := overGRPC(checkRequest(c)); !reflect.DeepEqual(got, want) {
				t.Fatalf("joined headers: %d %s %+v\n  raw: %d %s %+v", got.status, got.code, got.asked, want.status, want.code, want.asked)
			}
		}
		for door, do := range map[string]ask{"ext-authz": extAuthz, "forward-auth": forwardAuth} {
			if door == "ext-authz" && !strings.HasPrefix(uri, "/") {
				continue // Envoy sends none that would leave the door's own address
			}
			if door == "ext-authz" && question(method, "/authz/ext-authz"+uri, authority, nil) == nil {
				continue // net/http answers by itself
			}
			if sentPath, _, _ := strings.Cut(uri, "?"); door == "forward-auth" && strings.Contains(sentPath, ",/") {
				continue // two URIs, to that door
			}
			got := take(do(t, w, c).status)
			if door == "forward-auth" && len(c.header["Content-Type"]) > 0 {
				got.status = want.status // a gRPC client is answered in Envoy's way there
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %d %s %+v\n  gRPC: %d %s %+v", door, got.status, got.code, got.asked, want.status, want.code, want.asked)
			}
		}
		// nginx has the URL in one piece and fewer statuses.
		if (scheme == "http" || scheme == "https") && !strings.ContainsAny(authority, `/?#\`) && strings.HasPrefix(uri, "/") && !strings.Contains(uri, ",http") {
			got := take(authRequest(t, w, c).status)
			if got.code != want.code || got.asked.Path != want.asked.Path || got.asked.Host != want.asked.Host || got.asked.Method != want.asked.Method ||
				(got.status == 200) != (want.status == 200) {
				t.Fatalf("auth-request: %d %s %+v\n  gRPC: %d %s %+v", got.status, got.code, got.asked, want.status, want.code, want.asked)
			}
		}
	})
}

// askable leaves out what some door never gets to see: what net/http and Envoy
// refuse by themselves, and headers that gateways write.
func askable(c client, name, value string) bool {
	key := textproto.CanonicalMIMEHeaderKey(name)
	if slices.Contains([]string{"Host", forward.RouteAppHeader, forward.SecretHeader, "Cookie2", "X-Original-Url", "X-Original-Method"}, key) || strings.HasPrefix(key, "X-Forwarded-") && key != "X-Forwarded-For" {
		return false
	}
	if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~") != "" {
		return false
	}
	for _, s := range []string{c.method, c.scheme, c.authority, c.uri, value} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return false
		}
	}
	return c.scheme != "" && c.method != "" && strings.TrimSpace(value) == value
}
