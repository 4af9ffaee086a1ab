package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// wire is an app that keeps the head of each request as it came: a library
// would tidy away what is to be seen. It hangs up after each answer.
type wire struct {
	Address
	mu    sync.Mutex
	heads []string
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &wire{}
	if w.Address, err = ParseAddress(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(conn)
		}
	}()
	return w
}

func (w *wire) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if head.WriteString(line); line == "\r\n" {
			break
		}
	}
	w.mu.Lock()
	w.heads = append(w.heads, strings.ToLower(head.String()))
	w.mu.Unlock()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	_, _ = io.Copy(io.Discard, r) // the body, so that the answer is not lost by a reset
}

// took returns the heads that came since it was last asked.
func (w *wire) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.heads
	w.heads = nil
	return out
}

// A door that lets everybody in: what is left is the gateway's own doing.
func TestWhatTheAppIsSentOnTheWire(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		var mu sync.Mutex
		shown := map[string]bool{} // header names, in lower case, that the door saw
		app := newWire(t)
		c := stubConfig(t, Address{}, app.Address)
		c.Headers, c.Door = []string{"X-Plan"}, f.door
		if f.door == "grpc" {
			return // that door is shown everything, and there is no stub of it
		}
		door := newUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			for name := range r.Header {
				shown[strings.ToLower(name)] = true
			}
			rw.Header().Set("X-Battery-User-Id", "prof_1")
		})
		c.Authz = door.Address
		startGateway(t, f, c)
		host := fmt.Sprintf("crm.acme.battery.app:%d", c.Listen.Port)
		send := func(text string) []string {
			rawTo(t, c.Listen.Port, strings.ReplaceAll(text, "HOST", host))
			return app.took()
		}
		eventually(t, "the gateway routes", func() bool { return len(send("GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")) > 0 })

		// RFC 9112 §6.1: chunks in HTTP/1.0 are faulty framing. Whoever reads by
		// the version takes the body for the next request.
		for _, head := range send("POST /a HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n") {
			if first, _, _ := strings.Cut(head, "\r\n"); strings.HasSuffix(first, "http/1.0") && strings.Contains(head, "\r\ntransfer-encoding:") {
				t.Errorf("the app is sent chunks in HTTP/1.0:\n%s", head)
			}
		}

		// What another proxy would say of a person, and what a policy says.
		for _, name := range []string{"X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-User",
			"X-Forwarded-For", "X-Plan"} {
			for _, head := range send("GET /a HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n" + name + ": 203.0.113.66\r\n\r\n") {
				if strings.Contains(head, "203.0.113.66") {
					t.Errorf("the client's %s reached the app:\n%s", name, head)
				}
			}
		}

		// Cookies on several lines, as some balancers write HTTP/2's crumbs. (Traefik
		// takes them from the answer, of which this door knows nothing.)
		for _, head := range send("GET /a HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nCookie: theirs=1\r\nCookie: battery_login=forged; also=2\r\nCookie: __Host-battery_session=forged\r\n\r\n") {
			if f.tool != "traefik" && (strings.Contains(head, "forged") || !strings.Contains(head, "theirs=1") || !strings.Contains(head, "also=2")) {
				t.Errorf("of cookies on three lines the app received\n%s", head)
			}
		}

		// What some app takes for such a header, the door must see, to refuse it,
		// or the app must not.
		for _, name := range []string{"X_Plan", "X.Plan", "X_Real_Ip", "X.Real-Ip"} {
			lower := strings.ToLower(name)
			for _, head := range send("GET /a HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n" + name + ": forged\r\n\r\n") {
				mu.Lock()
				seen := shown[lower]
				mu.Unlock()
				if strings.Contains(head, "forged") && !seen {
					t.Errorf("%s reached the app and was not shown to the door:\n%s", name, head)
				}
			}
		}
	})
}
