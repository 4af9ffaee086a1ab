package console_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What no client of ours can show: that a browser, with its own mind about
// SameSite, redirects and policies, comes back over two other sites signed in.
func TestARealBrowserComesBackSignedIn(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no chromium, and nothing may be skipped here; run deploy/tools.sh")
		}
		t.Skip("==== NOT TESTED: a real browser; run deploy/tools.sh ====")
	}
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	dom, err := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=10000", "--dump-dom", w.admin+"/sign-in/sso").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Who you are", "olga@ops.test", "battery:operator", `action="/sign-out"`} {
		if !strings.Contains(string(dom), want) {
			t.Errorf("the browser does not show %q:\n%s", want, dom)
		}
	}
}
