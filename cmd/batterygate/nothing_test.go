package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// Scripts get problems where they ask for what is not there, and load balancers
// look by HEAD.
func testNothing(t *testing.T, d *demo) {
	for ask, want := range map[string]string{
		"GET /api/v1/nosuch": "404", "GET /api/v1": "404", "POST /api/v1/sessions": "405 GET, HEAD", "DELETE /api/v1/apps": "405 GET, POST, HEAD",
		"HEAD /api/v1/apps": "200", "HEAD /healthz": "200", "HEAD /readyz": "200", "HEAD /metrics": "200", "HEAD /api/v1/openapi.json": "200",
		"POST /healthz": "405 GET, HEAD", "GET /nosuch": "404",
	} {
		method, path, _ := strings.Cut(ask, " ")
		a := d.do(d.http, method, d.AdminURL+path, "", "Authorization", "Bearer "+d.AdminToken)
		status, allow, _ := strings.Cut(want, " ")
		if strconv.Itoa(a.status) != status || !sameWords(a.header.Get("Allow"), allow) {
			t.Errorf("%s: %d, Allow %q", ask, a.status, a.header.Get("Allow"))
		}
		if problem := a.header.Get("Content-Type") == "application/problem+json" && strings.Contains(a.body, `"status":`+status); a.status >= 400 && problem != strings.HasPrefix(path, "/api/") {
			t.Errorf("%s: %s %s", ask, a.header.Get("Content-Type"), a.body)
		}
		if a.status >= 400 && a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached", ask)
		}
	}
	for ask, want := range map[string]int{
		"GET /webhooks/workos": 405, "GET /access/v1/evaluation": 405, "PUT /login": 405, "GET /nosuch": 404, "HEAD /callback": 405,
		"HEAD /login?app=crm.acme": 302, "HEAD /.well-known/jwks.json": 200, "POST /webhooks/workos": 401,
	} {
		method, path, _ := strings.Cut(ask, " ")
		a := d.do(d.http, method, d.PublicURL+path, "")
		if a.status != want || a.status >= 400 && a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("public %s: %d, want %d; %s", ask, a.status, want, a.header.Get("Cache-Control"))
		}
	}
}

// A probe may ask about the server or about the door by name.
func testHealth(t *testing.T, d *demo) {
	conn, err := grpc.NewClient(d.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
		if got, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}); err != nil || got.Status != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, got, err)
		}
	}
}

func sameWords(a, b string) bool {
	split := func(s string) []string {
		words := strings.Fields(strings.ReplaceAll(s, ",", " "))
		slices.Sort(words)
		return words
	}
	return slices.Equal(split(a), split(b))
}
