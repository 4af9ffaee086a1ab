package feed_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/sync/feed"
	"battery.app/gate/sync/workosapi"
)

// 10,000 users within the rate limit's own time + 10 %. Unless SOAK is set, the
// limit is made shorter, and what comes on top of it is only held to the order
// of magnitude: a shared machine under the race detector is no measure.
func TestALargeDirectoryTakesTheRateLimitsTime(t *testing.T) {
	const users, groups, real = 10_000, 20, 3.0
	perSecond, part := 100.0, time.Duration(2)
	if soak(0, 1) > 0 {
		perSecond, part = real, 10
	}
	big := &bigDirectory{users: users, groups: groups}
	srv := httptest.NewServer(big)
	defer srv.Close()
	s := start(t, func(o *setup) { o.empty = true })
	client, err := workosapi.New(workosapi.Options{APIKey: apiKey, ClientID: "c", Endpoint: srv.URL, DirectoryUsersRate: perSecond})
	if err != nil {
		t.Fatal(err)
	}
	c, err := feed.NewCatchUp(feed.CatchUpOptions{WorkOS: client, Directory: s.d, Published: s.wait})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	diffs, err := c.Reconcile(context.Background(), "", false)
	took := time.Since(began)
	if err != nil || len(changes(diffs, "user", "add")) != users || len(changes(diffs, "edge", "add")) != 2*users {
		t.Fatalf("%d users, %d memberships, %v", len(changes(diffs, "user", "add")), len(changes(diffs, "edge", "add")), err)
	}
	if got := len(s.d.View().Users("directory_BIG")); got != users {
		t.Errorf("%d users are in force", got)
	}
	limit := func(rate float64) time.Duration {
		return time.Duration(float64(big.limited.Load()) / rate * float64(time.Second))
	}
	t.Logf("%d users, %d memberships: %v; %d requests at %g/s: %v", users, 2*users, took, big.limited.Load(), perSecond, limit(perSecond))
	if more := took - limit(perSecond); more > limit(real)/part {
		t.Errorf("%v on top of the rate limit's %v; allowed are %v", more, limit(perSecond), limit(real)/part)
	}
}

// bigDirectory is one directory with many users, each in "Everyone" and one of
// the other groups, behind a network of 20 ms.
type bigDirectory struct {
	users, groups int
	limited       atomic.Int64
}

func (b *bigDirectory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(20 * time.Millisecond)
	const dir = `"directory_id":"directory_BIG","organization_id":"org_BIG"`
	q := r.URL.Query()
	user := func(i int) string {
		return fmt.Sprintf(`{"id":"directory_user_%06d",%s,"idp_id":"%d","email":"u%d@big.test","state":"active"}`, i, dir, i, i)
	}
	switch {
	case r.URL.Path == "/organizations":
		fail(w, 200, `{"data":[{"id":"org_BIG","name":"Big"}],"list_metadata":{"after":null}}`)
	case r.URL.Path == "/directories":
		fail(w, 200, `{"data":[{"id":"directory_BIG","organization_id":"org_BIG","state":"linked"}],"list_metadata":{"after":null}}`)
	case r.URL.Path == "/directories/directory_BIG":
		fail(w, 200, `{"id":"directory_BIG","organization_id":"org_BIG","state":"linked"}`)
	case r.URL.Path == "/directory_groups":
		b.page(w, q.Get("after"), "directory_group_", 0, b.groups, 1, func(i int) string {
			return fmt.Sprintf(`{"id":"directory_group_%06d",%s,"name":"G%d"}`, i, dir, i)
		})
	case r.URL.Path == "/directory_users":
		b.limited.Add(1)
		first, step := 0, 1
		if g := q.Get("group"); g != "" && g != "directory_group_000000" {
			step = b.groups - 1
			_, _ = fmt.Sscanf(g, "directory_group_%d", &first)
			first--
		}
		b.page(w, q.Get("after"), "directory_user_", first, b.users, step, user)
	default:
		fail(w, 200, `{"data":[],"list_metadata":{"after":null}}`)
	}
}

func (b *bigDirectory) page(w http.ResponseWriter, after, prefix string, from, end, step int, object func(int) string) {
	if after != "" {
		_, _ = fmt.Sscanf(after, prefix+"%d", &from)
		from += step
	}
	var out []string
	i := from
	for ; i < end && len(out) < 100; i += step {
		out = append(out, object(i))
	}
	next := "null"
	if i < end {
		next = fmt.Sprintf(`"%s%06d"`, prefix, i-step)
	}
	fail(w, 200, `{"object":"list","data":[`+strings.Join(out, ",")+`],"list_metadata":{"after":`+next+`}}`)
}
