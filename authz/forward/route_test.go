package forward_test

import (
	"context"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// routed asks with the app that the gateway's route is bound to; "" names none.
func routed(t *testing.T, door string, w *world, c client, app string) result {
	if door != forward.DoorGRPC {
		if app != "" {
			c = c.with(forward.RouteAppHeader + ": " + app)
		}
		return doors()[door](t, w, c)
	}
	in := checkRequest(c)
	if app != "" {
		in.Attributes.ContextExtensions = map[string]string{"app": app}
	}
	return w.check(t, context.Background(), in)
}

func TestRoutesBoundToAnApp(t *testing.T) {
	all := []string{forward.DoorForwardAuth, forward.DoorAuthRequest, forward.DoorExtAuthz, forward.DoorGRPC}
	bound := func(o *forward.Options) { o.BoundRoutes = all }
	for _, door := range all {
		bad := 400
		if door == forward.DoorAuthRequest {
			bad = 403
		}
		for name, row := range map[string]struct {
			host, app, code string
			status          int
		}{
			"the app that owns the host":          {"crm.acme.test", "crm.acme", authz.CodeRole, 200},
			"another app":                         {"crm.acme.test", "status.acme", authz.CodeUnknownHost, 403},
			"another spelling":                    {"crm.acme.test", "CRM.acme", authz.CodeUnknownHost, 403},
			"an app there is not":                 {"crm.acme.test", "x", authz.CodeUnknownHost, 403},
			"none":                                {"crm.acme.test", "", authz.CodeMalformedRequest, bad},
			"a public host on another's route":    {"status.acme.test", "crm.acme", authz.CodeUnknownHost, 403},
			"a host that is nobody's, on a route": {"nobody.test", "crm.acme", authz.CodeUnknownHost, 403},
		} {
			t.Run(door+"/"+name, func(t *testing.T) {
				w := newWorld(t, bound)
				res := routed(t, door, w, get(row.host, "/", ada), row.app)
				if rec := w.one(t); res.status != row.status || rec.Reasons[0].Code != row.code {
					t.Errorf("%d %v", res.status, rec.Reasons)
				}
			})
		}
		t.Run(door+"/an endpoint of ours is not asked on another's route", func(t *testing.T) {
			w := newWorld(t, bound)
			if res := routed(t, door, w, get("crm.acme.test", "/.battery/login", browser), "status.acme"); res.status != 403 {
				t.Errorf("%d", res.status)
			}
		})
	}
	for _, door := range all[:3] {
		t.Run(door+"/twice is none", func(t *testing.T) {
			for _, headers := range [][]string{{"crm.acme", "crm.acme"}, {"crm.acme,crm.acme"}, {"crm.acme, status.acme"}, {""}} {
				w := newWorld(t, bound)
				c := get("crm.acme.test", "/", ada)
				c.header[forward.RouteAppHeader] = headers
				if res := doors()[door](t, w, c); res.status != 400 && door != forward.DoorAuthRequest || res.status == 200 {
					t.Errorf("%q: %d", headers, res.status)
				}
			}
		})
		t.Run(door+"/a door that is not set up for it says so", func(t *testing.T) {
			w := newWorld(t)
			if res := routed(t, door, w, get("crm.acme.test", "/", ada), "crm.acme"); res.status == 200 {
				t.Errorf("%d", res.status)
			}
			if rec := w.one(t); rec.Reasons[0].Code != authz.CodeMalformedRequest {
				t.Errorf("%v", rec.Reasons)
			}
		})
	}
	t.Run("over gRPC the header is the client's and never read", func(t *testing.T) {
		w := newWorld(t, bound)
		if res := extAuthzGRPC(t, w, get("crm.acme.test", "/", ada, forward.RouteAppHeader+": crm.acme")); res.status != 400 {
			t.Errorf("%d", res.status)
		}
	})
	t.Run("doors that there are not are refused", func(t *testing.T) {
		o := newWorld(t).options
		o.BoundRoutes = []string{"forwardauth"}
		if _, err := forward.New(o); err == nil {
			t.Error("accepted")
		}
	})
}

func TestPreflight(t *testing.T) {
	const origin, wants = "Origin: https://other.test", "Access-Control-Request-Method: PUT"
	ask := func(host string, headers ...string) client {
		return method(get(host, "/api?x=1", headers...), "OPTIONS")
	}
	for name, row := range map[string]struct {
		ask  client
		code string
		want int
	}{
		"passes where the app says so":      {ask("spa.acme.test", origin, wants, fetch), authz.CodeCORSPreflight, 200},
		"names nobody, even with a session": {ask("spa.acme.test", origin, wants, ada), authz.CodeCORSPreflight, 200},
		"of another app is a request":       {ask("crm.acme.test", origin, wants), authz.CodeNoSession, 401},
		"needs an origin":                   {ask("spa.acme.test", wants), authz.CodeNoSession, 401},
		"needs the method that will come":   {ask("spa.acme.test", origin), authz.CodeNoSession, 401},
		"needs an origin that is not empty": {ask("spa.acme.test", wants, "Origin: "), authz.CodeNoSession, 401},
		"needs a method that is one":        {ask("spa.acme.test", origin, "Access-Control-Request-Method: P U T"), authz.CodeNoSession, 401},
		"is OPTIONS and nothing else":       {method(ask("spa.acme.test", origin, wants), "GET"), authz.CodeNoSession, 401},
		"is OPTIONS, not POST":              {method(ask("spa.acme.test", origin, wants), "POST"), authz.CodeNoSession, 401},
	} {
		for door, do := range doors() {
			t.Run(door+"/"+name, func(t *testing.T) {
				w := newWorld(t)
				res := do(t, w, row.ask)
				rec := w.one(t)
				if res.status != row.want || rec.Reasons[0].Code != row.code {
					t.Fatalf("%d %v", res.status, rec.Reasons)
				}
				if res.status == 200 {
					checkShape(t, res, rec, false)
					for _, n := range []string{"X-Battery-User-Id", "X-Battery-Roles", "X-Battery-Assertion", "X-Battery-User-Email"} {
						if res.get(n) != "" {
							t.Errorf("%s: %q", n, res.get(n))
						}
					}
				}
			})
		}
	}
	t.Run("twice is refused", func(t *testing.T) {
		for door, do := range doors() {
			for _, c := range []client{ask("spa.acme.test", origin, origin, wants), ask("spa.acme.test", origin, wants, wants), ask("spa.acme.test", origin, wants, "Access_Control_Request_Method: GET")} {
				w := newWorld(t)
				if res := do(t, w, c); res.status == 200 || w.one(t).Reasons[0].Code != authz.CodeMalformedRequest {
					t.Errorf("%s: %d", door, res.status)
				}
			}
		}
	})
}
