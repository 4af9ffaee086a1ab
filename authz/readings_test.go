package authz_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
)

func TestCanonicalPath(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/deals/7": "/deals/7", "/%40me": "/@me", "/@me": "/@me", "/a%2Cb%3a%24": "/a,b:$", "/caf%c3%a9": "/caf%C3%A9",
		"/café": "/caf%C3%A9", "/a b|c": "/a%20b%7Cc", "/100%25": "/100%25", "/%2540": "/%2540",
		// What somebody could see another path in is left as it is.
		"/%61dmin": "/%61dmin", "/a%2fb": "/a%2Fb", "/a%3bb": "/a%3Bb", "/a%": "/a%", "/a%zz": "/a%zz", "/%%32%65": "/%%32%65", `/a\b`: `/a\b`, "/a;b": "/a;b",
	} {
		if got := authz.CanonicalPath(path); got != want {
			t.Errorf("%q → %q, want %q", path, got, want)
		}
	}
}

func TestReadings(t *testing.T) {
	for path, want := range map[string]string{
		"/":                          "/",
		"/caf%C3%A9/%40me/a,b:c/...": "/caf%C3%A9/@me/a,b:c/...",
		"/100%25":                    "/100%25",
		"/admin/":                    "/admin/",
		"/%61dmin":                   "/%61dmin /admin",
		"/@scope%2Fpkg":              "/@scope%2Fpkg /@scope/pkg",
		"/public/../admin":           "/public/../admin /admin",
		"/public/%2e%2e/admin":       "/public/%2E%2E/admin /public/../admin /admin",
		"/public/%2e%2e%2fadmin":     "/public/%2E%2E%2Fadmin /public/../admin /public/..%2Fadmin /admin",
		"/projects/%73ecret%2fproj":  "/projects/%73ecret%2Fproj /projects/secret%2Fproj /projects/secret/proj",
		"/public/..;/admin":          "/public/..;/admin /public/../admin /public/.. /admin /",
		"/public%5c..%5cadmin":       `/public%5C..%5Cadmin /public\..\admin /public/../admin /admin`,
		"/a%2f%2fb":                  "/a%2F%2Fb /a//b /a/b",
		"//admin":                    "//admin /admin /",
		"///x/y":                     "///x/y /x/y /y",
		"///h/%2e%2e/admin":          "///h/%2E%2E/admin /h/%2E%2E/admin /%2E%2E/admin ///h/../admin /h/../admin /../admin ///admin /admin /",
		"/a//../b":                   "/a//../b /a/../b /a/b /b",
		"/x/../admin/":               "/x/../admin/ /admin/ /admin",
		"/a/.":                       "/a/. /a/ /a",
		"/a;x/b":                     "/a;x/b /a/b /a",
		"/a%3bx":                     "/a%3Bx /a;x /a",
		"/a%3fb":                     "/a%3Fb /a",
		"/a%23b":                     "/a%23b /a",
		"/%252e%252e/x":              "/%252e%252e/x /%2E%2E/x /../x /x",
		"/a%253fb":                   "/a%253fb /a%3Fb /a",
		"/a%2520b":                   "/a%2520b /a%20b",
		"/a%":                        "/a% /a%25",
		"/%%32%65/x":                 "/%%32%65/x /%2E/x /./x /x",
	} {
		got, err := authz.Readings(path)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if !equalSets(got, strings.Fields(want)) || got[0] != authz.CanonicalPath(path) {
			t.Errorf("%q → %q, want %q", path, got, strings.Fields(want))
		}
	}
	for path, want := range map[string]error{
		"/admin%00.css": authz.ErrUnreadable, "/a%0ab": authz.ErrUnreadable, "/a%7f": authz.ErrUnreadable, "/%c2%80": authz.ErrUnreadable,
		"/%ff": authz.ErrUnreadable, "/%c0%ae": authz.ErrUnreadable, "/%u002e": authz.ErrUnreadable, "/%25u002e": authz.ErrUnreadable, "/%2500": authz.ErrUnreadable,
		"/%2525252e": authz.ErrUnreadable, "/%25252541": authz.ErrUnreadable,
		"/a/b/../c;x//d/../e;y%2f%2e%2e%5cf": authz.ErrManyReadings,
		"/a;b/../c;d//../e%2f;f/..%2f%2fg":   authz.ErrManyReadings,
	} {
		if got, err := authz.Readings(path); !errors.Is(err, want) || got != nil {
			t.Errorf("%.40q: %v, want %v", path, err, want)
		}
	}
}

func equalSets(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// oddPath draws paths out of what readers disagree about.
func oddPath(t *rapid.T) string {
	part := rapid.OneOf(
		rapid.SampledFrom([]string{"/", "//", ".", "..", ";", `\`, "%", "%2", "%25", "%2e", "%2E", "%2f", "%5c", "%3b", "%3f", "%23", "%00", "%61", "%40", "%20", "%c3%a9",
			"%ff", "%252f", "%25252f", "u002e", "admin", "a", "2f", "@", "|", "~"}),
		rapid.StringMatching(`[a-z%0-9A-F;./]{0,3}`))
	return "/" + strings.Join(rapid.SliceOfN(part, 0, 7).Draw(t, "parts"), "")
}

// Strict's refusal is: more than one reading, or readings that cannot be listed.
func TestAmbiguousIsMoreThanOneReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkReadings(t, oddPath(t)) })
}

func FuzzReadings(f *testing.F) {
	for _, p := range []string{"/", "/a/../b", "/%252e%252e/x", "/a%3bx;y//", "/%%32%65", `/a\..\b`, "/%c3%a9", "/%u002e", "/a%25%34%31"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) { checkReadings(t, "/"+p) })
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func checkReadings(t failer, path string) {
	t.Helper()
	canonical := authz.CanonicalPath(path)
	if again := authz.CanonicalPath(canonical); again != canonical {
		t.Fatalf("%q became %q, and that %q", path, canonical, again)
	}
	if authz.DecodePath(canonical) != authz.DecodePath(path) {
		t.Fatalf("%q became %q, which is another path", path, canonical)
	}
	all, err := authz.Readings(path)
	if one := err == nil && len(all) == 1; authz.Ambiguous(canonical) == one || authz.Ambiguous(path) == one {
		t.Fatalf("%q: ambiguous %v, %v, readings %q %v", path, authz.Ambiguous(path), authz.Ambiguous(canonical), all, err)
	}
	if err != nil {
		return
	}
	if all[0] != canonical || len(all) > 16 {
		t.Fatalf("%q: readings %q", path, all)
	}
	for i, r := range all {
		if !strings.HasPrefix(r, "/") || authz.CanonicalPath(r) != r || slices.Contains(all[:i], r) {
			t.Fatalf("%q: reading %q of %q", path, r, all)
		}
		// What an app could make of a reading is a reading again.
		for _, next := range naive(r) {
			if !slices.Contains(all, next) {
				t.Fatalf("%q: reading %q could be read as %q, which is not among %q", path, r, next, all)
			}
		}
	}
}

// naive does to a path, by other means, what readers do. It leaves out what it
// cannot do simply.
func naive(path string) (out []string) {
	out = append(out, strings.ReplaceAll(path, `\`, "/"), squeeze(path))
	if i := strings.IndexByte(path, ';'); i >= 0 {
		out = append(out, path[:i])
	}
	if u, err := url.Parse("http://h" + path); err == nil && !strings.Contains(path, "%25") && !strings.ContainsAny(path, "?#") {
		out = append(out, authz.CanonicalPath(strings.NewReplacer("?", "%3F", "#", "%23", "%", "%25").Replace(u.Path)))
		if ref := u.ResolveReference(&url.URL{Path: path}); !strings.Contains(path, "%") && !strings.Contains(path, "//") {
			out = append(out, authz.CanonicalPath(ref.Path))
		}
	}
	return out
}

func squeeze(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if path[i] != '/' || i == 0 || path[i-1] != '/' {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}

// everywhere is an app that has the policy asked about every reading.
func everywhere(mode string) *authz.App {
	return &authz.App{ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.test"}, Scheme: "https", PathMode: mode}
}

// paths is a world whose policy allows all paths but those below /admin.
type paths struct {
	world
	app  *authz.App
	fail string
	seen []string
}

func (p *paths) Current() authz.Snapshot            { return p }
func (p *paths) App(host string) (*authz.App, bool) { return p.app, host == "crm.acme.test" }

func (p *paths) Evaluate(_ context.Context, in *authz.Input) (authz.Verdict, error) {
	p.seen = append(p.seen, in.Request.Path)
	switch {
	case in.Request.Path == p.fail:
		return authz.Verdict{Allow: true}, errors.New("boom")
	case in.Request.Path == "/admin" || strings.HasPrefix(in.Request.Path, "/admin/"):
		return authz.Verdict{Roles: []string{"member"}, Reasons: []authz.Reason{{Code: "admins_only"}}}, nil
	}
	return authz.Verdict{Allow: true, Cached: in.Request.Path == "/a/../b", Roles: []string{"member"}, Reasons: []authz.Reason{{Code: "role"}},
		Headers: map[string]string{"X-Plan": in.Request.Path}}, nil
}

func (p *paths) ask(t *testing.T, path string) (*authz.Decision, *authz.Record) {
	t.Helper()
	p.recorded, p.seen = nil, nil
	req := request()
	req.Path, req.Ambiguous = authz.CanonicalPath(path), authz.Ambiguous(path)
	c := &authz.Checker{Snapshots: p, Sessions: p, Recorder: p, Log: discard(), Now: clock}
	d := c.Check(t.Context(), req)
	if len(p.recorded) != 1 {
		t.Fatalf("%d records", len(p.recorded))
	}
	return d, p.recorded[0]
}

func TestEveryReading(t *testing.T) {
	session := &authz.Session{ID: "s", UserID: "prof_1", OrganizationID: "org_acme"}
	t.Run("allowed only if every reading is", func(t *testing.T) {
		for path, want := range map[string]struct {
			result        authz.Result
			code, reading string
			evaluated     int
		}{
			"/deals":                {authz.Allow, "role", "", 1},
			"/a/../b":               {authz.Allow, "role", "", 2},
			"/@scope%2fpkg":         {authz.Allow, "role", "", 2},
			"/public/..;/admin":     {authz.Deny, authz.CodeAmbiguousPath, "/admin", 0},
			"/public/%2e%2e/admin":  {authz.Deny, authz.CodeAmbiguousPath, "/admin", 0},
			"/%61dmin":              {authz.Deny, authz.CodeAmbiguousPath, "/admin", 2},
			"//admin/x":             {authz.Deny, authz.CodeAmbiguousPath, "/admin/x", 2},
			"/%2561dmin":            {authz.Deny, authz.CodeAmbiguousPath, "/admin", 3},
			"/admin/../public":      {authz.Deny, "admins_only", "", 1},
			"/admin%00.css":         {authz.Deny, authz.CodeAmbiguousPath, "", 0},
			"/a;/b;/c;//../%2f%2e/": {authz.Deny, authz.CodeAmbiguousPath, "", 0},
			"/x/..%2f.Battery/y":    {authz.Deny, authz.CodeReservedPath, "", 0},
		} {
			w := &paths{world: world{session: session}, app: everywhere(authz.PathEveryReading)}
			d, r := w.ask(t, path)
			if d.Result() != want.result || d.Code() != want.code || r.Reading != want.reading {
				t.Errorf("%s: %v %s, reading %q", path, d.Result(), d.Code(), r.Reading)
			}
			if want.evaluated > 0 && len(w.seen) != want.evaluated || want.reading == "" && want.evaluated == 0 && len(w.seen) > 0 {
				t.Errorf("%s: asked about %q", path, w.seen)
			}
			if r.Path != authz.CanonicalPath(path) {
				t.Errorf("%s: recorded as %q", path, r.Path)
			}
			if d.Result() != authz.Allow && d.Headers != nil {
				t.Errorf("%s: headers %v", path, d.Headers)
			}
		}
	})
	t.Run("headers, roles and the rest are those of the path itself", func(t *testing.T) {
		w := &paths{world: world{session: session}, app: everywhere(authz.PathEveryReading)}
		d, r := w.ask(t, "/a/../b")
		if d.Headers["X-Plan"] != "/a/../b" || r.Cached {
			t.Errorf("%v, cached %v", d.Headers, r.Cached)
		}
	})
	t.Run("the reasons say both, and nothing that the client sent", func(t *testing.T) {
		w := &paths{world: world{session: session}, app: everywhere(authz.PathEveryReading)}
		d, _ := w.ask(t, "/%61dmin")
		if len(d.Reasons) != 2 || d.Reasons[1].Code != "admins_only" || strings.Contains(d.Reasons[0].Message, "dmin") {
			t.Errorf("%v", d.Reasons)
		}
	})
	t.Run("nobody signed in is sent to log in", func(t *testing.T) {
		w := &paths{app: everywhere(authz.PathEveryReading)}
		d, r := w.ask(t, "/%61dmin")
		if d.Result() != authz.Challenge || d.Status() != 302 || r.Reading != "/admin" {
			t.Errorf("%v %d %q", d.Result(), d.Status(), r.Reading)
		}
	})
	t.Run("a reading that cannot be evaluated is not allowed", func(t *testing.T) {
		w := &paths{world: world{session: session}, app: everywhere(authz.PathEveryReading), fail: "/b"}
		d, r := w.ask(t, "/a/../b")
		if d.Result() != authz.Deny || d.Code() != authz.CodePolicyError || r.Reading != "/b" {
			t.Errorf("%v %s %q", d.Result(), d.Code(), r.Reading)
		}
	})
	t.Run("the readings together have one time budget", func(t *testing.T) {
		w := &slow{paths: &paths{world: world{session: session}, app: everywhere(authz.PathEveryReading)}}
		req := request()
		req.Path, req.Ambiguous = "/a;b/../c;d//e", true
		c := &authz.Checker{Snapshots: w, Sessions: w, Recorder: w, Log: discard(), Now: clock}
		d := c.Check(t.Context(), req)
		if d.Result() != authz.Deny || d.Code() != authz.CodePolicyTimeout || len(w.seen) > 5 || w.recorded[0].Reading == "" {
			t.Errorf("%v %s after %d evaluations", d.Result(), d.Code(), len(w.seen))
		}
	})
	t.Run("other modes are strict, for public apps too", func(t *testing.T) {
		for _, mode := range []string{"", authz.PathStrict, "every", "EVERY-READING"} {
			w := &paths{world: world{session: session}, app: everywhere(mode)}
			w.app.Public = true
			if d, _ := w.ask(t, "/a/../b"); d.Result() != authz.Deny || d.Code() != authz.CodeAmbiguousPath || len(w.seen) > 0 {
				t.Errorf("%q: %v %s", mode, d.Result(), d.Code())
			}
		}
	})
	t.Run("a recorded input is evaluated as it was", func(t *testing.T) {
		w := &paths{app: everywhere(authz.PathEveryReading)}
		in := &authz.Input{Request: &authz.Request{Path: "/%61dmin"}, App: w.app}
		if v, reading, err := authz.EvaluateEvery(t.Context(), w, in); err != nil || v.Allow || reading != "/admin" {
			t.Errorf("%v %q %v", v, reading, err)
		}
		if in.Request.Path = "/%00"; true {
			if v, _, err := authz.EvaluateEvery(t.Context(), w, in); !errors.Is(err, authz.ErrUnreadable) || v.Allow {
				t.Errorf("%v %v", v, err)
			}
		}
		in.App = everywhere(authz.PathStrict)
		if v, _, err := authz.EvaluateEvery(t.Context(), w, in); err != nil || !v.Allow {
			t.Errorf("%v %v", v, err)
		}
	})
}

func TestPreflight(t *testing.T) {
	session := &authz.Session{ID: "s", UserID: "prof_1", OrganizationID: "org_acme"}
	for name, tc := range map[string]struct {
		app  func(*authz.App)
		edit func(*authz.Request)
		want authz.Result
		code string
	}{
		"passes where the app says so":          {want: authz.Allow, code: authz.CodeCORSPreflight},
		"is an ordinary request where not":      {app: func(a *authz.App) { a.CORSPreflight = false }, want: authz.Deny, code: "no_allowed_role"},
		"only with its headers":                 {edit: func(r *authz.Request) { r.Preflight = false }, want: authz.Deny, code: "no_allowed_role"},
		"only as OPTIONS":                       {edit: func(r *authz.Request) { r.Method = "GET" }, want: authz.Deny, code: "no_allowed_role"},
		"not at a host that is not the app's":   {edit: func(r *authz.Request) { r.Port = "1" }, want: authz.Deny, code: "unknown_host"},
		"not on a path with two readings":       {edit: func(r *authz.Request) { r.Ambiguous = true }, want: authz.Deny, code: "ambiguous_path"},
		"not below /.battery/":                  {edit: func(r *authz.Request) { r.Answered = &authz.Answered{Status: 403, Code: authz.CodeReservedPath} }, want: authz.Deny, code: "reserved_path"},
		"not in a question that is malformed":   {edit: func(r *authz.Request) { r.Fault = &authz.Fault{Code: authz.CodeMalformedRequest} }, want: authz.Deny, code: "malformed_request"},
		"not on a route bound to another app":   {edit: func(r *authz.Request) { r.AppID = "wiki.acme" }, want: authz.Deny, code: "unknown_host"},
		"also where the path has every reading": {app: func(a *authz.App) { a.PathMode = authz.PathEveryReading }, edit: func(r *authz.Request) { r.Path, r.Ambiguous = "/a/../b", true }, want: authz.Allow, code: authz.CodeCORSPreflight},
	} {
		t.Run(name, func(t *testing.T) {
			w := &paths{app: everywhere(authz.PathStrict), world: world{session: session}}
			w.app.CORSPreflight = true
			if tc.app != nil {
				tc.app(w.app)
			}
			p := &denying{w}
			req := request()
			req.Method, req.Preflight = "OPTIONS", true
			if tc.edit != nil {
				tc.edit(req)
			}
			c := &authz.Checker{Snapshots: p, Sessions: p, Recorder: p, Log: discard(), Now: clock}
			d := c.Check(t.Context(), req)
			if d.Result() != tc.want || d.Code() != tc.code || len(w.recorded) != 1 {
				t.Errorf("%v %s", d.Result(), d.Code())
			}
			if d.Result() == authz.Allow && (d.Session != nil || d.User != nil || d.Roles != nil || w.recorded[0].Session != nil) {
				t.Error("a preflight has an identity")
			}
		})
	}
}

// slow is paths whose policy takes most of its budget each time.
type slow struct{ *paths }

func (s *slow) Current() authz.Snapshot { return s }
func (s *slow) Budget() time.Duration   { return 20 * time.Millisecond }

func (s *slow) Evaluate(ctx context.Context, in *authz.Input) (authz.Verdict, error) {
	time.Sleep(12 * time.Millisecond)
	return s.paths.Evaluate(ctx, in)
}

// denying is paths with a policy that denies everything.
type denying struct{ *paths }

func (d *denying) Current() authz.Snapshot { return d }

func (d *denying) Evaluate(context.Context, *authz.Input) (authz.Verdict, error) {
	return authz.Verdict{Reasons: []authz.Reason{{Code: "no_allowed_role"}}}, nil
}
