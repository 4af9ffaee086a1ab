package standin_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

func TestPortal(t *testing.T) {
	h := newHook(t)
	r := start(t, h.use)
	acme, _ := r.World().Organization("acme")
	link := func(t *testing.T, intent string) *url.URL {
		t.Helper()
		status, out := r.call(t, http.MethodPost, "/portal/generate_link",
			`{"organization":"`+acme.ID+`","intent":"`+intent+`","return_url":"http://127.0.0.1:9/back","success_url":"http://127.0.0.1:9/done"}`)
		u, err := url.Parse(out["link"].(string))
		if status != 201 || err != nil || u.Query().Get("token") == "" {
			t.Fatalf("%d %v", status, out)
		}
		return u
	}
	act := func(t *testing.T, u *url.URL, action string) *http.Response {
		t.Helper()
		res, err := client.PostForm(r.url+u.Path, url.Values{"token": {u.Query().Get("token")}, "action": {action}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	t.Run("an IT admin switches the connection off and on, and WorkOS tells", func(t *testing.T) {
		u := link(t, "sso")
		if res := act(t, u, "connection.deactivated"); res.StatusCode != 303 || res.Header.Get("Location") != "http://127.0.0.1:9/done" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		act(t, u, "connection.activated")
		if c, _ := r.World().Connection("acme"); c.State != "active" {
			t.Errorf("%+v", c)
		}
		if got := h.wait(t, 2); got[0].event["event"] != "connection.deactivated" || got[1].event["event"] != "connection.activated" {
			t.Errorf("%v", got)
		}
	})
	t.Run("removes the directory and connects another", func(t *testing.T) {
		old, _ := r.World().Directory("acme")
		u := link(t, "dsync")
		act(t, u, "dsync.deleted")
		act(t, u, "dsync.activated")
		if d, ok := r.World().Directory("acme"); !ok || d.ID == old.ID || d.State != "linked" {
			t.Errorf("%+v", d)
		}
	})
	t.Run("does only what its intent offers", func(t *testing.T) {
		u := link(t, "sso")
		for _, action := range []string{"dsync.deleted", "organization.deleted", ""} {
			if res := act(t, u, action); res.StatusCode != 422 {
				t.Errorf("%q: %d", action, res.StatusCode)
			}
		}
	})
	t.Run("a link lives five minutes", func(t *testing.T) {
		u := link(t, "sso")
		r.clock.Add(5 * time.Minute)
		res, err := client.Get(r.url + u.RequestURI())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 404 || act(t, u, "connection.deactivated").StatusCode != 404 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"no organization":      {`{"intent":"sso"}`, 422},
		"an unknown one":       {`{"intent":"sso","organization":"org_x"}`, 404},
		"an unknown intent":    {`{"intent":"x","organization":"` + acme.ID + `"}`, 422},
		"a return that is bad": {`{"intent":"sso","organization":"` + acme.ID + `","return_url":"javascript:alert(1)"}`, 422},
		"an unknown property":  {`{"intent":"sso","organization":"` + acme.ID + `","x":1}`, 422},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			if status, out := r.call(t, http.MethodPost, "/portal/generate_link", c.body); status != c.want {
				t.Errorf("%d %v", status, out)
			}
		})
	}
}
