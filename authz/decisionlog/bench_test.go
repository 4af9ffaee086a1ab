package decisionlog_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

// BenchmarkRecord is what a decision pays for being recorded. The queue is
// emptied whenever it is full, so that what is measured is keeping records,
// not dropping them.
func BenchmarkRecord(b *testing.B) {
	const size = 1 << 16
	l := open(b, filepath.Join(b.TempDir(), "d.db"), decisionlog.Options{Queue: size})
	r := allowed(day)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		l.Record(r)
		if n++; n%size == 0 {
			decisionlog.Abandon(l)
		}
	}
	decisionlog.Abandon(l)
}

// BenchmarkDrain is how fast queued decisions become rows: 2,000 sessions, 20
// apps, as many indexes as queries need.
func BenchmarkDrain(b *testing.B) {
	const each = 20000
	apps, sessions := world(20, 2000)
	for b.Loop() {
		b.StopTimer()
		l := open(b, filepath.Join(b.TempDir(), "d.db"), decisionlog.Options{Every: time.Hour, Batch: 500})
		for i := range each {
			r := allowed(day.Add(time.Duration(i) * time.Millisecond))
			r.App, r.Session = apps[i%len(apps)], sessions[i*7%len(sessions)]
			r.Path = fmt.Sprintf("/deals/%d/notes", i)
			l.Record(r)
		}
		b.StartTimer()
		if err := l.Close(); err != nil { // drains
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(each*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkDecisions is one page out of 50,000 rows.
func BenchmarkDecisions(b *testing.B) {
	l := started(b, decisionlog.Options{})
	apps, sessions := world(20, 2000)
	for i := range 50000 {
		r := allowed(day.Add(time.Duration(i) * time.Millisecond))
		r.App, r.Session = apps[i%len(apps)], sessions[i*7%len(sessions)]
		l.Record(r)
	}
	flush(b, l)
	for name, f := range map[string]decisionlog.Filter{
		"newest": {}, "app": {AppID: apps[3].ID}, "user": {User: sessions[5].Email}, "reason": {Reason: authz.CodeRole},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Decisions(context.Background(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func world(apps, sessions int) (as []*authz.App, ss []*authz.Session) {
	for i := range apps {
		a := *crm
		a.ID = fmt.Sprintf("app%d.acme", i)
		as = append(as, &a)
	}
	for i := range sessions {
		s := *adaSession
		s.ID, s.UserID, s.Email = fmt.Sprintf("ses_%d", i), fmt.Sprintf("prof_%d", i), fmt.Sprintf("user%d@acme.test", i)
		ss = append(ss, &s)
	}
	return as, ss
}
