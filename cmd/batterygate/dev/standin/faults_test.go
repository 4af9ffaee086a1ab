package standin_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// fetch reads an answer as a client of WorkOS does.
func (r *rig) fetch(t *testing.T, path string) (status int, body []byte, err error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	// A connection of its own: over one that was used before Go's client tries
	// again by itself.
	own := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := own.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

func (r *rig) fault(t *testing.T, rule string) {
	t.Helper()
	if status, out := r.call(t, http.MethodPost, "/_dev/faults", rule); status != 200 {
		t.Fatalf("%s: %d %v", rule, status, out)
	}
}

func TestBrokenAnswers(t *testing.T) {
	r := start(t)
	const path = "/organizations?order=asc"
	_, whole, err := r.fetch(t, path)
	if err != nil {
		t.Fatal(err)
	}
	first, second := "org_01DXF6DT00ACME000000000000", "org_01DXF6DT00G10BEX0000000000"
	seen := func(body []byte) []string {
		var page map[string]any
		if json.Unmarshal(body, &page) != nil {
			return nil
		}
		return ids(page)
	}
	for name, c := range map[string]struct {
		rule string
		ok   func(status int, body []byte, err error) bool
	}{
		"a reset": {`"reset":true`, func(_ int, _ []byte, err error) bool {
			return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
		}},
		"half a body": {`"truncate":true`, func(status int, body []byte, err error) bool {
			return status == 200 && errors.Is(err, io.ErrUnexpectedEOF) && string(body) == string(whole[:len(whole)/2])
		}},
		"half a refusal": {`"status":503,"truncate":true`, func(status int, _ []byte, err error) bool {
			return status == 503 && errors.Is(err, io.ErrUnexpectedEOF)
		}},
		"wrong JSON": {`"wrong_json":true`, func(status int, body []byte, err error) bool {
			return status == 200 && err == nil && !json.Valid(body) && len(body) == len(whole)-1
		}},
		"an object missing":   {`"drop":1`, func(_ int, body []byte, _ error) bool { return slices.Equal(seen(body), []string{first}) }},
		"more than there are": {`"drop":9`, func(_ int, body []byte, _ error) bool { return len(seen(body)) == 0 && json.Valid(body) }},
		"an object twice": {`"duplicate":1`, func(_ int, body []byte, _ error) bool {
			return slices.Equal(seen(body), []string{first, second, first})
		}},
		"another order": {`"reorder":true`, func(_ int, body []byte, _ error) bool { return slices.Equal(seen(body), []string{second, first}) }},
	} {
		t.Run(name, func(t *testing.T) {
			r.fault(t, `{"path_prefix":"/organizations","count":1,`+c.rule+`}`)
			if status, body, err := r.fetch(t, path); !c.ok(status, body, err) {
				t.Errorf("%d %v %s", status, err, body)
			}
			if status, body, err := r.fetch(t, path); status != 200 || err != nil || string(body) != string(whole) {
				t.Errorf("after it: %d %v %s", status, err, body)
			}
		})
	}
}

func TestBrokenWebhooks(t *testing.T) {
	h := newHook(t)
	r := start(t, h.use)
	happen := func(name string) {
		if status, out := r.call(t, http.MethodPost, "/_dev/events?deliver=1", `{"event":"note.`+name+`"}`); status != 201 {
			t.Fatalf("%d %v", status, out)
		}
	}
	r.fault(t, `{"webhooks":{"error":2}}`)
	happen("error")
	h.wait(t, 1)
	r.fault(t, `{"webhooks":{"wrong_signature":1}}`)
	happen("forged")
	r.fault(t, `{"webhooks":{"replay":1}}`)
	happen("replayed")
	happen("later")
	got := h.wait(t, 5)
	var names []string
	for _, w := range got {
		names = append(names, strings.TrimPrefix(w.event["event"].(string), "note."))
	}
	if !slices.Equal(names, []string{"error", "forged", "replayed", "later", "replayed"}) {
		t.Errorf("%v", names)
	}
	for i, want := range []bool{true, false, true, true, true} {
		if ok := got[i].signature == signedAs(t, got[i], secret); ok != want {
			t.Errorf("%s: signed with our secret: %v", names[i], ok)
		}
	}
}

// signedAs is what the signature would be with that secret.
func signedAs(t *testing.T, w received, secret string) string {
	t.Helper()
	ms, _, _ := strings.Cut(strings.TrimPrefix(w.signature, "t="), ",")
	at, err := json.Number(ms).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return standin.Sign(secret, time.UnixMilli(at), []byte(w.body))
}

// A broken body is retried, and the receiver never takes half of it for all.
func TestAWebhookWithABrokenBodyIsRetried(t *testing.T) {
	var bodies []string
	h := newRawHook(t, func(body []byte, err error) int {
		if err != nil {
			return 400
		}
		bodies = append(bodies, string(body))
		if !json.Valid(body) {
			return 400
		}
		return 200
	})
	r := start(t, func(o *standin.Options) { o.WebhookURL, o.WebhookSecret = h, secret })
	r.fault(t, `{"webhooks":{"error":1,"wrong_json":1}}`)
	status, out := r.call(t, http.MethodPost, "/_dev/events?deliver=1", `{"event":"note.a"}`)
	if status != 201 || dig(out, "delivery", "status") != 400.0 {
		t.Errorf("%d %v", status, out)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, out := r.call(t, http.MethodGet, "/_dev/webhooks", ""); out["pending"] == 0.0 {
			break
		}
	}
	if len(bodies) != 2 || json.Valid([]byte(bodies[0])) || !json.Valid([]byte(bodies[1])) {
		t.Errorf("%q", bodies)
	}
}

// What a reconcile takes its watermark from is the stand-in's own clock.
func TestDate(t *testing.T) {
	r := start(t)
	r.fault(t, `{"path_prefix":"/directories","status":500}`)
	for _, path := range []string{"/organizations", "/directories", "/nothing"} {
		req, _ := http.NewRequest(http.MethodGet, r.url+path, nil)
		req.Header.Set("Authorization", "Bearer "+apiKey)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if at, err := http.ParseTime(res.Header.Get("Date")); err != nil || !at.Equal(r.clock.Now()) {
			t.Errorf("%s: Date %q, want %v", path, res.Header.Get("Date"), r.clock.Now())
		}
	}
}

// newRawHook receives webhooks, sound or not.
func newRawHook(t *testing.T, answer func(body []byte, err error) int) string {
	t.Helper()
	return newServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.WriteHeader(answer(body, err))
	})
}
