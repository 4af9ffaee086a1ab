package apps_test

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
)

// Whatever a host entry is: if it is taken, its app is found under exactly one
// name, which a URL parser reads as the same host and port, and taking the
// canonical entry again changes nothing.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"crm.example.com", "CRM.example.com:9000", "[::1]:9000", "127.0.0.1", "a.b.", "0x7f.1", "x@y", "a:b:c", "[0::1]", "xn--a", "*.a", "a..b", "[::1]]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		r, err := apps.New(nil, apps.Options{Scheme: "https", Configured: []authz.App{app("crm.acme", "org_acme", entry)}})
		if err != nil {
			return
		}
		a, ok := r.View().ByID("crm.acme")
		if !ok || len(a.Hosts) != 1 {
			t.Fatalf("%q: app %+v", entry, a)
		}
		host := a.Hosts[0]
		u, err := url.Parse("https://" + host + "/")
		if err != nil || u.Host != host || u.User != nil || u.Path != "/" {
			t.Fatalf("%q: a URL of %q is %+v, %v", entry, host, u, err)
		}
		name := u.Hostname()
		if ip := net.ParseIP(name); strings.Contains(name, ":") {
			name = "[" + name + "]"
		} else if ip != nil && !ip.IsLoopback() {
			t.Fatalf("%q: %s is an app's", entry, ip)
		}
		if got, ok := r.View().App(name); !ok || got != a || !a.HasOrigin("https", name, u.Port()) {
			t.Fatalf("%q: not found under %q port %q", entry, name, u.Port())
		}
		if strings.ToLower(host) != host || !strings.EqualFold(strings.TrimSuffix(host, ":"+u.Port()), name) {
			t.Fatalf("%q: %q is not canonical", entry, host)
		}
		again, err := apps.New(nil, apps.Options{Scheme: "https", Configured: []authz.App{app("crm.acme", "org_acme", host)}})
		if err != nil {
			t.Fatalf("%q: %q is refused: %v", entry, host, err)
		}
		if b, _ := again.View().ByID("crm.acme"); b == nil || b.Hosts[0] != host {
			t.Fatalf("%q became %q, then %+v", entry, host, b)
		}
	})
}
