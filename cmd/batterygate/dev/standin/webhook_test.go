package standin_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

const deliver = "/_dev/events?deliver=1"

func note(name string) string { return `{"event":"note.` + name + `","data":{}}` }

func names(got []received) string {
	var out []string
	for _, g := range got {
		out = append(out, strings.TrimPrefix(g.event["event"].(string), "note."))
	}
	return strings.Join(out, " ")
}

func TestWebhooks(t *testing.T) {
	t.Run("one that is refused is sent again, signed anew, before the next", func(t *testing.T) {
		h := newHook(t, 503, 401)
		r := start(t, h.use, func(o *standin.Options) { o.Backoff = 20 * time.Millisecond })
		status, out := r.call(t, http.MethodPost, deliver, note("a"))
		if status != 201 || dig(out, "delivery", "status") != 503.0 || dig(out, "delivery", "attempts") != 1.0 {
			t.Errorf("%d %v", status, out)
		}
		r.clock.Add(time.Minute)
		r.call(t, http.MethodPost, deliver, note("b"))
		got := h.wait(t, 4)
		if names(got) != "a a a b" {
			t.Errorf("arrived: %s", names(got))
		}
		if got[0].signature == got[2].signature || got[0].body != got[2].body {
			t.Error("the retry has the first attempt's signature, or another body")
		}
	})
	t.Run("one that is always refused is given up after seven attempts", func(t *testing.T) {
		h := newHook(t, 500, 500, 500, 500, 500, 500, 500)
		r := start(t, h.use)
		r.call(t, http.MethodPost, deliver, note("a"))
		r.call(t, http.MethodPost, deliver, note("b"))
		if got := names(h.wait(t, 8)); got != "a a a a a a a b" {
			t.Errorf("arrived: %s", got)
		}
	})
	t.Run("without deliver=1 none is sent", func(t *testing.T) {
		h := newHook(t)
		r := start(t, h.use)
		r.happen(t, 201, "note.silent", `{}`)
		r.call(t, http.MethodPost, deliver, note("a"))
		if got := names(h.all()); got != "a" {
			t.Errorf("arrived: %s", got)
		}
	})
	t.Run("what the API changes is told too", func(t *testing.T) {
		h := newHook(t)
		r := start(t, h.use)
		if status, out := r.call(t, http.MethodPost, "/organizations", `{"name":"X"}`); status != 201 {
			t.Fatalf("%d %v", status, out)
		}
		if got := h.wait(t, 1); got[0].event["event"] != "organization.created" {
			t.Errorf("%v", got[0].event)
		}
	})
	t.Run("a known id is delivered again", func(t *testing.T) {
		h := newHook(t)
		r := start(t, h.use)
		body := `{"event":"note.a","id":"event_a","data":{}}`
		r.call(t, http.MethodPost, deliver, body)
		if status, out := r.call(t, http.MethodPost, deliver, body); status != 200 || dig(out, "delivery", "status") != 200.0 {
			t.Errorf("%d %v", status, out)
		}
		if got := h.all(); len(got) != 2 || got[0].body != got[1].body {
			t.Errorf("%v", got)
		}
	})
	t.Run("with nowhere to send it the answer says so", func(t *testing.T) {
		r := start(t)
		if status, out := r.call(t, http.MethodPost, deliver, note("a")); status != 201 || dig(out, "delivery", "status") != 0.0 {
			t.Errorf("%d %v", status, out)
		}
	})
	t.Run("what was not delivered is, after a restart", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "world.json")
		h := newHook(t)
		opt := standin.Options{APIKey: apiKey, ClientID: clientID, State: file, World: standin.DefaultWorld()}
		h.use(&opt)
		stopped, err := standin.New(opt) // and never run
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1/organizations", strings.NewReader(`{"name":"X"}`))
		req.RemoteAddr = "127.0.0.1:1"
		req.Header.Set("Authorization", "Bearer "+apiKey)
		stopped.Handler().ServeHTTP(&discard{}, req)
		second := start(t, h.use, func(o *standin.Options) { o.State = file })
		if got := h.wait(t, 1); got[0].event["event"] != "organization.created" {
			t.Errorf("%v", got[0].event)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			_, out := second.call(t, http.MethodGet, "/_dev/webhooks", "")
			if out["pending"] == 0.0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v", out)
			}
		}
		last, err := standin.New(opt)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		if err := last.Run(ctx); err != nil || len(h.all()) != 1 {
			t.Errorf("%v, %d webhooks", err, len(h.all()))
		}
	})
	t.Run("Deliver tells a world, in order, until it is taken", func(t *testing.T) {
		h := newHook(t, 503, 503)
		r := start(t, h.use)
		events := standin.DefaultWorld().Events()
		if err := r.Deliver(context.Background(), events...); err != nil {
			t.Fatal(err)
		}
		got := h.all()
		if len(got) != len(events)+2 {
			t.Fatalf("%d webhooks", len(got))
		}
		for i, e := range events {
			if got[i+2].event["id"] != e.ID {
				t.Errorf("webhook %d is %v, want %s", i, got[i+2].event["id"], e.ID)
			}
		}
	})
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header {
	if d.h == nil {
		d.h = http.Header{}
	}
	return d.h
}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func TestWebhookFaults(t *testing.T) {
	faults := func(t *testing.T, r *rig, body string) {
		t.Helper()
		if status, out := r.call(t, http.MethodPost, "/_dev/faults", body); status != 200 {
			t.Fatalf("%d %v", status, out)
		}
	}
	t.Run("drop", func(t *testing.T) {
		h := newHook(t)
		r := start(t, h.use)
		faults(t, r, `{"webhooks":{"drop":1}}`)
		if _, out := r.call(t, http.MethodPost, deliver, note("a")); dig(out, "delivery", "dropped") != true {
			t.Errorf("%v", out)
		}
		r.call(t, http.MethodPost, deliver, note("b"))
		if got := names(h.all()); got != "b" {
			t.Errorf("arrived: %s", got)
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		h := newHook(t)
		r := start(t, h.use)
		faults(t, r, `{"webhooks":{"duplicate":1}}`)
		r.call(t, http.MethodPost, deliver, note("a"))
		r.call(t, http.MethodPost, deliver, note("b"))
		if got := names(h.wait(t, 3)); got != "a a b" {
			t.Errorf("arrived: %s", got)
		}
	})
	t.Run("reorder swaps two, and none waits for ever", func(t *testing.T) {
		h := newHook(t)
		r := start(t, h.use)
		faults(t, r, `{"webhooks":{"reorder":true}}`)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.call(t, http.MethodPost, deliver, note("a"))
		}()
		for len(eventNames(t, r)) == 0 {
			time.Sleep(time.Millisecond)
		}
		r.call(t, http.MethodPost, deliver, note("b"))
		<-done
		r.call(t, http.MethodPost, deliver, note("c"))
		if got := names(h.wait(t, 3)); got != "b a c" {
			t.Errorf("arrived: %s", got)
		}
	})
	t.Run("are shown and cleared", func(t *testing.T) {
		r := start(t)
		faults(t, r, `{"path_prefix":"/organizations","status":503,"webhooks":{"drop":2}}`)
		_, out := r.call(t, http.MethodGet, "/_dev/faults", "")
		if dig(out, "webhooks", "drop") != 2.0 || len(out["faults"].([]any)) != 1 {
			t.Errorf("%v", out)
		}
		if status, _ := r.call(t, http.MethodDelete, "/_dev/faults", ""); status != 204 {
			t.Errorf("%d", status)
		}
		if status, _ := r.call(t, http.MethodGet, "/organizations", ""); status != 200 {
			t.Errorf("still %d", status)
		}
	})
}

func eventNames(t *testing.T, r *rig) []string {
	t.Helper()
	_, out := r.call(t, http.MethodGet, "/events?events=note.a", "")
	return ids(out)
}

func TestFaults(t *testing.T) {
	r := start(t)
	t.Run("a rule answers so many calls, then is over", func(t *testing.T) {
		r.call(t, http.MethodPost, "/_dev/faults", `{"path_prefix":"/directory_users","status":429,"count":2,"body":"Ratelimited","headers":{"Retry-After":"1"}}`)
		for i, want := range []int{429, 429, 422} {
			status, raw := r.raw(t, http.MethodGet, "/directory_users", "")
			if status != want || want == 429 && string(raw) != `"Ratelimited"` {
				t.Errorf("call %d: %d %s", i+1, status, raw)
			}
		}
	})
	t.Run("a rule may only delay", func(t *testing.T) {
		r.call(t, http.MethodPost, "/_dev/faults", `{"path_prefix":"/organizations","delay_ms":30,"count":1}`)
		begin := time.Now()
		if status, _ := r.call(t, http.MethodGet, "/Organizations", ""); status != 200 || time.Since(begin) < 30*time.Millisecond {
			t.Errorf("%d after %v", status, time.Since(begin))
		}
	})
	t.Run("a rule never locks one out of /_dev", func(t *testing.T) {
		r.call(t, http.MethodPost, "/_dev/faults", `{"path_prefix":"/","status":500}`)
		if status, _ := r.call(t, http.MethodGet, "/organizations", ""); status != 500 {
			t.Errorf("%d", status)
		}
		if status, _ := r.call(t, http.MethodDelete, "/_dev/faults", ""); status != 204 {
			t.Errorf("%d", status)
		}
	})
	for _, body := range []string{`{}`, `{"status":500}`, `{"path_prefix":"/x"}`, `{"path_prefix":"/x","status":99}`, `{"path_prefix":"/x","status":500,"count":-1}`,
		`{"webhooks":{"drop":-1}}`, `{"prefix":"/x"}`, `{"path_prefix":7,"status":500}`, `{"webhooks":{"drop":1},"status":500}`} {
		t.Run("refuses "+body, func(t *testing.T) {
			if status, out := r.call(t, http.MethodPost, "/_dev/faults", body); status != 422 {
				t.Errorf("%d %v", status, out)
			}
		})
	}
}
