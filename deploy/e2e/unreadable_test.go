package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestNoRequestMakesTheQuestionFail: an Envoy may be set to let requests pass when
// the call to the gRPC door fails (failure_mode_allow), for the day that the gate is
// down. Then nobody may be able to make the call fail: by headers that are longer
// than what the door reads, by bytes that no protobuf string may hold. Each such
// question has an answer, and one record.
func TestNoRequestMakesTheQuestionFail(t *testing.T) {
	for _, raw := range []bool{true, false} {
		t.Run(fmt.Sprintf("encode_raw_headers %t", raw), func(t *testing.T) {
			t.Parallel()
			f := front{name: "envoy-grpc", tool: "envoy", door: "grpc"}
			app := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) })
			w := freshWorld(t, f, func(w *world) {
				w.replace = map[string]Address{"crm.acme": app.Address}
				w.edit = trusting(raw)
			})
			for _, row := range unreadable {
				before, asked := app.hits.Load(), len(w.decisions(t, url.Values{}))
				status := w.sendRaw(t, rawHead(fmt.Sprintf("crm.acme.%s:%d", w.Domain, w.port), row.line, row.headers, row.body), row.body)
				if app.hits.Load() != before {
					t.Errorf("%s: reached the app (%d)", row.name, status)
					continue
				}
				if status < 400 || status > 499 {
					t.Errorf("%s: answered %d", row.name, status)
				}
				if row.refused {
					continue // by Envoy itself, before anybody is asked
				}
				eventually(t, row.name+" has its record", func() bool { return len(w.decisions(t, url.Values{})) > asked })
				if rows := w.decisions(t, url.Values{}); len(rows) != asked+1 {
					t.Errorf("%s: %d records", row.name, len(rows)-asked)
				} else if row.code != "" && rows[0].codes() != row.code {
					t.Errorf("%s: %s", row.name, rows[0].codes())
				}
			}
			count(t, f)
		})
	}
}

// trusting is an Envoy that shows the door all it can, and lets pass what it gets
// no answer for.
func trusting(raw bool) func(string) string {
	return func(conf string) string {
		for was, is := range map[string]string{
			"failure_mode_allow: false": "failure_mode_allow: true\n                      include_tls_session: true\n                      include_peer_certificate: true\n" +
				"                      with_request_body: {max_request_bytes: 4194304, allow_partial_message: true}",
			"encode_raw_headers: true":                 fmt.Sprintf("encode_raw_headers: %t", raw),
			"stat_prefix: apps":                        "stat_prefix: apps\n                max_request_headers_kb: 8192",
			"max_stream_duration: 900s":                "max_stream_duration: 900s\n                  max_headers_count: 20000",
			"per_connection_buffer_limit_bytes: 65536": "per_connection_buffer_limit_bytes: 33554432",
			"timeout: 1s   # Envoy's own":              "timeout: 20s # Envoy's own",
		} {
			conf = strings.Replace(conf, was, is, 1)
		}
		return conf
	}
}

// unreadable are requests that would make a careless question fail.
var unreadable = []struct {
	name    string
	line    string   // empty: "GET / HTTP/1.1"
	headers []string // as they are
	body    string
	code    string // the reason, where it is always the same
	refused bool   // by Envoy itself
}{
	{name: "a plain request", code: "no_session"},
	{name: "a header of 900 KiB", headers: []string{"X-Long: " + strings.Repeat("x", 900<<10)}},
	{name: "a header of 3 MiB", headers: []string{"X-Long: " + strings.Repeat("x", 3<<20)}, code: "malformed_request"},
	{name: "a header of 8,000 KiB", headers: []string{"X-Long: " + strings.Repeat("x", 8000<<10)}, code: "malformed_request"},
	{name: "a path of 3 MiB", line: "GET /" + strings.Repeat("x", 3<<20) + " HTTP/1.1", code: "malformed_request"},
	{name: "10,000 headers", headers: []string{strings.Repeat("A: b\r\n", 9999) + "A: b"}},
	{name: "bytes in a header", headers: []string{"X-Name: J\xfcrgen \xff\xfe"}},
	{name: "bytes in a cookie", headers: []string{"Cookie: a=\xff\xc0"}},
	{name: "bytes in the path", line: "GET /adm\xffin HTTP/1.1", refused: true},
	{name: "bytes in the method", line: "G\xffT / HTTP/1.1", refused: true},
	{name: "bytes in a body", line: "POST / HTTP/1.1", body: "\xff\xfe\x00\xc0"},
	{name: "a body of 3 MiB", line: "POST / HTTP/1.1", body: strings.Repeat("x", 3<<20), code: "malformed_request"},
	{name: "a body of 6 MiB, of which 4 are shown", line: "POST / HTTP/1.1", body: strings.Repeat("\xff", 6<<20), code: "malformed_request"},
}

// sendRaw sends a request as it is and returns the status of the answer; 0 where
// the front hung up.
func (w *world) sendRaw(t *testing.T, head, body string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(conn, head+body) }() // the answer may come before the end
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func rawHead(host, line string, headers []string, body string) string {
	if line == "" {
		line = "GET / HTTP/1.1"
	}
	lines := append([]string{line, "Host: " + host, "Connection: close", "Accept: application/json"}, headers...)
	if body != "" {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}
