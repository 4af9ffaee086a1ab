package gate_test

import (
	"net/http/httptest"
	"net/netip"
	"reflect"
	"testing"

	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/store"
)

func TestClientsCannotChooseTheAddressTheyAreCountedUnder(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, tc := range map[string]struct {
		peer string
		xff  []string
		want string
	}{
		"straight from the internet":                {"203.0.113.9:4711", nil, "203.0.113.9"},
		"a stranger's own header counts for naught": {"203.0.113.9:4711", []string{"192.0.2.1"}, "203.0.113.9"},
		"through a gateway":                         {"10.0.0.1:80", []string{"192.0.2.1"}, "192.0.2.1"},
		"through two":                               {"10.0.0.1:80", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"what the client wrote stands further left": {"10.0.0.1:80", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		"two header lines are one list":             {"10.0.0.1:80", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		"junk ends the search":                      {"10.0.0.1:80", []string{"192.0.2.1, junk"}, "10.0.0.1"},
		"IPv6":                                      {"[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		"a mapped address is the same address":      {"[::ffff:10.0.0.1]:80", []string{"192.0.2.1"}, "192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/login", nil)
			r.RemoteAddr, r.Header["X-Forwarded-For"] = tc.peer, tc.xff
			if got := gate.ClientIP(trusted, r).String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestChangesJoinedKeepTheirOrder(t *testing.T) {
	entry := func(key string, rev uint64) store.Entry { return store.Entry{Key: key, Revision: rev} }
	got := gate.Joined([]store.Change{
		{Revision: 3, Entries: []store.Entry{entry("a", 3), entry("b", 3)}},
		{Revision: 4},
		{Revision: 5, Entries: []store.Entry{entry("a", 5)}},
	})
	want := store.Change{Revision: 5, Entries: []store.Entry{entry("a", 3), entry("b", 3), entry("a", 5)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}
