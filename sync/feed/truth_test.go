package feed_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/sync/directory"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// groups are the names of the groups that count for a person, sorted; nil if
// there is no such user.
func (s *synced) groups(email string) []string {
	p, _ := s.workos.World().Profile(email)
	return s.groupsOf(p)
}

func (s *synced) groupsOf(p standin.Profile) []string {
	u := s.userOf(p)
	if u == nil {
		return nil
	}
	out := []string{}
	for _, g := range u.Groups {
		out = append(out, g.Name)
	}
	slices.Sort(out)
	return out
}

func (s *synced) user(email string) *authz.User {
	p, _ := s.workos.World().Profile(email)
	return s.userOf(p)
}

func (s *synced) userOf(p standin.Profile) *authz.User {
	u, _ := s.d.View().User(&authz.Session{OrganizationID: string(p.OrganizationID), ConnectionID: p.ConnectionID,
		UserID: p.ID, IdpID: p.IdpID, Email: p.Email, IssuedAt: time.Now()})
	return u
}

// truth fails unless the directory says of everyone what the stand-in holds.
func (s *synced) truth() {
	s.t.Helper()
	if diff := s.untruth(); diff != "" {
		s.t.Fatalf("%s\n%s", diff, s.logs.tail())
	}
}

func (s *synced) untruth() string {
	w := s.workos.World()
	for _, d := range w.Directories {
		want := map[string][]string{}
		for _, u := range w.Users {
			if u.DirectoryID == d.ID {
				want[u.ID+" "+string(u.Email)+" "+u.State] = []string{}
			}
		}
		for _, m := range w.Memberships {
			if u, _ := w.User(m.UserID); u.DirectoryID == d.ID {
				k := u.ID + " " + string(u.Email) + " " + u.State
				want[k] = append(want[k], m.GroupID)
			}
		}
		got := map[string][]string{}
		for _, u := range s.d.View().Users(d.ID) {
			got[u.ID+" "+u.Email+" "+u.State] = u.Groups
		}
		for _, m := range []map[string][]string{want, got} {
			for k := range m {
				slices.Sort(m[k])
			}
		}
		if !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("directory %s:\n got %v\nwant %v", d.ID, got, want)
		}
	}
	return ""
}

func (s *synced) revision() uint64 {
	s.t.Helper()
	_, rev, err := s.st.List(context.Background(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

func (s *synced) cursor() directory.Cursor {
	s.t.Helper()
	c, err := s.d.Cursor(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// counted are the counters by name and labels.
func (s *synced) counted() map[string]int64 {
	s.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := s.reader.Collect(context.Background(), &rm); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int64{}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					name := m.Name
					for _, kv := range p.Attributes.ToSlice() {
						name += " " + kv.Value.AsString()
					}
					out[name] += p.Value
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					name := m.Name
					for _, kv := range p.Attributes.ToSlice() {
						name += " " + kv.Value.AsString()
					}
					out[name] = p.Value
				}
			case metricdata.Gauge[float64]:
				out[m.Name] = int64(data.DataPoints[0].Value * 1000)
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					out[m.Name] += int64(p.Count)
				}
			}
		}
	}
	return out
}

// safeBuffer is a log that tests read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *safeBuffer) tail() string {
	s := b.String()
	return s[max(0, len(s)-3000):]
}

// soak is how long the long tests take: seconds, or minutes with SOAK set.
func soak(short, long time.Duration) time.Duration {
	if os.Getenv("SOAK") != "" {
		return long
	}
	return short
}
