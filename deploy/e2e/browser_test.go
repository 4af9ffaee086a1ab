package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// newBrowser starts a headless Chromium with a profile of its own.
func newBrowser(t *testing.T, chromium string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1100, 1500),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		// Nothing but this machine: a browser that calls home would hang or leak.
		chromedp.Flag("proxy-server", "direct://"), chromedp.Flag("host-resolver-rules", "MAP *.localhost 127.0.0.1"),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancelAlloc)
	tab, cancelTab := chromedp.NewContext(alloc)
	t.Cleanup(cancelTab)
	if _, err := chromedp.Run(tab, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start %s: %v", chromium, err)
	}
	t.Cleanup(func() { _ = chromedp.Cancel(tab) })
	return tab
}

// view is what a person sees.
type view struct {
	URL   string `json:"url"`
	Text  string `json:"text"`
	State string `json:"state"`
}

// look waits until the page at an address below prefix is there, keeps a
// screenshot of it and returns what it says.
func look(t *testing.T, tab context.Context, prefix, shot string) view {
	t.Helper()
	var v view
	eventually(t, "the browser comes to "+prefix, func() bool {
		// Between two pages there is nothing to ask; then this is an error.
		got, err := chromedp.Run(tab, chromedp.Evaluate[view](
			`({url: location.href, text: document.body ? document.body.innerText : "", state: document.readyState})`))
		if tab.Err() != nil {
			t.Fatalf("the browser is at %q, not below %q", v.URL, prefix)
		}
		if err == nil {
			v = got
		}
		return err == nil && v.State == "complete" && strings.HasPrefix(v.URL, prefix)
	})
	png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(shared.root, "deploy", "e2e", "artifacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, shot+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
	return v
}

// From the first click to the app's page, and to the page that says why not, in
// a real browser.
func TestInARealBrowser(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		chromium := tool(t, "chromium")
		target := w.url("crm.acme", "/deals/7?tab=notes")
		// choose picks a person on the login page of the stand-in.
		choose := func(tab context.Context, email, shot string) {
			if v := look(t, tab, w.WorkOSURL+"/sso/authorize", shot+"-1-login"); !strings.Contains(v.Text, email) {
				t.Fatalf("the login page does not offer %s:\n%s", email, v.Text)
			}
			person := `//*[self::a or self::button or self::label][contains(., "` + email + `")] | //input[@value="` + email + `"]`
			if _, err := chromedp.Run(tab, chromedp.Click(person)); err != nil {
				t.Fatalf("click on %s: %v", email, err)
			}
		}
		enter := func(email, shot string) context.Context {
			tab := newBrowser(t, chromium)
			if _, err := chromedp.Run(tab, chromedp.Navigate(target)); err != nil {
				t.Fatal(err)
			}
			choose(tab, email, shot)
			return tab
		}
		name := w.front.name

		v := look(t, enter("ada@acme.test", name+"-ada"), target, name+"-ada-2-app")
		for _, want := range []string{"X-Battery-User-Email", "ada@acme.test", "X-Battery-Roles", "editor,member", "/deals/7", "tab=notes"} {
			if !strings.Contains(v.Text, want) {
				t.Errorf("the app's page does not show %q:\n%s", want, v.Text)
			}
		}
		if v.URL != target {
			t.Errorf("ada landed on %s, not on %s", v.URL, target)
		}

		tab := enter("bob@acme.test", name+"-bob")
		v = look(t, tab, target, name+"-bob-2-denied")
		for _, want := range []string{"bob@acme.test", "role"} {
			if !strings.Contains(v.Text, want) {
				t.Errorf("the denial does not say %q:\n%s", want, v.Text)
			}
		}
		if strings.Contains(v.Text, "X-Battery-User-Email") {
			t.Error("bob sees the app's page")
		}

		// From there, with one click, to where somebody else can sign in.
		if _, err := chromedp.Run(tab, chromedp.Click(`//a[contains(., "somebody else")]`)); err != nil {
			t.Fatal(err)
		}
		choose(tab, "ada@acme.test", name+"-bob-3-somebody-else")
		if v = look(t, tab, target, name+"-bob-4-ada"); !strings.Contains(v.Text, "editor,member") || strings.Contains(v.Text, "bob@") {
			t.Errorf("after bob, ada does not see the app's page as ada:\n%s", v.Text)
		}
	})
}
