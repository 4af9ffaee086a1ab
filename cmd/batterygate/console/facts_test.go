package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

func (w *world) event(kind, id, org string, data map[string]any) {
	w.t.Helper()
	w.pass(time.Second)
	w.n++
	data["id"], data["organization_id"], data["created_at"], data["updated_at"] = id, org, w.Now(), w.Now()
	a, err := w.dir.ApplyEvent(context.Background(), directory.Event{ID: fmt.Sprint("event_", w.n), Type: kind, CreatedAt: w.Now(), Data: must(json.Marshal(data))(w.t)})
	w.settled(a.Revision, err)
}

// profile is a person's id at WorkOS.
func profile(email string) string {
	return "prof_" + strings.NewReplacer("@", "_", ".", "_").Replace(email)
}

func userID(email string) string {
	return "directory_user_" + strings.NewReplacer("@", "_", ".", "_").Replace(strings.ToUpper(email))
}

// person makes or changes a directory user.
func (w *world) person(org, dir, email, state string) {
	w.event("dsync.user.created", userID(email), org, map[string]any{"directory_id": dir, "idp_id": "idp_" + email, "state": state, "email": email,
		"emails": []any{map[string]any{"primary": true, "value": email}}})
}

func (w *world) member(org, dir, email, group string, added bool) {
	kind := "dsync.group.user_removed"
	if added {
		kind = "dsync.group.user_added"
	}
	w.event(kind, "", org, map[string]any{"directory_id": dir, "user": map[string]any{"id": userID(email), "directory_id": dir, "organization_id": org, "state": "active", "idp_id": "idp_" + email, "email": email},
		"group": map[string]any{"id": group, "directory_id": dir, "organization_id": org, "name": group, "idp_id": group}})
}

func (w *world) populate() {
	w.t.Helper()
	for _, o := range []struct{ id, slug, name, conn, dir string }{{opsOrg, "operators", "Operators", opsConn, opsDir}, {acme, "acme", "Acme", connA, dirA}} {
		w.settled(w.dir.PutOrganization(context.Background(), directory.Organization{ID: o.id, Slug: o.slug, Name: o.name}))
		w.event("connection.activated", o.conn, o.id, map[string]any{"state": "active", "name": "c", "connection_type": "OktaSAML"})
		w.event("dsync.activated", o.dir, o.id, map[string]any{"state": "active", "name": "d", "type": "okta scim v2.0", "external_key": "k"})
	}
	for g, org := range map[string]string{groupOp: opsOrg, groupAud: opsOrg, groupIT: acme} {
		dir := map[string]string{opsOrg: opsDir, acme: dirA}[org]
		w.event("dsync.group.created", g, org, map[string]any{"directory_id": dir, "name": g, "idp_id": g})
	}
	for _, email := range []string{"olga@ops.test", "aud@ops.test", "new@ops.test"} {
		w.person(opsOrg, opsDir, email, "active")
	}
	w.person(acme, dirA, "ada@acme.test", "active")
	w.member(opsOrg, opsDir, "olga@ops.test", groupOp, true)
	w.member(opsOrg, opsDir, "idle@ops.test", groupOp, true)
	w.member(opsOrg, opsDir, "aud@ops.test", groupAud, true)
	w.member(acme, dirA, "ada@acme.test", groupIT, true)
	w.person(opsOrg, opsDir, "idle@ops.test", "inactive")
	put := func(org string, m ...directory.Mapping) {
		_, rev, err := w.dir.PutMappings(context.Background(), org, m, "test")
		w.settled(rev, err)
	}
	put(opsOrg, directory.Mapping{GroupID: groupOp, Roles: []string{"battery:operator"}}, directory.Mapping{GroupID: groupAud, Roles: []string{"battery:auditor"}})
	put(acme, directory.Mapping{GroupID: groupIT, Roles: []string{"it-admin"}})
}

// session writes the record of a session, as a login would.
func (w *world) session(n int, org, email string) string {
	w.t.Helper()
	id := fmt.Sprintf("session_%032x", n)
	w.settled(w.store.Update(context.Background(), func(tx store.Tx) error { return tx.Put("sso/session/"+id, w.record(org, email)) }))
	return id
}

func (w *world) record(org, email string) []byte {
	conn := connA
	if org == opsOrg {
		conn = opsConn
	}
	now := w.Now()
	return must(json.Marshal(map[string]any{"v": 1, "user_id": profile(email), "idp_id": "idp_" + email, "email": email, "organization_id": org,
		"connection_id": conn, "kind": "sso", "issued_at": now, "last_seen": now, "expires_at": now.Add(10 * time.Hour)}))(w.t)
}
