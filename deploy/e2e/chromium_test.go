package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// certificate is one TLS certificate, for every host name that tests serve over
// https. The browser is told of its key, so that for it nothing is amiss.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(shared.tmp, "tls.crt"), filepath.Join(shared.tmp, "tls.key")
	if _, err := os.Stat(cert); err == nil {
		return cert, key
	}
	selfSigned(t, cert, key, "auth."+openIDDomain, "*.acme."+openIDDomain, "localhost")
	return cert, key
}

// keyHash is the certificate's key as --ignore-certificate-errors-spki-list
// wants it.
func keyHash(t *testing.T) string {
	t.Helper()
	cert, _ := certificate(t)
	raw, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// browser is the one headless Chromium of all tests. People have a window, with
// cookies of its own, each.
func browser(t *testing.T) context.Context {
	t.Helper()
	shared.starting.Lock() // the fronts' tests run side by side
	defer shared.starting.Unlock()
	if shared.browser != nil {
		return shared.browser
	}
	chromium := tool(t, "chromium")
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(filepath.Join(shared.tmp, "chromium")), chromedp.WindowSize(1100, 1500),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("ignore-certificate-errors-spki-list", keyHash(t)),
		// Nothing but this machine: a browser that calls home would hang or leak.
		chromedp.Flag("proxy-server", "direct://"), chromedp.Flag("host-resolver-rules", "MAP *.localhost 127.0.0.1"),
	)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	if _, err := chromedp.Run(ctx, chromedp.Navigate("about:blank")); err != nil {
		cancel()
		stop()
		t.Fatalf("start %s: %v", chromium, err)
	}
	shared.browser = ctx
	shared.closeBrowser = func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		stop()
	}
	return ctx
}
