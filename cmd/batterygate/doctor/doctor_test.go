package doctor_test

import (
	"context"
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

// shortLived is an admin API whose probes are over at once.
type shortLived struct{ ended []string }

func (a *shortLived) Do(_ context.Context, method, path string, _ url.Values, _, out any) error {
	answers := map[string]string{
		"GET apps":           `{"data": [{"id": "crm.acme", "hosts": ["crm.example.com"]}]}`,
		"POST probes":        `{"id": "probe_1", "token": "bgp_1", "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:00Z"}`,
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
