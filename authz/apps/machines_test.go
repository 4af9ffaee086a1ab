package apps_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
)

func withMachines(m authz.MachineAccess) authz.App {
	a := app("crm.acme", "org_acme", "crm.acme.battery.localhost")
	a.Machines = m
	return a
}

func TestMachineAccessIsKeptAndServed(t *testing.T) {
	st := tempStore(t)
	r := registry(t, st, options())
	create(t, r, withMachines(authz.MachineAccess{
		Audience: "https://crm.acme.test", Issuers: []string{"https://b.test/", "https://a.test", "https://b.test/"}, ServiceTokens: true,
	}))
	create(t, r, app("wiki.acme", "org_acme", "wiki.acme.battery.localhost"))

	again := registry(t, st, options()) // another start, from the store alone
	got, ok := again.View().ByID("crm.acme")
	if !ok {
		t.Fatal("the app is not served")
	}
	equal(t, "machines", got.Machines, authz.MachineAccess{
		Audience: "https://crm.acme.test", Issuers: []string{"https://a.test", "https://b.test/"}, ServiceTokens: true,
	})
	if !got.TakesMachines() {
		t.Error("the app opted in and does not take machines")
	}
	wiki, _ := again.View().ByID("wiki.acme")
	if wiki.TakesMachines() {
		t.Error("an app that did not opt in takes machines")
	}
	if text, _ := json.Marshal(wiki); strings.Contains(string(text), "machines") {
		t.Errorf("an app without machines says something about them: %s", text)
	}
	changed := withMachines(authz.MachineAccess{})
	if _, _, err := again.Replace(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	load(t, st, again)
	if got, _ := again.View().ByID("crm.acme"); got.TakesMachines() {
		t.Error("opting out does not last")
	}
}

func TestMachineAccessValidation(t *testing.T) {
	many := make([]string, 17)
	for i := range many {
		many[i] = "https://issuer" + string(rune('a'+i)) + ".test"
	}
	for name, c := range map[string]struct {
		in     authz.MachineAccess
		fields string
	}{
		"issuers without an audience":   {authz.MachineAccess{Issuers: []string{"https://a.test"}}, "machines.audience"},
		"an audience without issuers":   {authz.MachineAccess{Audience: "x"}, "machines.issuers"},
		"audience with a space":         {authz.MachineAccess{Audience: "a b", Issuers: []string{"https://a.test"}}, "machines.audience"},
		"audience beyond its limit":     {authz.MachineAccess{Audience: strings.Repeat("a", 513), Issuers: []string{"https://a.test"}}, "machines.audience"},
		"plain http":                    {authz.MachineAccess{Audience: "x", Issuers: []string{"http://a.test"}}, "machines.issuers[0]"},
		"plain http on a trap":          {authz.MachineAccess{Audience: "x", Issuers: []string{"http://localhost.evil.test"}}, "machines.issuers[0]"},
		"no URL":                        {authz.MachineAccess{Audience: "x", Issuers: []string{"https://ok.test", "accounts"}}, "machines.issuers[1]"},
		"user name":                     {authz.MachineAccess{Audience: "x", Issuers: []string{"https://a@b.test"}}, "machines.issuers[0]"},
		"fragment":                      {authz.MachineAccess{Audience: "x", Issuers: []string{"https://b.test/#x"}}, "machines.issuers[0]"},
		"empty issuer":                  {authz.MachineAccess{Audience: "x", Issuers: []string{""}}, "machines.issuers[0]"},
		"too many issuers":              {authz.MachineAccess{Audience: "x", Issuers: many}, "machines.issuers"},
		"service tokens alone are fine": {authz.MachineAccess{ServiceTokens: true}, ""},
		"loopback over http is fine":    {authz.MachineAccess{Audience: "x", Issuers: []string{"http://127.0.0.1:9000/iss"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := registry(t, tempStore(t), options())
			_, _, err := r.Create(t.Context(), withMachines(c.in))
			var fields []string
			if v := (*apps.ValidationError)(nil); errors.As(err, &v) {
				for _, f := range v.Faults {
					fields = append(fields, f.Field)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(slices.Compact(fields), " "); got != c.fields {
				t.Errorf("faults at %q, want %q (%v)", got, c.fields, err)
			}
		})
	}
}

// A record that an older version would read must not be taken for an app without
// restrictions: unknown members leave the app out.
func TestUnknownMachineMembersLeaveTheAppOut(t *testing.T) {
	e := entry("apps/app/crm.acme", `{"v":1,"id":"crm.acme","organization_id":"org_acme","hosts":["crm.acme.battery.localhost"],"allowed_roles":[],"public":false,"path":"strict","identity":[],"labels":{},"machines":{"service_tokens":true,"max_lifetime":3600}}`)
	r := registry(t, tempStore(t), options())
	r.Apply(change(e))
	equal(t, "served", served(r.View(), "crm.acme.battery.localhost"), "")
}
