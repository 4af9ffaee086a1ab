package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// readers are apps that tell how they read a path: net/http, Node's URL, and the
// path by which nginx opens a file.
var readers = []string{"go", "node", "nginx"}

// notAdmin lets everybody everywhere but below /admin.
const notAdmin = `package battery.authz

decision := {"allow": allow, "reasons": [{"code": "by_path", "message": "By the path."}], "roles": [], "headers": {}}

default allow := false

allow if not below_admin

below_admin if input.request.path == "/admin"

below_admin if startswith(input.request.path, "/admin/")
`

const nodeReader = `
const http = require('http');
http.createServer((req, res) => {
  let path;
  try { path = decodeURIComponent(new URL(req.url, 'http://app').pathname); } catch (e) { path = 'unreadable'; }
  res.setHeader('X-Reader', 'node');
  res.end(JSON.stringify({uri: req.url, path, id: req.headers['x-battery-decision-id']}));
}).listen(Number(process.argv[2]), '127.0.0.1');
`

// nginx tells $uri, by which its static files are found: decoded, without dot
// segments, slashes merged.
const nginxReader = `%serror_log stderr crit;
pid reader.pid;
worker_processes 1;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path rbody;
    proxy_temp_path rproxy;
    fastcgi_temp_path rfastcgi;
    uwsgi_temp_path ruwsgi;
    scgi_temp_path rscgi;
    keepalive_requests 100000;
    server {
        listen 127.0.0.1:%d;
        location / {
            add_header X-Reader nginx always;
            default_type text/plain;
            return 200 "$http_x_battery_decision_id\n$request_uri\n$uri";
        }
    }
}
`

// reading is how an app read a request that reached it.
type reading struct{ ID, URI, Path string }

// startReaders starts the three apps.
func startReaders(t *testing.T) map[string]Address {
	t.Helper()
	node, nginx, dir := tool(t, "node"), tool(t, "nginx"), t.TempDir()
	goApp := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Reader", "go")
		_ = json.NewEncoder(w).Encode(map[string]string{"uri": r.RequestURI, "path": r.URL.Path, "id": r.Header.Get("X-Battery-Decision-Id")})
	})
	out := map[string]Address{"go": goApp.Address, "node": deadAddress(t), "nginx": deadAddress(t)}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	script, conf := filepath.Join(dir, "reader.js"), filepath.Join(dir, "reader.conf")
	for path, text := range map[string]string{script: nodeReader, conf: fmt.Sprintf(nginxReader, user, out["nginx"].Port)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, command := range map[string][]string{
		"node": {node, script, fmt.Sprint(out["node"].Port)}, "nginx": {nginx, "-p", dir, "-c", conf, "-g", "daemon off;"},
	} {
		p, err := program.Start(nil, filepath.Join(dir, name+".log"), command[0], command[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Terminate() }) // a killed nginx leaves workers behind
		if err := p.AwaitListening(out[name].String()); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// differentialWorld serves each reader twice: as an app with strict paths, and as
// one where the policy must allow every reading.
func differentialWorld(t *testing.T, f front, at map[string]Address) *world {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "decision.rego"), []byte(notAdmin), 0o600); err != nil {
		t.Fatal(err)
	}
	return freshWorld(t, f, func(w *world) {
		w.replace = map[string]Address{}
		org := w.organizationID(t, "acme")
		for _, reader := range readers {
			for _, mode := range []string{"strict", "every-reading"} {
				id := reader + "-" + mode + ".acme"
				status := w.admin(t, http.MethodPost, "apps", map[string]any{
					"id": id, "organization_id": org, "hosts": []string{id + "." + w.Domain}, "public": true, "path": mode, "allowed_roles": []string{},
				}, nil)
				if status != http.StatusCreated {
					t.Fatalf("create app %s: status %d", id, status)
				}
				w.Apps[id], w.replace[id] = "", at[reader]
			}
		}
	}, "--policy", "dir:"+dir)
}

// asker keeps a connection and asks for raw targets on it.
type asker struct {
	port int
	conn net.Conn
	in   *bufio.Reader
}

func (a *asker) drop() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

// ask sends one target as it is. ok: an app answered.
func (a *asker) ask(host, target string) (got reading, ok bool, err error) {
	for attempt := range 2 {
		fresh := a.conn == nil
		if fresh {
			if a.conn, err = net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", a.port), patience); err != nil {
				return got, false, err
			}
			a.in = bufio.NewReader(a.conn)
		}
		_ = a.conn.SetDeadline(time.Now().Add(patience))
		_, err = fmt.Fprintf(a.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n", target, host)
		var resp *http.Response
		if err == nil {
			resp, err = http.ReadResponse(a.in, nil)
		}
		if err != nil {
			a.drop() // the gateway hung up, on this target or on an idle connection
			if fresh || attempt > 0 {
				return got, false, nil
			}
			continue
		}
		body, rerr := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if rerr != nil || resp.Close {
			a.drop()
		}
		reader := resp.Header.Get("X-Reader")
		if reader == "nginx" {
			parts := strings.SplitN(string(body), "\n", 3)
			return reading{parts[0], parts[1], parts[2]}, true, nil
		}
		if reader == "" {
			if resp.StatusCode < 400 {
				return got, false, fmt.Errorf("%s: status %d, and no app answered", target, resp.StatusCode)
			}
			return got, false, nil
		}
		return got, true, json.Unmarshal(body, &got)
	}
	return got, false, nil
}

// What the gateway forwards, as the app reads it, is what the policy saw, or the
// request was refused. 5,000 odd paths go through each gateway in each mode, to
// apps that read in three ways.
func TestAppsReadWhatThePolicySaw(t *testing.T) {
	total := 5000
	if os.Getenv("SOAK") != "" {
		total *= 20
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		_, _ = fmt.Sscan(s, &seed)
	}
	t.Logf("SEED=%d", seed)
	at := startReaders(t)
	t.Run("behind", func(t *testing.T) { // ends before the readers do
		gateways(t, func(t *testing.T, f front) {
			w := differentialWorld(t, f, at)
			var group sync.WaitGroup
			for i, mode := range []string{"strict", "every-reading"} {
				for j, reader := range readers {
					group.Go(func() {
						compare(t, w, reader, mode, (total+len(readers)-1)/len(readers), rand.New(rand.NewPCG(seed, uint64(10*i+j))))
					})
				}
			}
			group.Wait()
		})
	})
}

// compare sends n paths to one app and holds what it read against the records.
func compare(t *testing.T, w *world, reader, mode string, n int, r *rand.Rand) {
	app := reader + "-" + mode + ".acme"
	reached, refused := map[string]reading{}, 0
	targets := map[string]string{}
	a := &asker{port: w.port}
	defer a.drop()
	for range n {
		target := oddPath(r)
		got, ok, err := a.ask(w.host(app), target)
		switch {
		case err != nil:
			t.Errorf("%s: %v", app, err)
			return
		case !ok:
			refused++
		default:
			if got.ID == "" || reached[got.ID].ID != "" {
				t.Errorf("%s: %q reached the app with decision %q, which is none of its own", app, target, got.ID)
			}
			reached[got.ID], targets[got.ID] = got, target
		}
	}
	t.Logf("%s: %d reached the app, %d were refused", app, len(reached), refused)
	if len(reached) < n/50 || refused < n/50 {
		t.Errorf("%s: %d reached the app and %d were refused: that proves little", app, len(reached), refused)
	}
	rows := w.allowedRows(t, app, len(reached))
	for id, got := range reached {
		row, ok := rows[id]
		if !ok {
			t.Errorf("%s: %q reached the app without a record", app, targets[id])
			continue
		}
		saw := decodeOnce(row.Path)
		if mode == "strict" && got.Path != saw || got.Path == "/admin" || strings.HasPrefix(got.Path, "/admin/") {
			t.Errorf("%s: %q was decided as %q, forwarded as %q, and the app reads %q", app, targets[id], row.Path, got.URI, got.Path)
		}
	}
}

// allowedRows reads an app's allowed decisions, once all of them are written.
func (w *world) allowedRows(t *testing.T, app string, want int) map[string]decision {
	rows := map[string]decision{}
	for end := time.Now().Add(patience); time.Now().Before(end) && len(rows) < want; time.Sleep(50 * time.Millisecond) {
		cursor := ""
		for {
			q := url.Values{"app": {app}, "result": {"allow"}, "limit": {"500"}}
			if cursor != "" {
				q.Set("cursor", cursor)
			}
			var page struct {
				Data       []decision
				NextCursor *string `json:"next_cursor"`
			}
			w.admin(t, http.MethodGet, "decisions?"+q.Encode(), nil, &page)
			for _, d := range page.Data {
				rows[d.ID] = d
			}
			if page.NextCursor == nil {
				break
			}
			cursor = *page.NextCursor
		}
	}
	return rows
}
