package authz

import "testing"

// TestOnlyAnAllowIs200: no status makes an allow of a decision that is none.
func TestOnlyAnAllowIs200(t *testing.T) {
	for _, r := range []Result{Deny, Challenge, Allow + 1} {
		if got := (&Decision{result: r, status: 200}).Status(); got != 403 {
			t.Errorf("%v: %d", r, got)
		}
	}
	for _, d := range []*Decision{nil, {}, {result: Allow}} {
		if got := d.Status(); got != 403 {
			t.Errorf("%+v: %d", d, got)
		}
	}
}
