package console_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/console"
	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

var update = flag.Bool("update", false, "write the golden pages")

var (
	changingRE = regexp.MustCompile(`(name="form" value=")[^"]*|(token_)[0-9a-f]{24}|(http://(?:127\.0\.0\.1|localhost):)[0-9]+|(cursor=)[\w%-]+|(pass=)[\w.-]+`)
	styleRE    = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	idRE       = regexp.MustCompile(` id="([^"]+)"`)
)

// golden compares a page with the one that was looked at.
func golden(t *testing.T, name string, res reply, status int) {
	t.Helper()
	if res.StatusCode != status {
		t.Errorf("%s: status %d, want %d", name, res.StatusCode, status)
	}
	checkPage(t, res)
	got := changingRE.ReplaceAllString(styleRE.ReplaceAllString(res.body, "<style>…</style>"), "$1$2$3$4$5…")
	file := filepath.Join("testdata", name+".html")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s is not as it was (-update writes it): %v\n%s", name, err, got)
	}
}

// checkPage holds what every page promises: nothing runs, nothing is kept, it is
// not framed, its style is the one that its policy names, every field has a
// label, every head of a table says what of, no two things have one id.
func checkPage(t *testing.T, res reply) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	policy, style := res.Header.Get("Content-Security-Policy"), styleRE.FindStringSubmatch(res.body)
	if style == nil {
		t.Fatalf("no style: %s", res.body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if policy != want {
		t.Errorf("the policy is %q", policy)
	}
	if strings.Contains(strings.ToLower(res.body), "<script") || strings.Contains(res.body, "ZgotmplZ") {
		t.Error("something runs, or was not rendered")
	}
	ids := map[string]bool{}
	for _, id := range idRE.FindAllStringSubmatch(res.body, -1) {
		if ids[id[1]] {
			t.Errorf("two things have the id %s", id[1])
		}
		ids[id[1]] = true
	}
	for _, in := range inputRE.FindAllString(res.body, -1) {
		id := idRE.FindStringSubmatch(in)
		if !strings.Contains(in, `type="hidden"`) && (id == nil || !strings.Contains(res.body, `<label for="`+id[1]+`"`)) {
			t.Errorf("a field has no label: %s", in)
		}
	}
	if strings.Contains(res.body, "<table>") && (!strings.Contains(res.body, "<caption") || strings.Count(res.body, "<th>") > 0) {
		t.Error("a table does not say what it is")
	}
}

func TestTheScreens(t *testing.T) {
	w := newWorld(t)
	w.session(1, acme, "ada@acme.test")
	w.session(2, acme, "bob@acme.test")
	w.session(3, opsOrg, "aud@ops.test")
	w.pass(3 * time.Hour)
	golden(t, "sign-in", w.browser().get("/"), 200)
	bad := w.browser()
	f := fields(bad.get("/").body, "/sign-in/token")
	f.Set("token", "bgt_unknown")
	golden(t, "sign-in-refused", bad.post("/sign-in/token", f), 401)
	b := w.byToken(w.operator)
	golden(t, "home", b.get("/"), 200)
	golden(t, "sessions", b.get("/sessions"), 200)
	golden(t, "sessions-filtered", b.get("/sessions?user=ada@acme.test"), 200)
	golden(t, "sessions-none", b.get("/sessions?user=nobody@acme.test"), 200)
	confirm := b.get("/sessions/end-many?org=" + acme)
	golden(t, "confirm", confirm, 200)
	golden(t, "confirm-none", b.get("/sessions/end-many?org=org_NONE"), 200)
	golden(t, "confirm-nothing", b.get("/sessions/end-many"), 400)
	golden(t, "done", b.post("/sessions/end-many", fields(confirm.body, "/sessions/end-many")), 200)
	golden(t, "audit", b.get("/audit"), 200)
	golden(t, "not-allowed", w.byToken(w.token("narrow", "audit.list")).get("/sessions"), 403)
	_, landed := w.bySSO("aud@ops.test")
	golden(t, "landed", landed, 200)
	_, refused := w.bySSO("new@ops.test")
	golden(t, "no-role", refused, 403)
	_, secret, err := w.tokens.CreateBreakGlass(t.Context(), "fire", 0)
	golden(t, "break-glass", w.byToken(must(secret, err)(t)).get("/"), 200)
	golden(t, "not-ready", newWorld(t, func(o *console.Options) {
		o.Server = func(context.Context) console.Server { return console.Server{NotReady: "the store does not answer"} }
	}).readHome(), 200)
}

func (w *world) readHome() reply { return w.byToken(w.operator).get("/") }

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'` + "\u202e\u2066txt.exe\u0000\n{{.}}"

func TestNamesThatOthersChoseAreText(t *testing.T) {
	w := newWorld(t)
	w.settled(w.dir.PutOrganization(context.Background(), directory.Organization{ID: acme, Slug: "acme", Name: hostile}))
	id := fmt.Sprintf("session_%032x", 1)
	w.settled(w.store.Update(context.Background(), func(tx store.Tx) error {
		return tx.Put("sso/session/"+id, w.record(acme, hostile+strings.Repeat("x", 5000)+"@acme.test"))
	}))
	act := audit.Act{Actor: engine.Actor{Kind: hostile, ID: hostile}, Action: hostile, Resource: engine.Resource{Type: hostile, ID: hostile, OrganizationID: hostile}, RemoteIP: hostile,
		Request: map[string]any{hostile: strings.Repeat(hostile, 5000)}}
	if err := w.audit.Record(t.Context(), act, audit.Outcome{Result: hostile, Detail: hostile, Before: hostile, After: []any{hostile}}); err != nil {
		t.Fatal(err)
	}
	name := w.token(hostile[:60], "operator")
	b := w.byToken(name)
	golden(t, "hostile-sessions", b.get("/sessions"), 200)
	golden(t, "hostile-filter", b.get("/sessions?"+url.Values{"user": {hostile}, "org": {hostile}, "x": {hostile}}.Encode()), 200)
	golden(t, "hostile-confirm", b.get("/sessions/end-many?org="+acme), 200)
	golden(t, "hostile-audit", b.get("/audit?action="+url.QueryEscape(hostile)), 200)
	for _, at := range []string{"/sessions", "/sessions/end-many?org=" + acme, "/audit", "/audit?actor=" + url.QueryEscape(hostile), "/audit?actor=x", "/sessions?cursor=" + url.QueryEscape(hostile), "/audit?cursor=" + url.QueryEscape(hostile), "/"} {
		res := b.get(at)
		checkPage(t, res)
		for _, bad := range []string{"<img", "\u202e", "\u0000"} {
			// What somebody searches for stands in its field as they wrote it.
			if strings.Contains(inputRE.ReplaceAllString(res.body, ""), bad) {
				t.Errorf("%s holds %q", at, bad)
			}
		}
	}
}

func TestEndingSaysHowMany(t *testing.T) {
	for name, tc := range map[string]struct {
		query, heading, says string
		left                 []int
	}{
		"a person":                      {"user=ada@acme.test", "End 2 sessions?", "2 sessions were ended: of “\u2068ada@acme.test\u2069”.", []int{3, 4}},
		"a person, whatever the case":   {"user=ADA@acme.test", "End 2 sessions?", "2 sessions were ended", []int{3, 4}},
		"a person in an organization":   {"user=prof_ada_acme_test&org=" + acme, "End 2 sessions?", "2 sessions were ended", []int{3, 4}},
		"an organization":               {"org=" + acme, "End 3 sessions?", "3 sessions were ended: of everybody in", []int{4}},
		"everybody, one's own included": {"all=yes", "End 5 sessions?", "5 sessions were ended: of everybody in every organization.", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ids := map[int]string{}
			for i, who := range [][2]string{{acme, "ada@acme.test"}, {acme, "ada@acme.test"}, {acme, "bob@acme.test"}, {opsOrg, "aud@ops.test"}} {
				ids[i+1] = w.session(i+1, who[0], who[1])
			}
			b, _ := w.bySSO("olga@ops.test")
			page := b.get("/sessions/end-many?" + tc.query)
			own := strings.Contains(page.body, "Your own is among them")
			if !strings.Contains(page.body, tc.heading) || own != (tc.left == nil) {
				t.Errorf("asked: %s", page.body)
			}
			res := b.post("/sessions/end-many", fields(page.body, "/sessions/end-many"))
			if res.StatusCode != http.StatusOK || !strings.Contains(res.body, tc.says) || strings.Contains(res.body, "you are signed out") != own {
				t.Errorf("answered %d %s", res.StatusCode, res.body)
			}
			for i, id := range ids {
				if w.lives(id) != slices.Contains(tc.left, i) {
					t.Errorf("session %d lives: %v", i, w.lives(id))
				}
			}
			if b.seated() == own {
				t.Error("signed in, or not, against what was said")
			}
		})
	}
}

func TestTenThousandSessionsMakeASmallPageSoon(t *testing.T) {
	w := newWorld(t)
	for from := 0; from < 10_000; from += 100 {
		w.settled(w.store.Update(context.Background(), func(tx store.Tx) error {
			for i := from; i < from+100; i++ {
				if err := tx.Put(fmt.Sprintf("sso/session/session_%032x", i), w.record(acme, fmt.Sprintf("user%05d@acme.test", i))); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	b := w.byToken(w.operator)
	seen, pages := map[string]bool{}, 0
	emails := regexp.MustCompile(`<bdi>(user\d{5}@acme\.test)</bdi>`)
	next := "/sessions"
	for next != "" && pages < 4 {
		start := time.Now()
		res := b.get(next)
		t.Logf("%s: %d bytes in %v", next, len(res.body), time.Since(start))
		if len(res.body) > 96<<10 || time.Since(start) > 5*time.Second {
			t.Errorf("%d bytes in %v", len(res.body), time.Since(start))
		}
		if !strings.Contains(res.body, "10,000 sessions") {
			t.Error("how many is not said")
		}
		for _, m := range emails.FindAllStringSubmatch(res.body, -1) {
			if seen[m[1]] {
				t.Errorf("%s is on two pages", m[1])
			}
			seen[m[1]] = true
		}
		pages++
		next = ""
		if m := regexp.MustCompile(`<a href="([^"]*)" rel="next">`).FindStringSubmatch(res.body); m != nil {
			next = m[1]
		}
	}
	if len(seen) != 200 {
		t.Errorf("four pages show %d", len(seen))
	}
	start := time.Now()
	page := b.get("/sessions/end-many?all=yes")
	if !strings.Contains(page.body, "End 10,000 sessions?") || !strings.Contains(page.body, "9,990 more sessions") || len(page.body) > 32<<10 {
		t.Error(page.body)
	}
	t.Logf("the question: %d bytes in %v", len(page.body), time.Since(start))
	start = time.Now()
	res := b.post("/sessions/end-many", fields(page.body, "/sessions/end-many"))
	t.Logf("ending them: %v", time.Since(start))
	if !strings.Contains(res.body, "10,000 sessions were ended") || w.sessions.Count() != 0 {
		t.Errorf("%d left: %s", w.sessions.Count(), res.body)
	}
}

func TestTheAuditTurnsItsPages(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		act := audit.Act{Actor: engine.Actor{Kind: "token", ID: "t"}, Action: "apps.update", Resource: engine.Resource{Type: "app", ID: fmt.Sprint("app", i)}}
		if err := w.audit.Record(t.Context(), act, audit.Outcome{Result: audit.Done}); err != nil {
			t.Fatal(err)
		}
	}
	b := w.byToken(w.operator)
	first := b.get("/audit?action=apps.update").body
	m := regexp.MustCompile(`<a href="([^"]*)" rel="next">`).FindStringSubmatch(first)
	if m == nil || strings.Count(first, "<tr>") != 51 || !strings.Contains(first, "app59<") {
		t.Fatalf("%d rows", strings.Count(first, "<tr>"))
	}
	second := b.get(strings.ReplaceAll(m[1], "&amp;", "&")).body
	if strings.Count(second, "<tr>") != 11 || !strings.Contains(second, "app0<") || strings.Contains(second, `rel="next"`) {
		t.Errorf("%d rows", strings.Count(second, "<tr>"))
	}
}

func TestTheAuditSaysWhereItWasPruned(t *testing.T) {
	w := newWorld(t)
	record := func() {
		act := audit.Act{Actor: engine.Actor{Kind: "token", ID: "t"}, Action: "apps.update", Resource: engine.Resource{Type: "app", ID: "crm"}}
		if err := w.audit.Record(t.Context(), act, audit.Outcome{Result: audit.Done}); err != nil {
			t.Fatal(err)
		}
	}
	record()
	record()
	b := w.byToken(w.operator)
	if page := b.get("/audit").body; strings.Contains(page, "no longer here") {
		t.Error("nothing was pruned yet")
	}
	w.pass(3 * 24 * time.Hour)
	if n, err := w.audit.Prune(t.Context(), 24*time.Hour); n < 2 || err != nil {
		t.Fatal(n, err)
	}
	record()
	b = w.byToken(w.operator)
	page := b.get("/audit")
	checkPage(t, page)
	if !regexp.MustCompile(`Entry \d+ and those before it are no longer here`).MatchString(page.body) || !strings.Contains(page.body, "Battery Gate itself") {
		t.Error(page.body)
	}
	if page := b.get("/audit?action=apps.update").body; strings.Contains(page, "no longer here") {
		t.Error("what a filter left out was called pruned")
	}
}
