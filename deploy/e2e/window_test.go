package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// hop is one document that a tab asked for; redirects are hops of their own.
type hop struct {
	URL    string
	Status int64 // 0: not answered, or shown from memory
}

// tab is one tab of a person's window.
type tab struct {
	t    *testing.T
	ctx  context.Context
	name string // of its screenshots

	mu    sync.Mutex
	trail []hop
	shots int
}

// newWindow opens a window for somebody with no cookies at all.
func newWindow(t *testing.T, name string) *tab {
	t.Helper()
	return openTab(t, browser(t), name, chromedp.WithNewBrowserContext())
}

// another opens another tab in the same window.
func (b *tab) another(name string) *tab {
	b.t.Helper()
	return openTab(b.t, b.ctx, name)
}

func openTab(t *testing.T, parent context.Context, name string, opts ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, name: strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(name)}
	if err := chromedp.Listen(ctx, b.follow); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return b
}

// follow keeps the trail.
func (b *tab) follow(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if ev.Type != network.ResourceTypeDocument {
			return
		}
		if ev.RedirectResponse != nil {
			b.answered(ev.RedirectResponse)
		}
		b.trail = append(b.trail, hop{URL: ev.Request.URL + ev.Request.URLFragment})
	case *network.EventResponseReceived:
		if ev.Type == network.ResourceTypeDocument {
			b.answered(ev.Response)
		}
	}
}

func (b *tab) answered(r *network.Response) {
	for i := len(b.trail) - 1; i >= 0; i-- {
		if at, _, _ := strings.Cut(b.trail[i].URL, "#"); at == r.URL && b.trail[i].Status == 0 {
			b.trail[i].Status = r.Status
			return
		}
	}
}

// since is the trail from a mark on; mark 0 is all of it.
func (b *tab) since(mark int) []hop {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]hop(nil), b.trail[mark:]...)
}

func (b *tab) mark() int { return len(b.since(0)) }

// went reports whether the way since a mark led to an address below prefix.
func (b *tab) went(mark int, prefix string) bool {
	for _, h := range b.since(mark) {
		if strings.HasPrefix(h.URL, prefix) {
			return true
		}
	}
	return false
}

// status is what the last document was answered with.
func (b *tab) status() int64 {
	all := b.since(0)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Status
}

// view is what a person sees.
type view struct {
	URL   string `json:"url"`
	Text  string `json:"text"`
	State string `json:"state"`
}

func (b *tab) see() (view, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[view](
		`({url: location.href, text: document.body ? document.body.innerText : "", state: document.readyState})`))
}

// fail ends the test and tells what is on the page and how it came there.
func (b *tab) fail(format string, args ...any) {
	b.t.Helper()
	v, err := b.see()
	var way strings.Builder
	for _, h := range b.since(0) {
		fmt.Fprintf(&way, "\n  %d %s", h.Status, withoutSecrets(h.URL))
	}
	if err == nil {
		_ = b.shoot("failed")
	}
	b.t.Fatalf("%s\n--- %s is at %s (%v):\n%s\n--- its way:%s", fmt.Sprintf(format, args...), b.name, withoutSecrets(v.URL), err, v.Text, way.String())
}

// withoutSecrets shortens long values in a query: nobody reads them.
func withoutSecrets(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	q := u.Query()
	for _, all := range q {
		for i, v := range all {
			if len(v) > 120 {
				all[i] = v[:20] + "…"
			}
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// do runs a step that must not take long.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience/2)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail("%s: %v", what, err)
	}
}

// visit opens an address as if it was typed, and waits for the page it leads to.
func (b *tab) visit(address string) {
	b.t.Helper()
	b.do("open "+address, chromedp.Navigate(address))
}

// press clicks the link or button that says label, and waits for the page it
// leads to.
func (b *tab) press(label string) {
	b.t.Helper()
	b.clickOn(`//*[self::a or self::button][contains(normalize-space(.), "` + label + `")]`)
}

// click follows a link to an address, on the page that is open: where it comes
// from is said to whom it asks.
func (b *tab) click(address string) {
	b.t.Helper()
	b.script("follow a link to "+address, fmt.Sprintf(`a.href = %q; a.click()`, address))
}

// submit sends a form from the page that is open; f is the form.
func (b *tab) submit(prepare string) {
	b.t.Helper()
	b.script("submit a form", prepare+`; f.submit()`)
}

// script does something with a link or form of its own that leads to another
// page, and waits for it.
func (b *tab) script(what, do string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience/2)
	defer cancel()
	step := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[any](`(() => { const a = document.createElement("a"), f = document.createElement("form");
			document.body.append(a, f); setTimeout(() => { `+do+` }, 0); return null })()`)(ctx, t)
		return err
	})
	if _, err := chromedp.RunResponse(ctx, step); err != nil {
		b.fail("%s: %v", what, err)
	}
}

// backTo picks the last page below an address from what the back button offers.
func (b *tab) backTo(prefix string) {
	b.t.Helper()
	entries, err := chromedp.Run(b.ctx, chromedp.NavigationEntries())
	if err != nil {
		b.fail("read the history: %v", err)
	}
	for i := entries.CurrentIndex - 1; i >= 0; i-- {
		if e := entries.Entries[i]; strings.HasPrefix(e.URL, prefix) {
			b.do("go back", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: e.ID})
				return err
			}))
			return
		}
	}
	b.fail("the history has no page below %s", prefix)
}

// fill types into a field.
func (b *tab) fill(css, text string) {
	b.t.Helper()
	b.do("type into "+css, chromedp.SendKeys(chromedp.CSS(css), text))
}

func (b *tab) clickOn(xpath string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience/2)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(xpath)); err != nil {
		b.fail("click on %s: %v", xpath, err)
	}
}

// at waits until the tab shows a whole page below an address and returns what it
// says. With a label a screenshot is kept.
func (b *tab) at(prefix, label string) view {
	b.t.Helper()
	v, rests, hops := view{}, time.Now(), b.mark()
	for ; ; time.Sleep(20 * time.Millisecond) {
		got, err := b.see() // between two pages there is nothing to ask; then this is an error
		if err == nil && got.State == "complete" && strings.HasPrefix(got.URL, prefix) {
			v = got
			break
		}
		if err != nil || got.State != "complete" || got.URL != v.URL || b.mark() != hops {
			v, rests, hops = got, time.Now(), b.mark()
		}
		if time.Since(rests) > patience/6 {
			b.fail("the browser does not come to %s", prefix)
		}
	}
	if label != "" {
		if err := b.shoot(label); err != nil {
			b.t.Fatal(err)
		}
	}
	return v
}

func (b *tab) shoot(label string) error {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return fmt.Errorf("take a screenshot: %w", err)
	}
	dir := filepath.Join(shared.root, "deploy", "e2e", "artifacts")
	b.shots++
	name := fmt.Sprintf("%s-%d-%s.png", b.name, b.shots, label)
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), png, 0o644))
}

// eval runs a script in the page; a promise is awaited.
func eval[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience/2)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail("run %s: %v", script, err)
	}
	return v
}

// cookies is what the window would send to an address, and more about it.
func (b *tab) cookies(address string) map[string]*network.Cookie {
	b.t.Helper()
	res, err := chromedp.Run(b.ctx, func(ctx context.Context, t *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	})
	if err != nil {
		b.fail("read the cookies for %s: %v", address, err)
	}
	out := map[string]*network.Cookie{}
	for _, c := range res.Cookies {
		if out[c.Name] != nil {
			b.fail("the cookie %s is there twice for %s", c.Name, address)
		}
		out[c.Name] = c
	}
	return out
}

// plant writes a cookie into the window, as somebody could who sat there before.
func (b *tab) plant(address string, c *network.Cookie) {
	b.t.Helper()
	b.do("plant "+c.Name, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetCookie, network.SetCookieParams{
			Name: c.Name, Value: c.Value, URL: address, Path: c.Path, Secure: &c.Secure, HTTPOnly: &c.HTTPOnly, SameSite: c.SameSite,
		})
		return err
	}))
}

// echo is what the app on the page was asked.
func (b *tab) echo(v view) echo {
	b.t.Helper()
	var e echo
	from, to := strings.Index(v.Text, "{"), strings.LastIndex(v.Text, "}")
	if from < 0 || to < from || json.Unmarshal([]byte(v.Text[from:to+1]), &e) != nil || e.Method == "" {
		b.fail("this is not the app's page")
	}
	return e
}
