package audit_test

import (
	"log/slog"
	"sync"
	"testing"

	"battery.app/gate/cmd/batterygate/audit"
)

// filled is a chain of n acts, two entries each.
func filled(b *testing.B, n int) *audit.Log {
	l := audit.New(audit.Options{Store: openStore(b), MAC: mac("k"), Log: slog.New(slog.DiscardHandler)})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range n / 64 {
				p, err := l.Begin(b.Context(), act("token_1", "apps.create", "acme"))
				if err == nil {
					err = p.End(b.Context(), audit.Outcome{Result: audit.Done, Status: 200, After: map[string]string{"id": "crm.acme"}})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return l
}

func BenchmarkAct(b *testing.B) {
	l := filled(b, 64)
	for b.Loop() {
		p, err := l.Begin(b.Context(), act("token_1", "apps.create", "acme"))
		if err == nil {
			err = p.End(b.Context(), audit.Outcome{Result: audit.Done, Status: 200})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	l := filled(b, 6400)
	for b.Loop() {
		if r := verify(b, l); !r.Intact || r.Entries != 12800 {
			b.Fatalf("%+v", r)
		}
	}
}

func BenchmarkListWithoutMatch(b *testing.B) {
	l := filled(b, 6400)
	for b.Loop() {
		if got, _, err := l.List(b.Context(), audit.Query{Actor: "nobody"}); err != nil || len(got) != 0 {
			b.Fatal(got, err)
		}
	}
}
