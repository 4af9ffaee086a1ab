package directory_test

import (
	"fmt"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

// crowd is a store's entries for one organization with many users, five groups
// each, as Load gets them.
func crowd(users int) []store.Entry {
	var out []store.Entry
	add := func(key, format string, args ...any) {
		out = append(out, store.Entry{Key: directory.Prefix + key, Value: fmt.Appendf(nil, `{"v":1,"seen":true,"stamp":{"at":1,"id":"event_1"},`+format+`}`, args...), Revision: 1})
	}
	add("connection/"+connA, `"organization_id":%q,"state":"active"`, acme)
	add("directory/"+dirA, `"organization_id":%q,"state":"active"`, acme)
	for i := range users {
		for g := range 5 {
			add(fmt.Sprintf("edge/directory_user_%07d/directory_group_%03d", i, (i+g)%200), `"present":true`)
		}
	}
	for g := range 200 {
		add(fmt.Sprintf("group/directory_group_%03d", g), `"organization_id":%q,"directory_id":%q,"name":"Group %d"`, acme, dirA, g)
	}
	add("organization/"+acme, `"slug":"acme"`)
	for i := range users {
		add(fmt.Sprintf("user/directory_user_%07d", i), `"organization_id":%q,"directory_id":%q,"idp_id":"%d","email":"u%d@acme.test","state":"active"`, acme, dirA, i, i)
	}
	return out
}

func BenchmarkUser(b *testing.B) {
	d := directory.New(nil, directory.Options{})
	d.Load(crowd(20_000))
	v := d.View()
	sessions := make([]*authz.Session, 1000)
	for i := range sessions {
		sessions[i] = session(fmt.Sprintf("u%d@acme.test", i*20), fmt.Sprint(i*20))
		if u, _ := v.User(sessions[i]); u == nil {
			b.Fatal("nobody")
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v.User(sessions[i%len(sessions)])
	}
}

func BenchmarkApplyOneMembership(b *testing.B) {
	for _, users := range []int{1_000, 50_000} {
		b.Run(fmt.Sprint(users), func(b *testing.B) {
			d := directory.New(nil, directory.Options{})
			d.Load(crowd(users))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.Apply(store.Change{Revision: uint64(i + 2), Entries: []store.Entry{{
					Key:   fmt.Sprintf("directory/edge/directory_user_%07d/directory_group_%03d", i%users, i%200),
					Value: fmt.Appendf(nil, `{"v":1,"present":%v}`, i%3 != 0),
				}}})
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	entries := crowd(50_000)
	for b.Loop() {
		directory.New(nil, directory.Options{}).Load(entries)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/50_000, "us/user")
}
