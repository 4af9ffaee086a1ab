package apps_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/dev/apps"
)

// send writes a raw request, so that no client tidies it up on the way.
func send(t *testing.T, raw string) (*http.Response, map[string]any) {
	t.Helper()
	srv := httptest.NewServer(apps.Handler("crm.acme"))
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.ReplaceAll(raw, "\n", "\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return res, got
}

func TestHandler(t *testing.T) {
	t.Run("echoes exactly what it received", func(t *testing.T) {
		res, got := send(t, "POST /a%2Fb//c?x=1&y=%zz HTTP/1.1\nHost: crm.acme.battery.localhost:8000\nX-Two: a\nX-Two: b\nContent-Length: 0\nConnection: close\n\n")
		want := map[string]any{"method": "POST", "host": "crm.acme.battery.localhost:8000", "path": "/a%2Fb//c", "query": "x=1&y=%zz"}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s = %v, want %v", k, got[k], v)
			}
		}
		headers, _ := got["headers"].(map[string]any)
		if !reflect.DeepEqual(headers["X-Two"], []any{"a", "b"}) {
			t.Errorf("headers = %v", headers)
		}
		keys := []string{}
		for k := range got {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if !slices.Equal(keys, []string{"headers", "host", "method", "path", "query"}) {
			t.Errorf("fields = %v", keys)
		}
		if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Demo-App") != "crm.acme" {
			t.Errorf("answer headers = %v", res.Header)
		}
	})
	t.Run("takes the path out of an absolute target", func(t *testing.T) {
		_, got := send(t, "GET http://other.test/p?q HTTP/1.1\nHost: h\nConnection: close\n\n")
		if got["path"] != "/p" || got["query"] != "q" || got["host"] != "other.test" {
			t.Errorf("got %v", got)
		}
	})
	t.Run("is JSON for a browser too", func(t *testing.T) {
		res, _ := send(t, "GET / HTTP/1.1\nHost: h\nAccept: text/html\nConnection: close\n\n")
		if res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("Content-Type = %q", res.Header.Get("Content-Type"))
		}
	})
}
