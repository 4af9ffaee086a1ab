package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// cli runs a verb as the operator.
func (d *demo) cli(args ...string) (string, error) {
	root := newRoot()
	var out bytes.Buffer
	root.SetArgs(append(args, "--admin-url", d.AdminURL, "--token", d.AdminToken))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(d.t.Context())
	return out.String(), err
}

// Each edit reads the whole table, changes a row and writes the whole table: of
// two at once, one used to be lost, and a role that was just taken away came back.
func TestEditsAtOnceAreAllThereAtTheEnd(t *testing.T) {
	d := startDemo(t, "--catch-up=false")
	const editors = 10
	at := func(verb func(i int) []string) {
		t.Helper()
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i := range editors {
			all.Go(func() {
				<-begin
				if out, err := d.cli(verb(i)...); err != nil {
					t.Errorf("%v: %v\n%s", verb(i), err, out)
				}
			})
		}
		close(begin)
		all.Wait()
	}
	group := func(i int) string { return fmt.Sprintf("Group %d", i) }
	at(func(i int) []string {
		return []string{"roles", "map", "--org", acme, "--group-name", group(i), "--role", fmt.Sprintf("role-%d", i)}
	})
	list := func() string { return d.api("GET", "organizations/"+acme+"/role-mappings", "").body }
	for i := range editors {
		if got := list(); !strings.Contains(got, fmt.Sprintf(`"roles":["role-%d"]`, i)) {
			t.Errorf("the mapping of %s was lost: %s", group(i), got)
		}
	}
	// Half take their role away, half give another one.
	at(func(i int) []string {
		if i%2 == 0 {
			return []string{"roles", "unmap", group(i), "--org", acme}
		}
		return []string{"roles", "map", "--org", acme, "--group-name", group(i), "--role", fmt.Sprintf("other-%d", i)}
	})
	for i := range editors {
		got := list()
		if strings.Contains(got, fmt.Sprintf(`"role-%d"`, i)) || strings.Contains(got, fmt.Sprintf(`"other-%d"`, i)) != (i%2 == 1) {
			t.Errorf("%s: %s", group(i), got)
		}
	}
	// Parts of one app.
	parts := [][]string{{"--allowed-role", "editor"}, {"--label", "tier=gold"}, {"--max-age", "1h"}, {"--identity", "groups"}, {"--path", "every-reading"}, {"--cors-preflight"}}
	at(func(i int) []string { return append([]string{"apps", "update", "crm.acme"}, parts[i%len(parts)]...) })
	app := d.api("GET", "apps/crm.acme", "").body
	for _, part := range []string{`"allowed_roles":["editor"]`, `"tier":"gold"`, `"max_age_seconds":3600`, `"identity":["groups"]`, `"path":"every-reading"`, `"cors_preflight":true`} {
		if !strings.Contains(app, part) {
			t.Errorf("%s was lost: %s", part, app)
		}
	}
}

// An edit that could not be compared is not made.
func TestAnEditNeedsSomethingToCompareBy(t *testing.T) {
	for _, tag := range []string{"", `W/"weak"`} {
		puts := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				puts++
			}
			if tag != "" {
				w.Header().Set("ETag", tag)
			}
			_, _ = w.Write([]byte(`{"mappings":[]}`))
		}))
		d := &demo{t: t, readyFile: readyFile{AdminURL: s.URL, AdminToken: "bgt_x"}}
		out, err := d.cli("roles", "map", "--org", acme, "--group-name", "G", "--role", "member")
		if err == nil || !strings.Contains(err.Error(), "ETag") || puts != 0 {
			t.Errorf("%q: %v, %d writes\n%s", tag, err, puts, out)
		}
		s.Close()
	}
}
