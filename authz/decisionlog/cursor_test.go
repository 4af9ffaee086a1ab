package decisionlog_test

import (
	"errors"
	"testing"

	"battery.app/gate/authz/decisionlog"
)

// A string is a cursor only if it is the one spelling that the log gives out.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "x", "AQAAAAAAAAAAAAAAAAAAAAAA", "AQAGTAWpQTAAAAAAAAAAAAEx3Xbnmb0kQg"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		again, err := decisionlog.Recode(s)
		if err != nil && !errors.Is(err, decisionlog.ErrBadCursor) {
			t.Fatal(err)
		}
		if err == nil && again != s {
			t.Fatalf("%q is read as %q", s, again)
		}
	})
}
