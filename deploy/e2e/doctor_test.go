package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// `gateway doctor` finds nothing wrong with what ships: about a hundred requests that try
// to make gateway, gate and app read one thing differently, through each front.
func TestTheDoctorFindsNothingWrongWithWhatShips(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		report, code := doctor(t, w, "crm.acme")
		checked := 0
		for _, f := range report.Findings {
			switch f.State {
			case "ok":
				checked++
			case "problem":
				t.Errorf("%s: %s %v", f.ID, f.Why, f.Details)
			}
		}
		if code != 0 || checked < 15 {
			t.Errorf("exit code %d, %d findings are ok", code, checked)
		}
	})
}

// Envoy's own default, encode_raw_headers off, is found at both doors, with the
// line to add: by a query, and by a path where Envoy does not normalize it.
func TestTheDoctorFindsAnEnvoyThatHidesBytes(t *testing.T) {
	for _, f := range fronts {
		if f.tool != "envoy" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for _, normal := range []string{"true", "false"} {
				w := freshWorld(t, f, func(w *world) {
					w.edit = strings.NewReplacer("encode_raw_headers: true", "encode_raw_headers: false", "normalize_path: true", "normalize_path: "+normal).Replace
				})
				report, code := doctor(t, w, "crm.acme")
				if code != 1 {
					t.Errorf("exit code %d", code)
				}
				for _, f := range report.Findings {
					found := f.ID == "bytes"
					if found != (f.State == "problem") || found && !strings.Contains(f.Fix, "encode_raw_headers: true") {
						t.Errorf("normalize_path %s: %s: %s %v\n%s", normal, f.ID, f.State, f.Details, f.Fix)
					}
					if found && strings.Contains(fmt.Sprint(f.Details), "adm!in") == (normal == "true") {
						t.Errorf("normalize_path %s: %v", normal, f.Details)
					}
				}
			}
			count(t, f)
		})
	}
}

type doctorReport struct {
	Findings []struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Why     string `json:"why"`
		Details any    `json:"details"`
		Fix     string `json:"fix"`
	} `json:"findings"`
}

func doctor(t *testing.T, w *world, app string) (report doctorReport, code int) {
	t.Helper()
	cmd := exec.Command(shared.binary, "gateway", "doctor", w.url(app, ""), "--admin-url", w.AdminURL, "--resolve", "127.0.0.1", "--json")
	cmd.Env = append(os.Environ(), "BATTERY_TOKEN="+w.AdminToken)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("exit code %d: %v\n%s", code, err, out)
	}
	return report, code
}
