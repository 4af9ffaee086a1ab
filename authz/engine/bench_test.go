package engine_test

import (
	"context"
	"testing"

	"battery.app/gate/authz"
)

// BenchmarkEvaluate is one whole evaluation of the shipped policy: building the
// input, the ladder in Rego, reading the verdict.
func BenchmarkEvaluate(b *testing.B) {
	snap := publish(compile(b, shipped(b, "authz"), options(b)), nil)
	for _, c := range []struct {
		name   string
		change func(*authz.Input)
		allow  bool
	}{
		{"allow", func(*authz.Input) {}, true},
		{"deny", func(in *authz.Input) { in.User.Roles = []string{"member"} }, false},
		{"public", func(in *authz.Input) { in.App.Public = true }, true},
		{"nobody", func(in *authz.Input) { in.Session, in.User = nil, nil }, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := question()
			c.change(in)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				v, err := snap.Evaluate(ctx, in)
				if err != nil || v.Allow != c.allow {
					b.Fatal(v, err)
				}
			}
		})
	}
}
