package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever comes instead of the door's 200, in time and whole, lets nothing pass,
// and what the client claimed to be does not stand in for what was not said.
func TestOnlyAnAnswerInTimeLetsPass(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		if f.door == "grpc" {
			return // its door speaks gRPC: TestNothingPassesWhileTheGateIsDown
		}
		var mode atomic.Value
		door := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { doorIn(mode.Load().(string), w, r) })
		app := recorder(t, "crm.acme")
		c := stubConfig(t, door.Address, app.Address)
		c.Door = "http"
		mode.Store("allow")
		startGateway(t, f, c)
		p := &person{w: &world{gate: &gate{ready: ready{Domain: "battery.app"}}, scheme: "http", port: c.Listen.Port}, hc: loopback()}
		p.hc.Timeout = 4 * time.Second
		host := p.w.host("crm.acme")
		eventually(t, "the gateway routes", func() bool { return p.fetch(t, "crm.acme", "/").Status == http.StatusOK })
		before := app.hits.Load()

		for _, m := range []string{"500", "502", "503", "404", "429", "hang up", "half a head", "nonsense", "late"} {
			mode.Store(m)
			code, _, _ := rawTo(t, c.Listen.Port, "GET /"+strings.ReplaceAll(m, " ", "-")+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if n := app.hits.Load(); n != before {
				t.Errorf("%s: the request reached the app", m)
				before = n
			}
			if code != 0 && code < 400 {
				t.Errorf("%s: the client was told %d", m, code)
			}
			if m == "late" && code == 0 && f.tool != "traefik" {
				t.Errorf("late: the client was left without an answer for 5 s")
			}
		}
		if f.tool != "traefik" {
			// The door's late answer has come by now: it changes nothing.
			time.Sleep(2 * time.Second)
			if n := app.hits.Load(); n != before {
				t.Error("the request reached the app with the late answer")
			}
		}
		mode.Store("allow without a word")
		r := p.fetch(t, "crm.acme", "/bare", "X-Battery-Roles: admin", "X-Battery-User-Id: forged", "X-Battery-Plan: forged", "X-Battery-Assertion: forged")
		if r.Status == http.StatusOK {
			if strings.Contains(r.Body, "forged") && f.tool != "nginx" || strings.Contains(r.Body, `"admin"`) {
				t.Errorf("an allow that names nobody: the app received %s", r.Body)
			}
		}
	})
}

// doorIn answers as a door in a bad state would.
func doorIn(mode string, w http.ResponseWriter, _ *http.Request) {
	hijack := func(text string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	switch mode {
	case "allow":
		w.Header().Set("X-Battery-User-Id", "prof_1")
	case "allow without a word":
	case "hang up":
		hijack("")
	case "half a head":
		hijack("HTTP/1.1 200 O")
	case "nonsense":
		hijack("200 yes\n\n")
	case "late":
		time.Sleep(6 * time.Second)
	default:
		status := map[string]int{"500": 500, "502": 502, "503": 503, "404": 404, "429": 429}[mode]
		w.WriteHeader(status)
	}
}

// Where routes are bound, each names its own app, whatever the client says.
func TestRoutesNameTheirApp(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		if f.tool == "envoy" {
			return // over gRPC it always does, over HTTP it has no way to
		}
		var asked atomic.Value
		asked.Store(http.Header{})
		door := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) { asked.Store(r.Header.Clone()) })
		app := recorder(t, "crm.acme")
		c := stubConfig(t, door.Address, app.Address)
		c.BindRoutes, c.Door = true, "http"
		startGateway(t, f, c)
		p := &person{w: &world{gate: &gate{ready: ready{Domain: "battery.app"}}, scheme: "http", port: c.Listen.Port}, hc: loopback()}
		eventually(t, "the gateway routes", func() bool { return p.fetch(t, "crm.acme", "/").Status == http.StatusOK })
		for host, want := range map[string]string{"crm.acme": "crm.acme", "other.acme": "none.none"} {
			r := p.fetch(t, host, "/", "X-Battery-Route-App: forged.app")
			if got := asked.Load().(http.Header).Values("X-Battery-Route-App"); len(got) != 1 || got[0] != want {
				t.Errorf("%s: the door was told %q, want %s", host, got, want)
			}
			if strings.Contains(r.Body, "forged") || strings.Contains(r.Body, "Route-App") {
				t.Errorf("%s: the app received %s", host, r.Body)
			}
		}
	})
}

// Where the door hands back the client's cookies without ours, Traefik puts them in
// the place of the client's.
func TestTraefikTakesCookiesFromTheAnswer(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		if f.tool != "traefik" {
			return // the others take ours away themselves
		}
		door := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Cookie"), "theirs") {
				w.Header().Set("Cookie", "theirs=1")
			}
		})
		app := recorder(t, "crm.acme")
		c := stubConfig(t, door.Address, app.Address)
		c.Rewrite = true
		startGateway(t, f, c)
		p := &person{w: &world{gate: &gate{ready: ready{Domain: "battery.app"}}, scheme: "http", port: c.Listen.Port}, hc: loopback()}
		eventually(t, "the gateway routes", func() bool { return p.fetch(t, "crm.acme", "/").Status == http.StatusOK })
		for sent, want := range map[string]string{"battery_session=x; theirs=1": "theirs=1", "battery_session=x": ""} {
			p.fetch(t, "crm.acme", "/", "Cookie: "+sent)
			if got := strings.Join(app.last.Load().(http.Header).Values("Cookie"), "; "); got != want {
				t.Errorf("sent %q: the app received %q, want %q", sent, got, want)
			}
		}
	})
}

// Over TLS and HTTP/2 as over plain HTTP/1: the door is told https, the host and
// the path, and the app gets its own cookies, which browsers send in crumbs.
func TestOverTLSAndHTTP2(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		if f.door == "grpc" {
			return
		}
		var asked atomic.Value
		asked.Store(&http.Request{Header: http.Header{}})
		door := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) { asked.Store(r) })
		app := recorder(t, "crm.acme")
		c := stubConfig(t, door.Address, app.Address)
		dir := t.TempDir()
		c.Door, c.TLSCert, c.TLSKey = "http", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.pem.key")
		selfSigned(t, c.TLSCert, c.TLSKey, "crm.acme.battery.app")
		startGateway(t, f, c)
		hc := loopback()
		tr := hc.Transport.(*http.Transport)
		tr.TLSClientConfig, tr.ForceAttemptHTTP2 = &tls.Config{InsecureSkipVerify: true}, true // a certificate of our own, made above
		host := fmt.Sprintf("crm.acme.battery.app:%d", c.Listen.Port)
		var resp *http.Response
		eventually(t, "the gateway routes", func() bool {
			req, err := http.NewRequest("GET", "https://"+host+"/a/b?c=d", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", "one=1; __Host-battery_session=ours; two=2; __Host-battery_verifier_x=ours; three=3")
			if resp, err = hc.Do(req); err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		if resp.ProtoMajor != 2 {
			t.Errorf("spoken was %s", resp.Proto)
		}
		r := asked.Load().(*http.Request)
		told := r.Header.Get("X-Forwarded-Proto") + "://" + r.Header.Get("X-Forwarded-Host") + r.Header.Get("X-Forwarded-Uri")
		switch f.tool {
		case "nginx":
			told = r.Header.Get("X-Original-Url")
		case "envoy":
			told = r.Header.Get("X-Forwarded-Proto") + "://" + r.Host + strings.TrimPrefix(r.RequestURI, "/authz/ext-authz")
		}
		if want := "https://" + host + "/a/b?c=d"; told != want {
			t.Errorf("the door was told %q, want %q", told, want)
		}
		if all := strings.Join(r.Header.Values("Cookie"), "; "); strings.Count(all, "ours") != 2 {
			t.Errorf("the door was shown the cookies %q", all)
		}
		got := strings.Join(app.last.Load().(http.Header).Values("Cookie"), "; ")
		if f.tool != "traefik" && got != "one=1; two=2; three=3" || f.tool == "traefik" && !strings.Contains(got, "three=3") {
			t.Errorf("the app was sent the cookies %q", got)
		}
	})
}

// A header that some app would take for one of ours is refused and recorded; where
// the gateway drops such headers itself, nobody sees it.
func TestImitatedNamesAreRefused(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		for i, name := range []string{"X_Battery_Roles", "X.Battery.Roles", "X_Forwarded_Uri", "X-Forwarded_Host"} {
			path := fmt.Sprintf("/imitated-%d-%d", time.Now().UnixNano(), i)
			r := w.newPerson(t).fetch(t, "status.acme", path, name+": forged")
			rows := w.rowsBelow(t, path)
			if len(rows) != 1 {
				t.Errorf("%s: %d rows, want one", name, len(rows))
				continue
			}
			// Traefik drops the aliases of headers that it writes itself.
			traefik := w.front.name == "dev" || w.front.name == "traefik"
			if w.front.dropsStrange || traefik && strings.Contains(name, "Forwarded") {
				if e, ok := r.reached(); !ok || len(e.Headers[http.CanonicalHeaderKey(name)])+len(e.Headers[name]) > 0 {
					t.Errorf("%s: status %d, body %.300s; want the app without that header", name, r.Status, r.Body)
				}
				continue
			}
			if r.Status != http.StatusBadRequest && r.Status != http.StatusForbidden || rows[0].codes() != "malformed_request" {
				t.Errorf("%s: status %d, recorded as %s; want a refusal as malformed_request", name, r.Status, rows[0].codes())
			}
		}
	})
}
