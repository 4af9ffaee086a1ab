package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/store"
)

const keys = "admin/audit/"

func entryKey(seq int) string { return fmt.Sprintf("%s%020d", keys, seq) }

func (w *world) raw(t testing.TB, k string) []byte {
	t.Helper()
	e, err := w.st.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return e.Value
}

func (w *world) write(t testing.TB, pairs map[string][]byte) {
	t.Helper()
	if _, err := w.st.Update(t.Context(), func(tx store.Tx) error {
		for k, v := range pairs {
			var err error
			if v == nil {
				err = tx.Delete(k)
			} else {
				err = tx.Put(k, v)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The one who tampers has the store and not the key. Whatever they do to a
// chain, a process that starts afterwards sees it.
func TestAnyTamperingIsFound(t *testing.T) {
	const n = 10
	w, f, fork := newWorld(t), newWorld(t), newWorld(t)
	f.Log = audit.New(audit.Options{Store: f.st, MAC: mac("not the key"), Log: slog.New(slog.DiscardHandler)})
	for range n / 2 {
		w.do(t, act("token_1", "apps.create", "acme"))
		f.do(t, act("token_3", "apps.create", "acme"))
		fork.do(t, act("token_3", "apps.create", "acme"))
	}
	whole := map[string][]byte{keys + "head": w.raw(t, keys+"head"), entryKey(n + 1): nil, entryKey(n + 1000): nil}
	for i := 1; i <= n; i++ {
		whole[entryKey(i)] = w.raw(t, entryKey(i))
	}
	rapid.Check(t, func(rt *rapid.T) {
		defer w.write(t, whole)
		at := rapid.IntRange(1, n).Draw(rt, "at")
		other := rapid.IntRange(1, n).Filter(func(i int) bool { return i != at }).Draw(rt, "other")
		broken, how := at, rapid.SampledFrom([]string{"edit", "byte", "space", "member", "delete", "swap", "insert", "append", "cut", "head", "nohead", "mac", "forge", "fork", "far"}).Draw(rt, "how")
		v := w.raw(t, entryKey(at))
		change := map[string][]byte{}
		switch how {
		case "edit":
			change[entryKey(at)] = bytes.Replace(v, []byte("token_1"), []byte("token_2"), 1)
		case "byte":
			i, c := rapid.IntRange(0, len(v)-1).Draw(rt, "index"), rapid.Byte().Draw(rt, "byte")
			if v[i] == c {
				c++
			}
			e := slices.Clone(v)
			e[i] = c
			change[entryKey(at)] = e
		case "space":
			change[entryKey(at)] = append([]byte(" "), v...)
		case "member":
			change[entryKey(at)] = append([]byte(`{"result":"refused",`), v[1:]...)
		case "delete":
			change[entryKey(at)] = nil
		case "swap":
			broken = min(at, other)
			change[entryKey(at)], change[entryKey(other)] = w.raw(t, entryKey(other)), v
		case "insert": // a copy of another entry, all later ones moved up
			broken = at
			change[entryKey(at)] = w.raw(t, entryKey(other))
			for i := at; i <= n; i++ {
				change[entryKey(i+1)] = w.raw(t, entryKey(i))
			}
		case "append":
			broken, change[entryKey(n+1)] = n+1, v
		case "far":
			broken, change[entryKey(n+1000)] = n+1, v
		case "cut": // the end, with a head for what is left
			broken = min(at, n-1)
			for i := broken + 1; i <= n; i++ {
				change[entryKey(i)] = nil
			}
			change[keys+"head"] = headOf(t, w, broken)
		case "head":
			broken, change[keys+"head"] = n, bytes.Replace(w.raw(t, keys+"head"), []byte(fmt.Sprintf(`"seq":%d`, n)), []byte(fmt.Sprintf(`"seq":%d`, n+1)), 1)
		case "nohead":
			broken, change[keys+"head"] = 1, nil
		case "mac":
			i := bytes.Index(v, []byte(`"mac":"`)) + 8
			e := slices.Clone(v)
			e[i] ^= 1
			change[entryKey(at)] = e
		case "fork": // a true entry of that number, of a copy of the store that went another way
			change[entryKey(at)] = fork.raw(t, entryKey(at))
			if at == 1 {
				broken = 2
			}
		case "forge": // all of it anew, as a program with another key would write it
			for i := 1; i <= n; i++ {
				change[entryKey(i)] = f.raw(t, entryKey(i))
			}
			broken, change[keys+"head"] = 1, f.raw(t, keys+"head")
		}
		w.write(t, change)
		r := verify(t, w.process())
		if r.Intact || r.FirstBroken == 0 || len(r.Faults) == 0 {
			rt.Fatalf("%s at %d of %d was not found: %+v", how, at, n, r)
		}
		if how != "head" && r.FirstBroken != uint64(broken) {
			rt.Fatalf("%s at %d of %d: first broken is %d, want %d: %v", how, at, n, r.FirstBroken, broken, r.Faults)
		}
		if how == "delete" && !slices.Equal(r.Missing, []uint64{uint64(at)}) {
			rt.Fatalf("missing: %v", r.Missing)
		}
	})
}

// headOf makes a head of an entry, with the best MAC that the store has to give.
func headOf(t testing.TB, w *world, seq int) []byte {
	got, _, err := w.List(t.Context(), audit.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got {
		if e.Seq == uint64(seq) {
			return fmt.Appendf(nil, `{"hash":%q,"mac":%q,"seq":%d,"v":1}`, e.Hash, e.MAC, seq)
		}
	}
	t.Fatalf("no entry %d", seq)
	return nil
}

func TestAnOlderCopyPutBackIsFoundByWhoWroteMore(t *testing.T) {
	w := newWorld(t)
	w.do(t, act("token_1", "apps.create", "acme"))
	old := w.raw(t, keys+"head")
	w.do(t, act("token_2", "apps.delete", "acme"))
	w.write(t, map[string][]byte{keys + "head": old, entryKey(3): nil, entryKey(4): nil})
	if r := verify(t, w.Log); r.Intact || r.FirstBroken != 3 {
		t.Errorf("%+v", r)
	}
	// Also when others have written over it since.
	other := &world{Log: w.process(), st: w.st}
	for range 3 {
		other.do(t, act("token_3", "apps.delete", "acme"))
	}
	if r := verify(t, w.Log); r.Intact || r.FirstBroken != 4 {
		t.Errorf("%+v", r)
	}
}

func TestAChainThatIsBrokenAtItsEndIsNotContinued(t *testing.T) {
	for name, c := range map[string]func(w *world) map[string][]byte{
		"no head":         func(*world) map[string][]byte { return map[string][]byte{keys + "head": nil} },
		"unreadable head": func(*world) map[string][]byte { return map[string][]byte{keys + "head": []byte("{}")} },
		"entry behind it": func(w *world) map[string][]byte { return map[string][]byte{entryKey(3): w.raw(t, entryKey(2))} },
		"impossible count": func(w *world) map[string][]byte {
			return map[string][]byte{keys + "head": bytes.Replace(w.raw(t, keys+"head"), []byte(`"seq":2`), []byte(`"seq":18446744073709551615`), 1)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.do(t, act("token_1", "apps.create", "acme"))
			w.write(t, c(w))
			if _, err := w.Begin(t.Context(), act("token_1", "apps.create", "acme")); !errors.Is(err, audit.ErrBroken) {
				t.Errorf("begin: %v", err)
			}
			if r := verify(t, w.Log); r.Intact {
				t.Error("found intact")
			}
		})
	}
}

func TestBuildingUponAForgedHeadDoesNotHideIt(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.do(t, act("token_1", "apps.create", "acme"))
	}
	w.write(t, map[string][]byte{entryKey(5): nil, entryKey(6): nil, keys + "head": headOf(t, w, 4)})
	next := &world{Log: w.process(), st: w.st}
	next.do(t, act("token_1", "apps.create", "acme"))
	if r := verify(t, next.Log); r.Intact || r.FirstBroken != 5 {
		t.Errorf("%+v", r)
	}
}

func TestAForgedCountDoesNotKeepVerifyBusy(t *testing.T) {
	w := newWorld(t)
	w.do(t, act("token_1", "apps.create", "acme"))
	w.write(t, map[string][]byte{keys + "head": bytes.Replace(w.raw(t, keys+"head"), []byte(`"seq":2`), []byte(`"seq":4000000000000000000`), 1)})
	if r := verify(t, w.process()); r.Intact || len(r.Faults) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestOlderKeysStillVerifyAndWithoutAKeyReportSaysSo(t *testing.T) {
	w := newWorld(t)
	w.do(t, act("token_1", "apps.create", "acme"))
	rotated := audit.New(audit.Options{Store: w.st, MAC: mac("k2"), Log: slog.New(slog.DiscardHandler), Check: func(data, got []byte) bool {
		return bytes.Equal(mac("k")(data), got) || bytes.Equal(mac("k2")(data), got)
	}})
	(&world{Log: rotated, st: w.st}).do(t, act("token_1", "apps.create", "acme"))
	if r := verify(t, rotated); !r.Intact || r.Entries != 4 {
		t.Errorf("rotated: %+v", r)
	}
	if r := verify(t, w.process()); r.Intact || r.FirstBroken != 3 {
		t.Errorf("without the new key: %+v", r)
	}
	plain := audit.New(audit.Options{Store: w.st, Log: slog.New(slog.DiscardHandler)})
	if r := verify(t, plain); !r.Intact || r.Keyed {
		t.Errorf("without a key: %+v", r)
	}
	if got := string(w.raw(t, entryKey(1))); !strings.HasPrefix(got, `{"action":"apps.create","actor":{"id":"token_1",`) {
		t.Errorf("not canonical: %s", got)
	}
}
