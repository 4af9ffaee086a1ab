package authz_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
)

// TestWhatAMuxSeesIsAReading compares with a router that splits a path at its
// slashes first and decodes each segment then: "secret%2Fproj" is one segment to it
// (and to Apache with AllowEncodedSlashes NoDecode, Tomcat with passthrough).
func TestWhatAMuxSeesIsAReading(t *testing.T) {
	var saw []string
	mux := http.NewServeMux()
	names := []string{"a", "b", "c", "d", "e"}
	for i := range names {
		pattern := ""
		for _, n := range names[:i+1] {
			pattern += "/{" + n + "}"
		}
		mux.HandleFunc("GET app.test"+pattern, func(_ http.ResponseWriter, r *http.Request) {
			saw = nil
			for _, n := range names[:i+1] {
				saw = append(saw, strings.ReplaceAll(r.PathValue(n), "/", "%2F"))
			}
		})
	}
	matched := 0
	check := func(t failer, path string) {
		all, err := authz.Readings(path)
		if err != nil {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + path + " HTTP/1.1\r\nHost: app.test\r\n\r\n")))
		if err != nil {
			return
		}
		saw = nil
		mux.ServeHTTP(httptest.NewRecorder(), req)
		if saw == nil {
			return // not found, or sent to a cleaner path
		}
		matched++
		if seen := authz.CanonicalPath("/" + strings.Join(saw, "/")); !slices.Contains(all, seen) {
			t.Fatalf("%q is %q to the mux, which is not among %q", path, seen, all)
		}
	}
	for _, path := range []string{"/projects/%73ecret%2Fproj", "/%61dmin%2fx", "/a%2Fb/%61", "/a%2F%2Fb%3bx"} {
		check(t, path)
	}
	rapid.Check(t, func(rt *rapid.T) {
		check(rt, "/"+strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "admin", "%61", "%2f", "%5c", "%3b", ";", "/", ".", "%2e", "%3f", "%40", "!"}), 1, 8).Draw(rt, "parts"), ""))
	})
	if matched == 0 {
		t.Error("the mux saw nothing")
	}
}
