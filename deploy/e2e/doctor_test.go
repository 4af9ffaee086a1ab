package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
)

// `gateway doctor` finds nothing wrong with what ships: eighty requests that try
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

type doctorReport struct {
	Findings []struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Why     string `json:"why"`
		Details any    `json:"details"`
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
