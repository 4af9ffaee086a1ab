package directory_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/sync/directory"
)

// crowdReading is a reading of many users in five groups each.
func crowdReading(users, ms int) directory.Reading {
	r := seen(ms, nil)
	r.Groups = nil
	for g := range 200 {
		r.Groups = append(r.Groups, directory.RemoteGroup{ID: fmt.Sprintf("directory_group_%03d", g), Name: fmt.Sprint("Group ", g)})
	}
	for i := range users {
		p := person{id: fmt.Sprintf("directory_user_%07d", i), email: fmt.Sprintf("u%d@acme.test", i), idp: fmt.Sprint(i)}
		r.Users = append(r.Users, remoteUser(p))
		for g := range 5 {
			r.Edges = append(r.Edges, directory.Edge{UserID: p.id, GroupID: fmt.Sprintf("directory_group_%03d", (i+g)%200)})
		}
	}
	return r
}

// BenchmarkReading is what merging costs: of a directory that nobody knew, and
// of one that is as it is known.
func BenchmarkReading(b *testing.B) {
	const users = 10_000
	for b.Loop() {
		b.StopTimer()
		w := worldOver(b, openStore(b), directory.Options{})
		w.put(directory.Organization{ID: acme, Slug: "acme"})
		first, second := crowdReading(users, 1000), crowdReading(users, 2000)
		b.StartTimer()
		began := time.Now()
		if _, err := w.d.ApplyReading(context.Background(), first); err != nil {
			b.Fatal(err)
		}
		known := time.Now()
		if d, err := w.d.ApplyReading(context.Background(), second); err != nil || len(d.Changes) > 0 {
			b.Fatal(d, err)
		}
		b.ReportMetric(known.Sub(began).Seconds(), "s/first")
		b.ReportMetric(time.Since(known).Seconds()*1000, "ms/again")
	}
}

// BenchmarkPage is catch-up: pages of a hundred events.
func BenchmarkPage(b *testing.B) {
	w := worldOver(b, openStore(b), directory.Options{})
	w.put(directory.Organization{ID: acme, Slug: "acme"})
	events := many(50)
	ms := 10_000
	for b.Loop() {
		for i := range events {
			ms++
			events[i].ID, events[i].CreatedAt = fmt.Sprint("event_", ms), at(ms)
		}
		if _, err := w.d.ApplyPage(context.Background(), page("", events...)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkEvents is what webhooks reach: 64 senders, each event durable when it
// is answered.
func BenchmarkEvents(b *testing.B) {
	w := worldOver(b, openStore(b), directory.Options{})
	w.settle()
	w.lags = true
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(n.Add(1))
			p := person{id: fmt.Sprintf("directory_user_%d", i%5000), email: fmt.Sprintf("u%d@acme.test", i%5000), idp: fmt.Sprint(i % 5000)}
			if _, err := w.d.ApplyEvent(context.Background(), member("added", p, eng, "Engineering", 100+i)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
