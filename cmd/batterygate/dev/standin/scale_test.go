package standin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// bigWorld is acme with many users: each in Everyone, and in one team of 100.
func bigWorld(users int) standin.World {
	demo := standin.DefaultWorld()
	w := standin.World{
		Organizations: demo.Organizations[:1], Connections: demo.Connections[:1], Directories: demo.Directories[:1], Groups: demo.Groups[:3],
	}
	everyone, _ := demo.Group("acme", "Everyone")
	for i := range users {
		u := demo.Users[0]
		u.ID, u.IdpID = fmt.Sprintf("directory_user_01DXF6DT00%016d", i), fmt.Sprintf("big|%d", i)
		u.Email = standin.Nullable(fmt.Sprintf("user-%d@acme.test", i))
		w.Users = append(w.Users, u)
		if i%100 == 0 {
			g := demo.Groups[0]
			g.ID, g.Name = fmt.Sprintf("directory_group_01DXF6DT01%016d", i/100), fmt.Sprintf("Team %d", i/100)
			g.IdpID = g.Name
			w.Groups = append(w.Groups, g)
		}
		team := w.Groups[len(w.Groups)-1].ID
		w.Memberships = append(w.Memberships, standin.Membership{GroupID: everyone.ID, UserID: u.ID}, standin.Membership{GroupID: team, UserID: u.ID})
	}
	return w
}

// big is a server over a big world, kept in a file. Its clock jumps a second
// with every reading, so that no rate limit is in the way.
func big(b testing.TB, users int) *standin.Server {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s, err := standin.New(standin.Options{
		APIKey: apiKey, ClientID: clientID, World: bigWorld(users), State: filepath.Join(b.TempDir(), "workos.json"),
		Now: func() time.Time { now = now.Add(time.Second); return now },
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func serve(b testing.TB, h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:9", "127.0.0.1"
	r.Header.Set("Authorization", "Bearer "+apiKey)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code >= 300 {
		b.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w
}

// BenchmarkEvents is how fast things happen in a world of 10,000 users.
func BenchmarkEvents(b *testing.B) {
	h := big(b, 10_000).Handler()
	i := 0
	for b.Loop() {
		op := [...]string{"added", "removed"}[i&1]
		serve(b, h, "POST", "/_dev/events", fmt.Sprintf(`{"event":"dsync.group.user_%s","data":{"user":"user-%d@acme.test","group":"Admins"}}`, op, i/2%10_000))
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkListUsers reads all of 10,000 users, in pages of 100.
func BenchmarkListUsers(b *testing.B) {
	s := big(b, 10_000)
	h, d := s.Handler(), s.World().Directories[0].ID
	for b.Loop() {
		n, after := 0, ""
		for {
			page := serve(b, h, "GET", "/directory_users?order=asc&limit=100&directory="+d+"&after="+after, "").Body.String()
			n += strings.Count(page, `"object":"directory_user"`)
			_, rest, _ := strings.Cut(page[strings.LastIndex(page, `"list_metadata"`):], `"after":`)
			if strings.HasPrefix(rest, "null") {
				break
			}
			after = strings.Trim(strings.TrimRight(rest, "}\n"), `"`)
		}
		if n != 10_000 {
			b.Fatalf("%d users", n)
		}
	}
}

// A large world is no slower to work with than it must be. The bound is loose,
// against a busy machine: writing all of it with every event, or walking through
// all of it for every page, would take minutes.
func TestALargeWorld(t *testing.T) {
	s := big(t, 4_000)
	h, d := s.Handler(), s.World().Directories[0].ID
	began := time.Now()
	for i := range 500 {
		serve(t, h, "POST", "/_dev/events", fmt.Sprintf(`{"event":"dsync.group.user_added","data":{"user":"user-%d@acme.test","group":"Admins"}}`, i))
	}
	after := ""
	for range 40 {
		page := serve(t, h, "GET", "/directory_users?order=asc&limit=100&directory="+d+after, "").Body.String()
		last := page[strings.LastIndex(page, `"after":`)+len(`"after":`):]
		after = "&after=" + strings.Trim(last, `"}`)
	}
	if after != "&after=null" {
		t.Errorf("after 40 pages: %s", after)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("500 events and 40 pages took %v", took)
	}
}
