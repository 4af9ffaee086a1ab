package forward_test

import (
	"net/http"
	"testing"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}

// BenchmarkAllow is the way of most questions through a door, Checker included
// (with the policy of these tests, which costs next to nothing).
func BenchmarkAllow(b *testing.B) {
	w := newWorld(b)
	c := get("crm.acme.test", "/deals/2030?open=1", ada, browser, "Accept: text/html", "Accept-Language: de", "User-Agent: Mozilla/5.0",
		"Accept-Encoding: gzip", "X-Forwarded-For: 203.0.113.9", "Referer: https://crm.acme.test/")
	r := question("GET", "/authz/forward-auth", "auth.internal", c.header)
	set(r, "X-Forwarded-Method", c.method)
	set(r, "X-Forwarded-Proto", c.scheme)
	set(r, "X-Forwarded-Host", c.authority)
	set(r, "X-Forwarded-Uri", c.uri)
	b.ReportAllocs()
	for b.Loop() {
		n := &nowhere{header: http.Header{}}
		w.http.ServeHTTP(n, r)
		w.records, w.asked, w.answers = w.records[:0], w.asked[:0], w.answers[:0]
	}
}

// TestAllowAllocations holds the way of most questions to what it takes from the
// heap: a door must cost little beside the decision.
func TestAllowAllocations(t *testing.T) {
	w := newWorld(t)
	c := get("crm.acme.test", "/deals/2030?open=1", ada, browser, "Accept: text/html", "Accept-Language: de", "X-Forwarded-For: 203.0.113.9")
	r := question("GET", "/authz/forward-auth", "auth.internal", c.header)
	set(r, "X-Forwarded-Method", c.method)
	set(r, "X-Forwarded-Proto", c.scheme)
	set(r, "X-Forwarded-Host", c.authority)
	set(r, "X-Forwarded-Uri", c.uri)
	n := testing.AllocsPerRun(200, func() {
		w.http.ServeHTTP(&nowhere{header: http.Header{}}, r)
		w.records, w.asked, w.answers = w.records[:0], w.asked[:0], w.answers[:0]
	})
	if n > 36 {
		t.Errorf("an allow takes %v allocations", n)
	}
}
