package engine_test

import (
	"context"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/authz/engine"
)

// shapes are what OPA's rule indexer and early exit work on: equality,
// membership, prefixes, collections of rules, else. A wrong index once left
// rules out for two releases; in a rule that denies, that admits.
const shapes = `
default decision := {"allow": false, "reasons": [{"code": "default", "message": ""}]}

decision := {"allow": count(denied) == 0, "reasons": [{"code": code, "message": ""} | some code in denied], "roles": granted} if {
	candidate
}

candidate if input.app.public

candidate if input.request.method in {"GET", input.app.labels.tier}

candidate if input.session.organization_id == input.app.organization_id

denied contains "region" if input.request.headers["x-region"] in {"us", input.app.labels.tier}

denied contains "path" if startswith(input.request.path, "/admin")

denied contains "glob" if glob.match("/a/*", ["/"], input.request.path)

denied contains "owner" if {
	input.session.organization_id == "org_globex"
	input.app.organization_id == "org_acme"
	input.request.method == "POST"
}

denied contains "wiki" if {
	input.app.id == "wiki.acme"
	not input.session.claims.mfa
	input.user.state == "suspended"
}

denied contains "level" if {
	level == 1
	input.session.claims.mfa
}

level := 3 if input.user.attributes.level == 3

else := 2 if input.user.state == "active"

else := 1

granted contains role if {
	some role in input.user.roles
	role in input.app.allowed_roles
}

granted contains "guest" if is_null(input.user)
`

// Every combination of OPA's optimisations gives the same answer.
func TestOptimisationsDoNotChangeAnswers(t *testing.T) {
	o := options(t)
	o.RequestHeaders = []string{"x-region"}
	stale := o
	stale.Settings = map[string]any{"deny_when_stale": true}
	for name, p := range map[string]*engine.Policy{
		"shipped":         compile(t, shipped(t, "authz"), o),
		"shipped, strict": compile(t, shipped(t, "authz"), stale),
		"shapes":          compile(t, rules(shapes), o),
	} {
		t.Run(name, func(t *testing.T) {
			plain := publish(p.Optimised(false, false), nil)
			ways := []*engine.Policy{p.Optimised(true, true), p.Optimised(true, false), p.Optimised(false, true)}
			allowed, denied := 0, 0
			check := func(rt *rapid.T) {
				for range 20 {
					in := anyQuestion(rt)
					want, err := plain.Evaluate(context.Background(), in)
					if err != nil {
						rt.Fatal(err)
					}
					if want.Allow {
						allowed++
					} else {
						denied++
					}
					for i, way := range ways {
						got, err := publish(way, nil).Evaluate(context.Background(), in)
						if err != nil || !reflect.DeepEqual(got, want) {
							rt.Fatalf("way %d: got %+v, %v, want %+v", i, got, err, want)
						}
					}
				}
			}
			rapid.Check(t, check)
			if allowed < 50 || denied < 50 {
				t.Errorf("the questions are one-sided: %d allowed, %d denied", allowed, denied)
			}
		})
	}
}
