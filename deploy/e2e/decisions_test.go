package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// decision is a row of the decision log.
type decision struct {
	ID      string
	Time    time.Time
	Result  string
	Status  int
	Reasons []struct{ Code, Message string }
	Roles   []string

	OrganizationID string `json:"organization_id"`
	AppID          string `json:"app_id"`
	UserID         string `json:"user_id"`
	Email          string
	SessionID      string `json:"session_id"`
	Method         string
	Host           string
	Path           string
	PolicyRevision string `json:"policy_revision"`
	DataRevision   uint64 `json:"data_revision"`
	TraceID        string `json:"trace_id"`
}

func (d decision) codes() string {
	var out []string
	for _, r := range d.Reasons {
		out = append(out, r.Code)
	}
	return strings.Join(out, ",")
}

// decisions lists all rows that match, newest first, over all pages.
func (g *gate) decisions(t *testing.T, filter url.Values) []decision {
	t.Helper()
	var rows []decision
	for {
		filter.Set("limit", "50")
		var page struct {
			Data       []decision
			NextCursor *string `json:"next_cursor"`
		}
		g.admin(t, http.MethodGet, "decisions?"+filter.Encode(), nil, &page)
		rows = append(rows, page.Data...)
		if page.NextCursor == nil {
			return rows
		}
		filter.Set("cursor", *page.NextCursor)
	}
}

// decision waits for one row: the log is written behind the answer.
func (g *gate) decision(t *testing.T, id string) (d decision) {
	t.Helper()
	eventually(t, "decision "+id+" is in the log", func() bool {
		d = decision{}
		if g.admin(t, http.MethodGet, "decisions/"+url.PathEscape(id), nil, nil) != http.StatusOK {
			return false
		}
		g.admin(t, http.MethodGet, "decisions/"+url.PathEscape(id), nil, &d)
		return true
	})
	return d
}

// rowsBelow returns the rows of all requests to paths below prefix made so far.
// A request made last marks the end: the log keeps the order.
func (w *world) rowsBelow(t *testing.T, prefix string) []decision {
	t.Helper()
	end := fmt.Sprintf("/end-%d", time.Now().UnixNano())
	w.newPerson(t).fetch(t, "status.acme", end)
	eventually(t, "the log has caught up", func() bool {
		return len(w.decisions(t, url.Values{"path": {end}})) > 0
	})
	return w.decisions(t, url.Values{"path": {prefix}})
}

// Every request that a gateway asks about is one row, with all that it takes to
// explain it.
func TestEveryRequestIsOneRow(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		ada, bob, nobody := w.newPerson(t), w.newPerson(t), w.newPerson(t)
		ada.login(t, "crm.acme", "ada@acme.test")
		bob.login(t, "crm.acme", "bob@acme.test")
		org := w.organizationID(t, "acme")

		prefix := fmt.Sprintf("/rows-%d/", time.Now().UnixNano())
		type want struct{ result, codes, roles, email, app, org string }
		wants := map[string]want{}
		add := func(name string, v want, ask func(path string)) {
			wants[prefix+name] = v
			ask(prefix + name)
		}
		add("allow", want{"allow", "role", "editor,member", "ada@acme.test", "crm.acme", org}, func(s string) { ada.fetch(t, "crm.acme", s) })
		add("allow-post", want{"allow", "role", "editor,member", "ada@acme.test", "crm.acme", org}, func(s string) { ada.send(t, http.MethodPost, w.url("crm.acme", s)) })
		add("deny", want{"deny", "no_allowed_role", "member", "bob@acme.test", "crm.acme", org}, func(s string) { bob.fetch(t, "crm.acme", s) })
		add("page", want{"deny", "no_allowed_role", "member", "bob@acme.test", "crm.acme", org}, func(s string) { bob.click(t, w.url("crm.acme", s)) })
		add("fetch", want{"challenge", "no_session", "", "", "crm.acme", org}, func(s string) { nobody.fetch(t, "crm.acme", s) })
		add("click", want{"challenge", "no_session", "", "", "wiki.acme", org}, func(s string) { nobody.click(t, w.url("wiki.acme", s)) })
		add("public", want{"allow", "public", "", "", "status.acme", org}, func(s string) { nobody.fetch(t, "status.acme", s) })
		add("host", want{"deny", "unknown_host", "", "", "", ""}, func(s string) { nobody.fetch(t, "nope.acme", s) })
		add("a%2Fb", want{"deny", "ambiguous_path", "", "", "crm.acme", org}, func(s string) { ada.fetch(t, "crm.acme", s) })

		seen := map[string]int{}
		for _, d := range w.rowsBelow(t, prefix) {
			seen[d.Path]++
			v, ok := wants[d.Path]
			if !ok {
				t.Errorf("a row nobody asked for: %+v", d)
				continue
			}
			if got := (want{d.Result, d.codes(), strings.Join(d.Roles, ","), d.Email, d.AppID, d.OrganizationID}); got != v {
				t.Errorf("%s: recorded %+v, want %+v", d.Path, got, v)
			}
			if d.PolicyRevision == "" || d.DataRevision == 0 || d.Reasons[0].Message == "" || d.ID == "" || d.Time.IsZero() {
				t.Errorf("%s: without revisions, id, time or a sentence: %+v", d.Path, d)
			}
		}
		for path := range wants {
			if seen[path] != 1 {
				t.Errorf("%s: %d rows, want one", path, seen[path])
			}
		}
	})
}

// The trace that the client or the gateway began is the one the record names.
func TestRecordsNameTheTrace(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		path, trace := fmt.Sprintf("/trace-%d", time.Now().UnixNano()), "4bf92f3577b34da6a3ce929d0e0e4736"
		w.newPerson(t).fetch(t, "status.acme", path, "Traceparent: 00-"+trace+"-00f067aa0ba902b7-01")
		if rows := w.rowsBelow(t, path); len(rows) != 1 || rows[0].TraceID != trace {
			t.Errorf("recorded %+v, want one row of trace %s", rows, trace)
		}
	})
}

// Cookies and query values never enter the log.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		p := w.newPerson(t)
		p.login(t, "crm.acme", "ada@acme.test")
		path := fmt.Sprintf("/secret-%d", time.Now().UnixNano())
		r := p.fetch(t, "crm.acme", path+"?token=hush-query", "Authorization: Bearer hush-header")
		if _, ok := r.reached(); !ok {
			t.Fatalf("status %d", r.Status)
		}
		rows := w.rowsBelow(t, path)
		if len(rows) != 1 {
			t.Fatalf("%d rows, want 1", len(rows))
		}
		var whole json.RawMessage
		w.admin(t, http.MethodGet, "decisions/"+rows[0].ID, nil, &whole)
		_, cookie, _ := strings.Cut(p.cookies(t, "crm.acme"), "=")
		for name, secret := range map[string]string{"the query": "hush-query", "Authorization": "hush-header", "the session cookie": cookie} {
			if secret == "" || strings.Contains(string(whole), secret) {
				t.Errorf("%s stands in the record (or was empty)", name)
			}
		}
	})
}

// An operator lists decisions from the command line.
func TestDecisionsListFromTheCommandLine(t *testing.T) {
	w := sharedWorld(t, fronts[0])
	p := w.newPerson(t)
	p.login(t, "crm.acme", "bob@acme.test")
	path := fmt.Sprintf("/cli-%d", time.Now().UnixNano())
	p.fetch(t, "crm.acme", path)
	w.rowsBelow(t, path)

	run := func(env []string, args ...string) (string, int) {
		cmd := exec.Command(shared.binary, args...)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.Output()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	var page struct{ Data []decision }
	out, code := run(nil, "decisions", "list", "--json", "--user", "bob@acme.test", "--result", "deny", "--path", path,
		"--admin-url", w.AdminURL, "--token", w.AdminToken)
	if err := json.Unmarshal([]byte(out), &page); code != 0 || err != nil {
		t.Fatalf("exit %d, %v, output %.500s", code, err, out)
	}
	if len(page.Data) != 1 || page.Data[0].Path != path || page.Data[0].codes() != "no_allowed_role" {
		t.Errorf("listed %+v, want bob's one denial", page.Data)
	}
	out, code = run([]string{"BATTERY_ADMIN_URL=" + w.AdminURL, "BATTERY_TOKEN=" + w.AdminToken}, "decisions", "list", "--path", path)
	if code != 0 || !strings.Contains(out, "no_allowed_role") || !strings.Contains(out, "bob@acme.test") {
		t.Errorf("exit %d, output %.500s", code, out)
	}
	if out, code = run(nil, "decisions", "list", "--admin-url", w.AdminURL, "--token", "wrong"); code == 0 || strings.Contains(out, path) {
		t.Errorf("a wrong token: exit %d, output %.300s", code, out)
	}
}
