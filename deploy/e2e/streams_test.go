package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A decision is taken when a request begins; what was begun under it does not
// outlive the limit that the gateway's configuration sets (15 minutes as
// shipped, 2 seconds here). Until then it flows, unbuffered.
func TestStreamsFlowAndEnd(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		if f.endsNoStream {
			return // as its page in docs/gateways says
		}
		done := make(chan struct{}, 1)
		app := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			defer func() { done <- struct{}{} }()
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				if _, err := fmt.Fprintf(w, "data: tick\n\n"); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		})
		w := freshWorld(t, f, func(w *world) {
			w.replace, w.limit = map[string]Address{"status.acme": app.Address}, 2*time.Second
		})
		resp, err := loopback().Get(w.url("status.acme", "/events"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines, begun := bufio.NewReader(resp.Body), time.Now()
		if line, err := lines.ReadString('\n'); err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(line, "data:") {
			t.Fatalf("status %d, first line %q, %v", resp.StatusCode, line, err)
		}
		if first := time.Since(begun); first > w.limit/2 {
			t.Errorf("the first line came after %v: the gateway holds streams back", first)
		}
		_, _ = io.Copy(io.Discard, lines) // until the gateway ends it, or the client's own timeout
		if lasted := time.Since(begun); lasted > 10*w.limit {
			t.Errorf("the stream lasted %v, with a limit of %v", lasted, w.limit)
		}
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the app was not told that the stream ended")
		}
	})
}

// WebSockets pass an allow, and end at the limit where the gateway can do that.
// A handshake that is not allowed gets a 401, never a redirect.
func TestWebSockets(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		app := newUpstream(t, echoWebSocket)
		w := freshWorld(t, f, func(w *world) {
			w.replace, w.limit = map[string]Address{"status.acme": app.Address, "crm.acme": app.Address}, 2*time.Second
		})
		if status, conn := w.handshake(t, "crm.acme"); status != http.StatusUnauthorized {
			t.Errorf("an anonymous handshake: status %d, want 401", status)
		} else {
			_ = conn.Close()
		}
		status, conn := w.handshake(t, "status.acme")
		defer conn.Close()
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d, want 101", status)
		}
		if _, err := conn.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
			t.Fatalf("read %q, %v", got, err)
		}
		if f.endsNoSocket {
			return // as its page in docs/gateways says
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * w.limit))
		if _, err := io.ReadFull(conn, got); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("the connection outlived the limit: %v", err)
		}
	})
}

// echoWebSocket accepts any upgrade and sends back the bytes it gets.
func echoWebSocket(w http.ResponseWriter, _ *http.Request) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	_ = buf.Flush()
	_, _ = io.Copy(conn, buf)
}

func (w *world) handshake(t *testing.T, app string) (int, net.Conn) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	host := strings.TrimSuffix(strings.TrimPrefix(w.url(app, "/"), "http://"), "/")
	_, err = fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAccept: text/html\r\n\r\n", host)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(oneByOne{conn}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, conn
}

// oneByOne keeps a buffered reader from taking bytes that follow the head.
type oneByOne struct{ io.Reader }

func (r oneByOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:1]) }
