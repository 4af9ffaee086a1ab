package oracles_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// strangersToNode are types of event that this version of the Node client does
// not decode.
var strangersToNode = []string{
	"connection.saml_certificate_renewal_required", "connection.saml_certificate_renewed", "dsync.deactivated", "dsync.token.created", "dsync.token.revoked",
}

// WorkOS's Node client sees the same world as we do. It has its own pagination,
// its own limit of requests, and verifies webhooks over a body that it encodes
// again.
func TestNodeClient(t *testing.T) {
	s := start(t)
	client := npm(t, "@workos-inc/node")
	for _, e := range told[:len(told)-3] { // not the end of globex
		s.happen(t, 201, e[0], e[1])
	}
	for _, text := range []string{"<Zoë & Co>", "tab\\t, quote \\\", back\\\\slash", "line\\u2028and\\u2029", "\\ud83d\\ude00", "\\u0000\\u001f\\u007f"} {
		s.happen(t, 201, "dsync.user.updated", `{"user":"bob@acme.test","first_name":"`+text+`","custom_attributes":{"n":1.50,"big":12345678901234567890,"e":1e3,"t":"`+text+`"}}`)
	}
	for i := range 105 { // more than the client's page, with no webhook
		s.call(t, 201, "POST", "/_dev/events", fmt.Sprintf(`{"event":"organization.created","data":{"name":"Org %d"}}`, i))
	}
	hooks := s.hook.wait(t, len(told)-3+5)
	where := mustParse(t, s.judged)
	directory, group := s.id(t, "directories", "name", "Acme Directory"), s.id(t, "groups", "name", "Everyone")
	todo := map[string]any{
		"host": where.Hostname(), "port": where.Port(), "api_key": s.APIKey, "client_id": s.ClientID, "code": code(t, s, asAda(t, s)),
		"directory": directory, "group": group, "events": []string{"dsync.user.created", "dsync.group.user_added"}, "webhooks": hooks, "secret": secret,
	}
	var saw struct {
		Organizations, Directories, Connections, Users, Members, Groups, FirstEvents []string
		UserGroups                                                                   [][]any
		Events, Webhooks                                                             []struct{ ID, Event string }
		Profile                                                                      struct{ ID, Email, Organization string }
		ProfileAgain, Renamed, Portal                                                string
		Forged, NotFound, Invalid, UsedCode                                          *struct {
			Name, Message string
			Status        int
		}
	}
	drive(t, client, todo, &saw)
	for kind, got := range map[string][]string{"organizations": saw.Organizations, "directories": saw.Directories, "connections": saw.Connections} {
		if want := s.ids(t, kind, "", ""); !sameSet(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	if want := s.ids(t, "users", "directory_id", directory); !sameSet(saw.Users, want) || !sameSet(saw.Members, want) {
		t.Errorf("users %v, members %v, want %v", saw.Users, saw.Members, want)
	}
	if want := s.ids(t, "groups", "directory_id", directory); !reflect.DeepEqual(saw.Groups, want) {
		t.Errorf("groups %v, want %v", saw.Groups, want)
	}
	for _, g := range saw.UserGroups {
		if g == nil || len(g) != 0 {
			t.Errorf("groups of a user: %v", g)
		}
	}
	if len(saw.Events) != 5+7+2 || !slices.IsSortedFunc(saw.Events, func(a, b struct{ ID, Event string }) int { return strings.Compare(a.ID, b.ID) }) ||
		saw.FirstEvents[0] != saw.Events[0].ID {
		t.Errorf("%d events: %v", len(saw.Events), saw.Events)
	}
	if saw.Profile.Email != "ada@acme.test" || saw.Profile.ID != saw.ProfileAgain || saw.Profile.Organization != s.id(t, "organizations", "slug", "acme") {
		t.Errorf("%v %v", saw.Profile, saw.ProfileAgain)
	}
	strangers := map[string]bool{}
	for i, h := range hooks {
		if i >= len(saw.Webhooks) || !strings.Contains(h.Body, saw.Webhooks[i].ID) {
			t.Errorf("webhook %d is not what was sent", i)
		} else if saw.Webhooks[i].ID == "" {
			strangers[saw.Webhooks[i].Event] = true
		}
	}
	if got := slices.Sorted(maps.Keys(strangers)); !slices.Equal(got, strangersToNode) {
		t.Errorf("verified, but unknown to the client: %v, want %v", got, strangersToNode)
	}
	for name, e := range map[string]struct {
		got    any
		status int
		have   int
	}{
		"a webhook of another": {saw.Forged, 0, status(saw.Forged)},
		"no organization":      {saw.NotFound, 404, status(saw.NotFound)},
		"an empty name":        {saw.Invalid, 422, status(saw.Invalid)},
		"a used code":          {saw.UsedCode, 400, status(saw.UsedCode)},
	} {
		if e.have != e.status {
			t.Errorf("%s: %+v, want %d", name, e.got, e.status)
		}
	}
	if saw.Renamed != "Hooli XYZ" || !strings.HasPrefix(saw.Portal, "http://127.0.0.1") {
		t.Errorf("%s %s", saw.Renamed, saw.Portal)
	}
}

// status is that of an error; -1 where there was none.
func status(e *struct {
	Name, Message string
	Status        int
}) int {
	if e == nil {
		return -1
	}
	return e.Status
}

func drive(t *testing.T, client string, todo, saw any) {
	t.Helper()
	in, err := json.Marshal(todo)
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	run := exec.Command("node", "second.mjs")
	run.Env = append(os.Environ(), "NODE_CLIENT="+client)
	run.Stdin, run.Stderr = bytes.NewReader(in), &errs
	out, err := run.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, errs.String())
	}
	if err := json.Unmarshal(out, saw); err != nil {
		t.Fatalf("node said %s: %v", out, err)
	}
}

// ids lists the ids of a kind of object whose field has a value, if one is
// named, in order.
func (s *standIn) ids(t *testing.T, kind, field, value string) []string {
	t.Helper()
	var out []string
	for _, o := range at(s.world(t), kind).([]any) {
		if field == "" || at(o, field) == value {
			out = append(out, at(o, "id").(string))
		}
	}
	return out
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
