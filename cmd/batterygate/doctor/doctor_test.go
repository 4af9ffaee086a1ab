package doctor_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/doctor"
)

// shortLived is an admin API whose probes are over at once, or at a time.
type shortLived struct {
	until string
	ended []string
}

func (a *shortLived) Do(_ context.Context, method, path string, _ url.Values, _, out any) error {
	answers := map[string]string{
		"GET apps":           `{"data": [{"id": "crm.acme", "hosts": ["crm.example.com"]}]}`,
		"POST probes":        `{"id": "probe_1", "token": "bgp_1", "created_at": "2026-01-01T00:00:00Z", "expires_at": "` + cmp.Or(a.until, "2026-01-01T00:00:00Z") + `"}`,
		"GET probes/probe_1": `{"observations": []}`,
	}
	if method == http.MethodDelete {
		a.ended = append(a.ended, path)
		return nil
	}
	return json.Unmarshal([]byte(answers[method+" "+path]), out)
}

// What is refused because the probe is over says nothing about the gateway: there
// is no report, and certainly no good one.
func TestAProbeThatEndsTooSoonIsNoExamination(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer front.Close()
	api := &shortLived{}
	report, err := doctor.Run(t.Context(), doctor.Options{
		URL: &url.URL{Scheme: "http", Host: "crm.example.com"}, API: api, Resolve: front.Listener.Addr().String(),
	})
	if !errors.Is(err, doctor.ErrTooSlow) || report != nil {
		t.Errorf("report %v, error %v; want ErrTooSlow", report, err)
	}
	if !slices.Equal(api.ended, []string{"probes/probe_1"}) {
		t.Errorf("ended: %v", api.ended)
	}
}

func TestAnUnknownAuthorityCanBeNamed(t *testing.T) {
	front := httptest.NewUnstartedServer(nil)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that ends
	front.StartTLS()
	defer front.Close()
	_, err := doctor.Run(t.Context(), doctor.Options{
		URL: &url.URL{Scheme: "https", Host: "crm.example.com"}, API: &shortLived{}, Resolve: front.Listener.Addr().String(),
	})
	if err == nil || !strings.Contains(err.Error(), "--ca") {
		t.Errorf("error %v; want one that says how to trust the certificate", err)
	}
}

// HTTP/2 is tried over TLS as without; where nobody speaks it, the report says so.
func TestHTTP2IsTriedWhereItIsSpoken(t *testing.T) {
	for name, row := range map[string]struct {
		tls, spoken bool
	}{"TLS": {true, true}, "TLS, not spoken": {true, false}, "plain": {false, true}, "plain, not spoken": {false, false}} {
		t.Run(name, func(t *testing.T) {
			second := 0
			front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 2 {
					second++
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			front.Config.ErrorLog = log.New(io.Discard, "", 0)
			front.EnableHTTP2 = row.spoken
			front.Config.Protocols = new(http.Protocols)
			front.Config.Protocols.SetHTTP1(true)
			front.Config.Protocols.SetHTTP2(row.tls && row.spoken)
			front.Config.Protocols.SetUnencryptedHTTP2(!row.tls && row.spoken)
			u := &url.URL{Scheme: "http", Host: "crm.example.com"}
			if row.tls {
				u.Scheme = "https"
				front.StartTLS()
			} else {
				front.Start()
			}
			defer front.Close()
			report, err := doctor.Run(t.Context(), doctor.Options{
				URL: u, API: &shortLived{until: "2026-01-01T01:00:00Z"}, Resolve: front.Listener.Addr().String(), TLS: &tls.Config{InsecureSkipVerify: true},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				if says := strings.Contains(f.Why, "does not speak HTTP/2"); f.ID == "http2" && (says == row.spoken || f.State != doctor.NotChecked) {
					t.Errorf("%+v", f)
				}
			}
			if (second > 5) != row.spoken {
				t.Errorf("%d requests came over HTTP/2", second)
			}
		})
	}
}
