package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

// doorScript makes wrk ask the prepared requests in turn. Anything but a 200 is
// an error: a benchmark of denials would be worth nothing.
const doorScript = `
local requests = {}
init = function(args)
  math.randomseed(42)
  for line in io.lines(args[1]) do
    local host, uri, cookie = line:match("^(%S+)\t(%S+)\t(%S+)$")
    requests[#requests + 1] = wrk.format("GET", "/authz/forward-auth", {
      ["Host"] = "gate", ["Cookie"] = cookie, ["X-Forwarded-Method"] = "GET", ["X-Forwarded-Proto"] = "http",
      ["X-Forwarded-Host"] = host, ["X-Forwarded-Uri"] = uri, ["X-Forwarded-For"] = "192.0.2.7",
      ["Accept"] = "text/html", ["User-Agent"] = "bench",
    })
  end
  at = math.random(#requests)
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
`

// doneScript ends every script: it prints what wrk counted in a form that can be
// read back.
const doneScript = `
done = function(summary, latency, _)
  io.write(string.format("RESULT %d %f %f %f %d\n", summary.requests, summary.requests / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
`

// measure is one run of wrk.
type measure struct {
	requests  int
	perSecond float64
	p50, p99  time.Duration
}

var resultLine = regexp.MustCompile(`(?m)^RESULT (\d+) (\S+) (\S+) (\S+) (\d+)$`)

// load lets wrk ask url for a while, by a script; args are the script's.
func load(ctx context.Context, dir, script, url string, connections int, d time.Duration, args ...string) (measure, error) {
	path := filepath.Join(dir, "bench.lua")
	if err := os.WriteFile(path, []byte(script+doneScript), 0o600); err != nil {
		return measure{}, fmt.Errorf("write wrk script: %w", err)
	}
	// One thread: wrk shares the cores with what it measures.
	cmd := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(max(1, int(d.Seconds())))+"s", "-s", path, url, "--")
	cmd.Args = append(cmd.Args, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return measure{}, fmt.Errorf("run wrk (Debian package wrk; 'make tools' installs it): %w: %s", err, strings.TrimSpace(string(out)))
	}
	m := resultLine.FindStringSubmatch(string(out))
	if m == nil {
		return measure{}, fmt.Errorf("wrk printed no result: %s", out)
	}
	if m[5] != "0" {
		return measure{}, fmt.Errorf("%s requests were not answered with 200", m[5])
	}
	num := func(s string) float64 { f, _ := strconv.ParseFloat(s, 64); return f }
	return measure{
		requests: int(num(m[1])), perSecond: num(m[2]),
		p50: time.Duration(num(m[3])) * time.Microsecond, p99: time.Duration(num(m[4])) * time.Microsecond,
	}, nil
}

// median of several runs, by requests per second.
func median(all []measure) measure {
	sort.Slice(all, func(i, j int) bool { return all[i].perSecond < all[j].perSecond })
	return all[len(all)/2]
}
