package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// compact encodes as WorkOS does: no spaces, and no HTML escapes. A receiver
// that decodes the body and encodes it again (WorkOS's Node SDK does) must get
// the same bytes, or the signature does not hold.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return unescapeSeparators(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// unescapeSeparators writes U+2028 and U+2029 as they are, which JSON allows and
// JavaScript does. Go's encoder escapes them whatever it is told.
func unescapeSeparators(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`\u202`)) {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		switch {
		case bytes.HasPrefix(raw[i:], []byte(`\u2028`)):
			out, i = append(out, "\u2028"...), i+5
		case bytes.HasPrefix(raw[i:], []byte(`\u2029`)):
			out, i = append(out, "\u2029"...), i+5
		default: // an escape of two bytes at least: a backslash that is escaped is passed
			out, i = append(out, raw[i], raw[i+1]), i+1
		}
	}
	return out
}

// canonical re-encodes JSON that came from outside, as compact does, and with
// numbers as JavaScript writes them: WorkOS and its Node SDK do.
func canonical(raw json.RawMessage) (json.RawMessage, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return compact(v)
}

// list is a page of the REST API.
type list struct {
	Object   string       `json:"object"`
	Data     any          `json:"data"`
	Metadata listMetadata `json:"list_metadata"`
}

// listMetadata holds object ids, null at either end of the list.
type listMetadata struct {
	Before Nullable `json:"before"`
	After  Nullable `json:"after"`
}

// wire is the organization as the API shows it.
func (o Organization) wire() Organization {
	o.Slug = ""
	return o
}

// event is the organization as events show it: without the deprecated flag.
func (o Organization) event() Organization {
	o.AllowProfilesOutside = false // left out
	return o.wire()
}

// wireDomain is how connections and directories list the organization's domains.
type wireDomain struct {
	Object string `json:"object"`
	ID     string `json:"id"`
	Domain string `json:"domain"`
}

func wireDomains(o Organization, object string) []wireDomain {
	out := []wireDomain{}
	for _, d := range o.Domains {
		out = append(out, wireDomain{object, d.ID, d.Domain})
	}
	return out
}

// wireConnection is a connection over REST; with ExternalKey, in events. A
// connection.deleted event has neither status nor domains.
type wireConnection struct {
	Object         string        `json:"object"`
	ID             string        `json:"id"`
	OrganizationID string        `json:"organization_id"`
	Type           string        `json:"connection_type"`
	Name           string        `json:"name"`
	State          string        `json:"state"`
	Status         string        `json:"status,omitempty"`
	ExternalKey    string        `json:"external_key,omitempty"`
	Domains        *[]wireDomain `json:"domains,omitempty"`
	CreatedAt      Time          `json:"created_at"`
	UpdatedAt      Time          `json:"updated_at"`
}

func (c Connection) deletedEvent() wireConnection {
	return wireConnection{
		Object: "connection", ID: c.ID, OrganizationID: c.OrganizationID, Type: c.Type, Name: c.Name, State: c.State,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}
}

func (c Connection) rest(o Organization) wireConnection {
	w, domains := c.deletedEvent(), wireDomains(o, "connection_domain")
	w.Domains, w.Status = &domains, "unlinked" // deprecated by WorkOS, still sent
	if c.State == "active" {
		w.Status = "linked"
	}
	return w
}

func (c Connection) event(o Organization) wireConnection {
	w := c.rest(o)
	w.ExternalKey = c.ExternalKey
	return w
}

// wireDirectory is a directory in events: State is in their vocabulary.
// External key and domains are missing in dsync.deleted.
type wireDirectory struct {
	Object         string        `json:"object"`
	ID             string        `json:"id"`
	OrganizationID string        `json:"organization_id"`
	Type           string        `json:"type"`
	State          string        `json:"state"`
	Name           string        `json:"name"`
	CreatedAt      Time          `json:"created_at"`
	UpdatedAt      Time          `json:"updated_at"`
	ExternalKey    string        `json:"external_key,omitempty"`
	Domains        *[]wireDomain `json:"domains,omitempty"`
}

func (d Directory) deletedEvent() wireDirectory {
	return wireDirectory{
		Object: "directory", ID: d.ID, OrganizationID: d.OrganizationID, Type: d.Type, State: eventState(d.State), Name: d.Name,
		CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

func (d Directory) event(o Organization) wireDirectory {
	w, domains := d.deletedEvent(), wireDomains(o, "organization_domain")
	w.ExternalKey, w.Domains = d.ExternalKey, &domains
	return w
}

// eventState and restState translate between the two vocabularies that WorkOS
// has for a directory's state.
func eventState(rest string) string {
	switch rest {
	case "linked":
		return "active"
	case "unlinked":
		return "inactive"
	}
	return rest
}

func restState(event string) string {
	switch event {
	case "active":
		return "linked"
	case "inactive":
		return "unlinked"
	}
	return event
}

// restDirectory is a directory over REST.
type restDirectory struct {
	Object string `json:"object"`
	Directory
	Metadata directoryCounts `json:"metadata"`
}

type directoryCounts struct {
	Users struct {
		Active   int `json:"active"`
		Inactive int `json:"inactive"`
	} `json:"users"`
	Groups int `json:"groups"`
}

// restUser is a directory user over REST. WorkOS stopped filling groups for
// newer teams: membership is read with /directory_users?group=.
type restUser struct {
	User
	Groups []Group `json:"groups"`
}

// wireProfile is what a sign-in answers. WorkOS fills groups and roles only
// where they are mapped, which the fixed world does not do.
type wireProfile struct {
	Object string `json:"object"`
	Profile
	Name             Nullable       `json:"name"`
	Role             *Role          `json:"role"`
	CustomAttributes map[string]any `json:"custom_attributes"`
	RawAttributes    map[string]any `json:"raw_attributes"`
}

func (p Profile) wire() wireProfile {
	name := strings.TrimSpace(string(p.FirstName) + " " + string(p.LastName))
	return wireProfile{
		Object: "profile", Profile: p, Name: Nullable(name),
		CustomAttributes: map[string]any{}, RawAttributes: map[string]any{},
	}
}

// wireMembership is the payload of dsync.group.user_added and user_removed.
type wireMembership struct {
	DirectoryID string          `json:"directory_id"`
	User        json.RawMessage `json:"user"`
	Group       json.RawMessage `json:"group"`
}

func lower(s string) string { return strings.ToLower(s) }
