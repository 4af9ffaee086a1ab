package config_test

import (
	"os"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/config"
)

func TestTheConsolesAddressIsItsOwnAndSafe(t *testing.T) {
	path, text := valid(t)
	for name, tc := range map[string]struct{ url, fault string }{
		"https":                       {"https://gate.battery.app", ""},
		"https with a port":           {"https://gate.battery.app:8443", ""},
		"https with a slash":          {"https://gate.battery.app/", ""},
		"plain http on loopback":      {"http://localhost:9083", ""},
		"plain http elsewhere":        {"http://gate.battery.app", "plain http outside loopback"},
		"a path":                      {"https://gate.battery.app/console", "just scheme and host"},
		"a query":                     {"https://gate.battery.app?x=1", "just scheme and host"},
		"user info":                   {"https://a@gate.battery.app", "just scheme and host"},
		"no host":                     {"https://", "just scheme and host"},
		"another scheme":              {"ftp://gate.battery.app", "just scheme and host"},
		"the public URL's host":       {"https://AUTH.battery.app:8443", "must not share a host"},
		"the host of one of the apps": {"https://crm.acme.battery.app", "must not share a host"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(path, []string{"BATTERY_LISTEN_ADMIN_URL=" + tc.url}, nil)
			switch {
			case tc.fault == "" && (err != nil || c.AdminURL() == nil || c.AdminURL().String() != strings.TrimSuffix(tc.url, "/")):
				t.Errorf("%v", err)
			case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
				t.Errorf("%v; want a fault with %q", err, tc.fault)
			}
		})
	}
	if c, err := config.Load(path, nil, nil); err != nil || c.AdminURL() != nil {
		t.Errorf("by default: %v", err)
	}
}
