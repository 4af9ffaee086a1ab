package apps_test

import (
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/store"
)

// Who decided by what was there before is asked again in the transaction.
func TestAnAppIsChangedOnlyIfItIsStillThat(t *testing.T) {
	st := tempStore(t)
	r := registry(t, st, options(app("cfg.acme", "org_acme", "cfg.example.com")))
	create(t, r, app("a.acme", "org_acme", "1.example.com"))
	next := app("a.acme", "org_acme", "2.example.com")
	before := keys(t, st)
	no := func(*authz.App) bool { return false }
	is := func(host string) func(*authz.App) bool {
		return func(now *authz.App) bool { return now.ID == "a.acme" && now.Hosts[0] == host }
	}
	change := func(app authz.App, still func(*authz.App) bool) error {
		_, _, err := r.ReplaceIf(t.Context(), app, still)
		return err
	}
	remove := func(id string, still func(*authz.App) bool) error {
		_, err := r.DeleteIf(t.Context(), id, still)
		return err
	}
	wantError(t, "replace", change(next, no), apps.ErrChanged)
	wantError(t, "delete", remove("a.acme", no), apps.ErrChanged)
	wantError(t, "replace what is not", change(app("b.acme", "org_acme", "2.example.com"), no), apps.ErrNotFound)
	wantError(t, "delete a configured one", remove("cfg.acme", no), apps.ErrReadOnly)
	equal(t, "keys", keys(t, st), before)
	if err := change(next, is("1.example.com")); err != nil {
		t.Fatal(err)
	}
	// The view is behind: it was never told. The answer is by the store.
	wantError(t, "delete", remove("a.acme", is("1.example.com")), apps.ErrChanged)
	if err := remove("a.acme", is("2.example.com")); err != nil {
		t.Fatal(err)
	}
	// What nobody can read is nothing that anybody decided by.
	create(t, r, next)
	if _, err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("apps/app/a.acme", []byte(`{"v":99,"id":"a.acme"}`)) }); err != nil {
		t.Fatal(err)
	}
	yes := func(*authz.App) bool { return true }
	wantError(t, "replace", change(next, yes), apps.ErrChanged)
	wantError(t, "delete", remove("a.acme", yes), apps.ErrChanged)
	if err := remove("a.acme", nil); err != nil {
		t.Error(err)
	}
}
