package config_test

import (
	"os"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/config"
)

func TestWhoITAdminsAreCannotReachBeyondTheirOrganization(t *testing.T) {
	for name, test := range map[string]struct{ yaml, fault string }{
		"an operators' role":             {"it_admins: {roles: [\"battery:operator\"]}", `"battery:operator" is an operators' role`},
		"granting an operators' role":    {"it_admins: {grantable_roles: [\"battery:auditor\"]}", `"battery:auditor" is an operators' role`},
		"no role":                        {"it_admins: {roles: [\"IT Admin\"]}", `"IT Admin" is not a role`},
		"an empty role":                  {"it_admins: {roles: [\"\"]}", `"" is not a role`},
		"a role that makes more of them": {"it_admins: {roles: [boss], grantable_roles: [editor, boss]}", "they could make more of themselves"},
		"a default role granted":         {"it_admins: {grantable_roles: [it-admin]}", "they could make more of themselves"},
	} {
		t.Run(name, func(t *testing.T) {
			path, text := valid(t)
			if err := os.WriteFile(path, []byte(text+test.yaml+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := config.Load(path, nil, nil)
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("Load = %v; want a fault with %q", err, test.fault)
			}
		})
	}
}

func TestPortalLinksLeadToNamedHostsAlone(t *testing.T) {
	path, _ := valid(t)
	for _, h := range []string{"*.workos.com", "https://setup.workos.com", "a@b"} {
		if _, err := config.Load(path, []string{"BATTERY_WORKOS_PORTAL_HOSTS=" + h}, nil); err == nil || !strings.Contains(err.Error(), "workos.portal_hosts") {
			t.Errorf("portal_hosts %q: %v; want a fault", h, err)
		}
	}
	c, err := config.Load(path, nil, nil)
	if err != nil || len(c.WorkOS.PortalHosts) != 1 || c.WorkOS.PortalHosts[0] != "setup.workos.com" {
		t.Errorf("default portal hosts = %v, %v", c, err)
	}
}
