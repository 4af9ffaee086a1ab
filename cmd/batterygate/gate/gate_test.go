package gate_test

import (
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
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

// reader is a room that notes what it was told.
type reader struct {
	keys []string
	at   uint64
}

func (r *reader) Load(entries []store.Entry) {
	for _, e := range entries {
		r.keys = append(r.keys, e.Key)
	}
}

func (r *reader) Apply(c store.Change) { r.at = c.Revision }

// The audit is kept for a year or for ever: a start that read it would take long.
func TestTheAuditIsNotReadAtTheStart(t *testing.T) {
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "b.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	for _, key := range []string{"admin/token/a", "apps/app/crm.acme", "sso/session/x"} {
		if _, err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, []byte("{}")) }); err != nil {
			t.Fatal(err)
		}
	}
	log := audit.New(audit.Options{Store: st})
	for range 3 {
		if err := log.Record(t.Context(), audit.Act{Actor: engine.Actor{Kind: "token"}, Action: "apps.create"}, audit.Outcome{Result: audit.Done}); err != nil {
			t.Fatal(err)
		}
	}
	r := &reader{}
	at, err := gate.LoadFacts(t.Context(), st, r)
	if want := []string{"admin/token/a", "apps/app/crm.acme", "sso/session/x"}; err != nil || at != 6 || !reflect.DeepEqual(r.keys, want) {
		t.Errorf("revision %d, %v, keys %v", at, err, r.keys)
	}
	// Though the last three writes were the audit's, whoever waits for them must
	// not wait in vain.
	if r.at != 6 {
		t.Errorf("the room knows of revision %d", r.at)
	}
}
