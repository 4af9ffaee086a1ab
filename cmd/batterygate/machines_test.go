package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"battery.app/gate/policies"
)

func TestMachinesOpenAppsThatOptIn(t *testing.T) {
	d := startDemo(t, "--catch-up=false")
	ask := func(app, bearer string) answer {
		return d.do(d.http, "GET", d.app(app, "/jobs"), "", "Authorization", bearer, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	}
	var made struct{ ID, Token string }
	a := d.api("POST", "organizations/"+acme+"/service-tokens", `{"name":"nightly","apps":["crm.acme"],"roles":["editor"],"ttl":"1h"}`)
	a.json(t, &made)
	if a.status != 201 || !strings.HasPrefix(made.Token, "bgs_") {
		t.Fatalf("create: %d %s", a.status, a.body)
	}
	if got := ask("crm.acme", "Bearer "+made.Token).status; got != 302 {
		t.Errorf("an app that did not opt in: %d", got)
	}
	put := func(app, machines string) {
		t.Helper()
		var body map[string]any
		d.api("GET", "apps/"+app, "").json(t, &body)
		body["machines"] = json.RawMessage(machines)
		raw, _ := json.Marshal(body)
		if a := d.api("PUT", "apps/"+app, string(raw)); a.status != 200 || !strings.Contains(a.body, "service_tokens") {
			t.Fatalf("opt in: %d %s", a.status, a.body)
		}
	}
	put("crm.acme", `{"service_tokens":true}`)
	put("wiki.acme", `{"service_tokens":true}`)

	t.Run("a good token opens what it names, and no more", func(t *testing.T) {
		a := ask("crm.acme", "Bearer "+made.Token)
		if a.status != 200 || !strings.Contains(a.body, made.ID) || !strings.Contains(a.body, "editor") {
			t.Errorf("crm: %d %s", a.status, a.body)
		}
		if a := ask("wiki.acme", "Bearer "+made.Token); a.status == 200 {
			t.Error("the token opened an app it does not name")
		}
		// Pomerium CVE-2024-47616: a service's token was good for the admin's API.
		if a := d.do(d.http, "GET", d.AdminURL+"/api/v1/organizations", "", "Authorization", "Bearer "+made.Token); a.status != 401 {
			t.Errorf("the admin API: %d %s", a.status, a.body)
		}
	})
	t.Run("a bad one is 401 JSON, never a login page, whoever is signed in", func(t *testing.T) {
		ada := d.browse("ada@acme.test", "crm.acme")
		for _, bad := range []string{"Bearer bgs_wrong", "Bearer " + made.Token + "x", "Bearer " + d.AdminToken, "Basic YTpi", "Bearer"} {
			a := d.do(ada, "GET", d.app("crm.acme", "/"), "", "Authorization", bad, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
			if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%q: %d %q %s", bad, a.status, a.header.Get("WWW-Authenticate"), a.body)
			}
		}
	})
	t.Run("it is recorded without its secret, and ends at once", func(t *testing.T) {
		list := d.api("GET", "decisions?app=crm.acme&user="+made.ID, "").body
		if !strings.Contains(list, `"result":"allow"`) || strings.Contains(list, made.Token) {
			t.Errorf("records: %s", list)
		}
		if a := d.api("GET", "organizations/"+acme+"/service-tokens", ""); strings.Contains(a.body, made.Token) || !strings.Contains(a.body, made.ID) || strings.Contains(a.body, `"last_used":null`) {
			t.Errorf("list: %s", a.body)
		}
		if a := d.api("DELETE", "organizations/"+acme+"/service-tokens/"+made.ID, ""); a.status != 204 {
			t.Fatalf("revoke: %d", a.status)
		}
		if got := ask("crm.acme", "Bearer "+made.Token).status; got != 401 {
			t.Errorf("the first request after the revocation: %d", got)
		}
	})
	t.Run("what could never work is refused", func(t *testing.T) {
		for _, body := range []string{
			`{"apps":["desk.globex"],"ttl":"1h"}`, `{"apps":[],"ttl":"1h"}`, `{"apps":["crm.acme"]}`, `{"apps":["crm.acme"],"ttl":"99999h"}`,
			`{"apps":["crm.acme"],"ttl":"1h","roles":["battery:operator"]}`,
		} {
			if a := d.api("POST", "organizations/"+acme+"/service-tokens", body); a.status != 422 {
				t.Errorf("%s: %d %s", body, a.status, a.body)
			}
		}
		var body map[string]any
		d.api("GET", "apps/status.acme", "").json(t, &body)
		body["machines"] = json.RawMessage(`{"audience":"status","issuers":["https://nobody.test"]}`)
		raw, _ := json.Marshal(body)
		if a := d.api("PUT", "apps/status.acme", string(raw)); a.status != 422 {
			t.Errorf("an issuer that is not configured: %d %s", a.status, a.body)
		}
	})
}

func TestAuthZENAnswersOverThePolicy(t *testing.T) {
	dir := t.TempDir()
	for _, from := range []string{"authz", "examples/authzen-todo"} {
		files, err := fs.ReadDir(policies.FS, from)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := fs.ReadFile(policies.FS, from+"/"+f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(from, "/", "_")+"_"+f.Name()), raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := startDemo(t, "--catch-up=false", "--policy", "dir:"+dir)
	raw, err := os.ReadFile("../../authz/authzen/testdata/todo-decisions.json")
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Evaluation []struct {
			Request  json.RawMessage
			Expected bool
		}
	}
	if err := json.Unmarshal(raw, &suite); err != nil || len(suite.Evaluation) < 30 {
		t.Fatalf("%d decisions, %v", len(suite.Evaluation), err)
	}
	ask := func(token, body string) answer {
		return d.do(d.http, "POST", d.PublicURL+"/access/v1/evaluation", body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	for i, e := range suite.Evaluation {
		a := ask(d.AdminToken, string(e.Request))
		var got struct{ Decision bool }
		a.json(t, &got)
		if a.status != 200 || got.Decision != e.Expected {
			t.Errorf("%d: %d %s, want %v", i, a.status, a.body, e.Expected)
		}
	}
	var narrow struct{ Token string }
	d.api("POST", "tokens", `{"scopes":["apps.list"]}`).json(t, &narrow)
	for token, want := range map[string]int{"": 401, "bgt_wrong": 401, narrow.Token: 403} {
		if a := ask(token, string(suite.Evaluation[0].Request)); a.status != want {
			t.Errorf("token %.8q: %d, want %d", token, a.status, want)
		}
	}
	var bound struct{ Token string }
	d.api("POST", "tokens", `{"scopes":["authzen.evaluate"],"organization_id":"`+acme+`"}`).json(t, &bound)
	if a := ask(bound.Token, string(suite.Evaluation[0].Request)); a.status != 200 {
		t.Errorf("a token bound to an organization: %d %s", a.status, a.body)
	}
	if a := d.do(d.http, "GET", d.PublicURL+"/.well-known/authzen-configuration", ""); a.status != 200 || !strings.Contains(a.body, d.PublicURL+"/access/v1/evaluation") {
		t.Errorf("metadata: %d %s", a.status, a.body)
	}
}
