package forward_test

import (
	"testing"

	"battery.app/gate/authz"
)

// TestEveryReading asks every door for an app that takes paths with several
// readings. The policy of these tests denies /admin.
func TestEveryReading(t *testing.T) {
	for uri, want := range map[string]struct {
		status        int
		code, reading string
	}{
		"/deals":                      {200, authz.CodeRole, ""},
		"/@scope%2fpkg?x=/../admin":   {200, authz.CodeRole, ""},
		"/a/../b":                     {200, authz.CodeRole, ""},
		"//deals":                     {200, authz.CodeRole, ""},
		"/deals;v=1":                  {200, authz.CodeRole, ""},
		"/public/../admin":            {403, authz.CodeAmbiguousPath, "/admin"},
		"/public/%2e%2e%2fadmin":      {403, authz.CodeAmbiguousPath, "/admin"},
		"/public/..;/admin":           {403, authz.CodeAmbiguousPath, "/admin"},
		"/public%5c..%5cadmin":        {403, authz.CodeAmbiguousPath, "/admin"},
		`/public\..\admin`:            {403, authz.CodeAmbiguousPath, "/admin"},
		"/%61dmin":                    {403, authz.CodeAmbiguousPath, "/admin"},
		"/%2561dmin":                  {403, authz.CodeAmbiguousPath, "/admin"},
		"/admin%3b.css":               {403, authz.CodeAmbiguousPath, "/admin"},
		"/admin%3fx":                  {403, authz.CodeAmbiguousPath, "/admin"},
		"/x/%252e%252e%252fadmin":     {403, authz.CodeAmbiguousPath, "/admin"},
		"/admin%00.css":               {403, authz.CodeAmbiguousPath, ""},
		"/%u0061dmin":                 {403, authz.CodeAmbiguousPath, ""},
		"/admin/../public":            {403, authz.CodeNoAllowedRole, ""},
		"/x/..%2f.battery/login":      {403, authz.CodeReservedPath, ""},
		"/%2ebattery/login":           {403, authz.CodeReservedPath, ""},
		"/a;b/../c;d//e%2f..%2ff;g":   {403, authz.CodeAmbiguousPath, ""},
		"/caf%c3%a9/%40me":            {200, authz.CodeRole, ""},
		"/public/%252e%252e%252f/%61": {200, authz.CodeRole, ""},
	} {
		for door, do := range doors() {
			t.Run(door+uri, func(t *testing.T) {
				w := newWorld(t)
				res := do(t, w, get("notes.acme.test", uri, ada))
				if door == "ext-authz" && uri == "/%u0061dmin" {
					return // net/http answers by itself
				}
				rec := w.one(t)
				if res.status != want.status || rec.Reasons[0].Code != want.code || rec.Reading != want.reading {
					t.Errorf("%d %s, reading %q; want %d %s %q", res.status, rec.Reasons[0].Code, rec.Reading, want.status, want.code, want.reading)
				}
			})
		}
	}
}
