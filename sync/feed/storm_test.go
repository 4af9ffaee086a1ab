package feed_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// For a while WorkOS answers whatever it likes. No decision changes meanwhile;
// when it is over, all that happened is caught up with.
func TestAStormChangesNoDecisionAndIsCaughtUpWith(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *setup) {
		o.feed.ReconcileEvery, o.timeout = 100*time.Millisecond, 300*time.Millisecond
	})
	s.run()
	s.until("all is calm", func() bool {
		return s.counted()["battery.sync.reconciles ok"] >= 2 && s.c.Status().Poller.Failures == 0
	})
	people := []string{"ada@acme.test", "bob@acme.test", "eve@acme.test", "root@acme.test", "gil@globex.test"}
	before := map[string][]string{}
	sessions := map[string]func() []string{} // of before the storm
	for _, p := range people {
		profile, _ := s.workos.World().Profile(p)
		sessions[p] = func() []string { return s.groupsOf(profile) }
		before[p] = sessions[p]()
	}
	var storms atomic.Int64
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool { storms.Add(1); storm(w, r); return true })
	// What happens during the storm is seen by nobody until it is over.
	s.happen("dsync.group.user_removed", adaRemoved(s))
	s.happen("dsync.user.deleted", `{"user":"bob@acme.test"}`)
	s.happen("dsync.user.created", `{"email":"zoe@acme.test","organization":"acme"}`)
	s.happen("dsync.group.user_added", `{"user":"zoe@acme.test","group":"Engineering"}`)
	s.happen("dsync.group.user_removed", `{"user":"root@acme.test","group":"Admins"}`, "created_at", longAgo)
	checks := 0
	for end := time.Now().Add(soak(2*time.Second, 3*time.Minute)); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for _, p := range people {
			if got := sessions[p](); !slices.Equal(got, before[p]) {
				t.Fatalf("%s: %v became %v in the storm\n%s", p, before[p], got, s.logs.tail())
			}
		}
		checks++
	}
	if storms.Load() < 10 {
		t.Errorf("only %d requests went into the storm", storms.Load())
	}
	if s.untruth() == "" {
		t.Error("nothing was lost in the storm")
	}
	over := time.Now()
	s.hinder(nil)
	s.until("all is as WorkOS has it", func() bool { return s.untruth() == "" })
	t.Logf("%d requests in the storm, %d looks at the decisions; caught up %v after it", storms.Load(), checks, time.Since(over))
}

// storm answers wrongly in one of the ways that an API can.
func storm(w http.ResponseWriter, r *http.Request) {
	list := func(data string) string {
		return `{"object":"list","data":` + data + `,"list_metadata":{"after":null}}`
	}
	switch rand.N(12) {
	case 0:
		fail(w, http.StatusTooManyRequests, `"Ratelimited"`)
	case 1:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, `"Ratelimited"`)
	case 2:
		fail(w, http.StatusInternalServerError, `{"message":"Internal Server Error"}`)
	case 3:
		fail(w, http.StatusServiceUnavailable, `<html>down</html>`)
	case 4: // half a page, and the connection breaks
		w.Header().Set("Content-Length", "4096")
		w.WriteHeader(200)
		fmt.Fprint(w, `{"object":"list","data":[{"id":"directory_user_`)
	case 5:
		fail(w, 200, `{}`)
	case 6:
		fail(w, 200, `{"object":"list","data":[`)
	case 7:
		fail(w, 200, list(`null`))
	case 8:
		fail(w, 200, list(`[{"id":"unlike_anything"}]`))
	case 9: // a time-out
		<-r.Context().Done()
	case 10:
		fail(w, http.StatusUnauthorized, `{"message":"Unauthorized"}`)
	case 11:
		panic(http.ErrAbortHandler)
	}
}
