package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// webhooks measures how many events per second are accepted, each on the disk
// and in force before its 200, and how long a lone one takes until the next
// decision is made from it.
func webhooks(ctx context.Context, o options, dir string) error {
	o.apps = 1
	s, err := startGate(ctx, o, dir, benchWorld(1))
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.introduce(ctx); err != nil {
		return err
	}
	floor, err := disk(dir, o.duration)
	if err != nil {
		return err
	}
	bare, stop, err := startFloor(ctx, 0)
	if err != nil {
		return err
	}
	defer stop()
	p := &poster{subject: s, o: o, list: filepath.Join(dir, "events.tsv"), dir: dir}
	many := []*target{{name: "floor: Gin reads the body, answers 200", url: bare}, {name: "webhooks, each durable and in force", url: s.publicURL}}
	for round := range o.rounds + 1 { // the first warms up
		for _, t := range many {
			m, err := p.post(ctx, t.url)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			if round > 0 {
				t.runs = append(t.runs, m)
			}
		}
	}
	if err := p.applied(ctx); err != nil {
		return err
	}
	answered, decided, err := s.lone(ctx, o)
	if err != nil {
		return err
	}
	reportWebhooks(o, floor, many, p.accepted, answered, decided)
	return nil
}

func reportWebhooks(o options, floor spread, many []*target, users int, answered, decided spread) {
	fmt.Printf("\n%d senders, %d × %v, %d users in the end, %d lone events, %d cores shared with the load, %s\n\n",
		o.senders, o.rounds, o.duration, users, o.events, runtime.NumCPU(), runtime.Version())
	bare, disk := median(many[0].runs).perSecond, floor.perSecond
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	row := func(name string, perSecond float64, p50, p99 time.Duration) {
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f\t%v\t%v\t\n", name, perSecond, perSecond/bare, perSecond/disk,
			p50.Round(time.Microsecond), p99.Round(time.Microsecond))
	}
	fmt.Fprintln(w, "what\tper second\t× bare floor\t× disk\tp50\tp99\t")
	row("disk: write 4 KiB, fdatasync", floor.perSecond, floor.p50, floor.p99)
	for _, t := range many {
		m := median(t.runs)
		row(t.name, m.perSecond, m.p50, m.p99)
	}
	row("one at a time: webhook → 200", answered.perSecond, answered.p50, answered.p99)
	row("one at a time: webhook → decision", decided.perSecond, decided.p50, decided.p99)
	_ = w.Flush()
	fmt.Println("\nBars: ≥ 10000 webhooks/s with 64 senders; one event durable and visible in ≤ 5 ms p99 (the last row). A commit syncs twice.")
}

// poster sends events that each create a user of their own.
type poster struct {
	*subject
	o         options
	dir, list string
	made      int // users so far
	accepted  int // by the gate
}

const maxEventRate = 25000 // per second and round: so many are prepared

// webhookScript posts each prepared event once, and ends the round when none is
// left; told "again", it begins anew, which is no different for the floor.
const webhookScript = `
local requests, at, again = {}, 0, false
init = function(args)
  again = args[2] == "again"
  for line in io.lines(args[1]) do
    local signature, body = line:match("^([^\t]+)\t(.+)$")
    requests[#requests + 1] = wrk.format("POST", "/webhooks/workos", {
      ["Host"] = "gate", ["Content-Type"] = "application/json", ["User-Agent"] = "bench", ["WorkOS-Signature"] = signature,
    }, body)
  end
end
request = function()
  at = at % #requests + 1
  if at == #requests and not again then wrk.thread:stop() end
  return requests[at]
end
`

// post runs one round against the gate or the floor. Its events are signed just
// before: WorkOS's signatures are good for three minutes.
func (p *poster) post(ctx context.Context, url string) (m measure, err error) {
	f, err := os.Create(p.list)
	if err != nil {
		return m, fmt.Errorf("write events: %w", err)
	}
	w, now := bufio.NewWriter(f), time.Now()
	first := p.made
	for range maxEventRate * max(1, int(p.o.duration.Seconds())) {
		p.made++
		body := p.event("dsync.user.created", p.made, now, p.user(p.made))
		fmt.Fprintf(w, "%s\t%s\n", standin.Sign(secret, now, body), body)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return m, fmt.Errorf("write events: %w", err)
	}
	if url != p.publicURL {
		p.made = first
		return load(ctx, p.dir, webhookScript, url, p.o.senders, p.o.duration, p.list, "again")
	}
	m, err = load(ctx, p.dir, webhookScript, url, p.o.senders, p.o.duration, p.list)
	p.accepted += m.requests
	return m, err
}

func (s *subject) event(kind string, n int, at time.Time, data string) []byte {
	return fmt.Appendf(nil, `{"object":"event","id":"event_01DXF6DT%018d","event":%q,"data":%s,"created_at":%q,"context":{}}`,
		n, kind, data, at.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// user is a directory user as large as they usually are.
func (s *subject) user(n int) string {
	d := s.world.Directories[0]
	return fmt.Sprintf(`{"object":"directory_user","id":"directory_user_01DXF7DT%018d","directory_id":%q,"organization_id":%q,"idp_id":"posted|%d",`+
		`"email":"posted%d@acme.test","emails":[{"primary":true,"type":"work","value":"posted%d@acme.test"}],"first_name":"Posted","last_name":"User %d",`+
		`"username":"posted%d","job_title":"Engineer","state":"active","custom_attributes":{"department":"Research"},"raw_attributes":{},`+
		`"created_at":"2026-01-01T00:00:00.000Z","updated_at":"2026-01-01T00:00:00.000Z"}`, n, d.ID, d.OrganizationID, n, n, n, n, n)
}

var appliedLine = regexp.MustCompile(`(?m)^battery_webhooks_total\{[^}]*outcome="applied"[^}]*type="dsync.user.created"[^}]*\} (\S+)$`)

// applied compares what the senders were told with what the gate counted: an
// accepted event that was not applied would make the number worthless.
func (p *poster) applied(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.adminURL+"/metrics", nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	m := appliedLine.FindSubmatch(raw)
	if m == nil {
		return errors.New("the gate's metrics do not count applied webhooks")
	}
	if n, err := strconv.ParseFloat(string(m[1]), 64); err != nil || int(n) < p.accepted {
		return fmt.Errorf("%d events were answered 200, the gate applied %s", p.accepted, m[1])
	}
	return nil
}

// lone sends one event at a time: a user leaves a group and comes back. After
// each 200 it asks for a decision, which must be made from it.
func (s *subject) lone(ctx context.Context, o options) (answered, decided spread, err error) {
	cookie, err := s.signIn(ctx, host(0), email(0))
	if err != nil {
		return answered, decided, err
	}
	c := browser()
	var until200, untilSeen []time.Duration
	clock := time.Now().Add(-time.Hour)
	u := s.world.Users[0]
	member := fmt.Sprintf(`{"directory_id":%q,"user":%s,"group":{"object":"directory_group","id":%q,"idp_id":"Engineering","directory_id":%q,"organization_id":%q,"name":"Engineering"}}`,
		u.DirectoryID, strings.Replace(s.user(0), "directory_user_01DXF7DT", "directory_user_01DXF6DT", 1), s.world.Groups[0].ID, u.DirectoryID, u.OrganizationID)
	for i := range o.events {
		kind, want := "dsync.group.user_removed", http.StatusForbidden
		if i%2 == 1 {
			kind, want = "dsync.group.user_added", http.StatusOK
		}
		body := s.event(kind, 1e9+i, clock.Add(time.Duration(i)*time.Millisecond), member)
		began := time.Now()
		got, err := send(ctx, c, http.MethodPost, s.publicURL+"/webhooks/workos", body, http.Header{"Workos-Signature": {standin.Sign(secret, began, body)}})
		if err != nil || got != http.StatusOK {
			return answered, decided, fmt.Errorf("webhook %d was answered %d (%w)", i, got, err)
		}
		until200 = append(until200, time.Since(began))
		got, err = send(ctx, c, http.MethodGet, s.authzURL+"/authz/forward-auth", nil, http.Header{
			"Cookie": {cookie}, "X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {host(0)}, "X-Forwarded-Uri": {"/"},
		})
		if err != nil || got != want {
			return answered, decided, fmt.Errorf("after webhook %d (%s) the next decision is %d, not %d (%w)", i, kind, got, want, err)
		}
		untilSeen = append(untilSeen, time.Since(began))
	}
	return spreadOf(until200), spreadOf(untilSeen), nil
}

// send makes a request and returns the answer's status.
func send(ctx context.Context, c *http.Client, method, url string, body []byte, header http.Header) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(string(body)))
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	req.Header = header
	resp, err := c.Do(req)
	if err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}
