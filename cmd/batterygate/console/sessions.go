package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/words"
)

// perPage is how many rows a page has.
const perPage = 50

// session is one of the API's.
type session struct {
	ID             string    `json:"id"`
	UserID         string    `json:"user_id"`
	Email          string    `json:"email"`
	OrganizationID string    `json:"organization_id"`
	Kind           string    `json:"kind"`
	IssuedAt       time.Time `json:"issued_at"`
	ExpiresAt      time.Time `json:"expires_at"`
	LastSeen       time.Time `json:"last_seen"`
}

type sessionsScreen struct {
	frame
	User, Org string // the filter
	Total     string
	Rows      []sessionRow
	Next      string // link
	First     string // link; empty on the first page
	Token     string // of the form; empty: nothing here may be ended
	EndAll    string // link to all that the filter chooses; empty: not allowed, or none
	EndLabel  string
}

type sessionRow struct {
	ID, Who, UserID    string
	Org, OrgName       string
	Kind               string
	Since, Seen, Until moment
	Own                bool
	MayEnd             bool
	OfUser, OfOrg, All string // links: the person's, the organization's, and ending all of the person's
}

var sessionKinds = map[string]string{"sso": "single sign-on", "oidc": "OpenID Connect"}

// sessions lists who is signed in where.
func (c *Console) sessions(w http.ResponseWriter, r *http.Request, v *visitor) error {
	in := r.URL.Query()
	user, org, cursor := in.Get("user"), in.Get("org"), in.Get("cursor")
	q := url.Values{"limit": {strconv.Itoa(perPage)}}
	for name, value := range map[string]string{"user": user, "org": org, "cursor": cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	var got page[session]
	total, err := c.call(r, v, http.MethodGet, "/sessions", q, nil, &got)
	if err != nil {
		return err
	}
	s := sessionsScreen{frame: c.frame(r, v, "Sessions"), User: user, Org: org, Total: words.Many(total, "session", "sessions"), Rows: c.sessionRows(r, v, got.Data)}
	for _, row := range s.Rows {
		if row.MayEnd {
			s.Token = form(v, "end one session")
		}
	}
	if got.NextCursor != nil {
		s.Next = link("/sessions", "user", user, "org", org, "cursor", *got.NextCursor)
	}
	if cursor != "" {
		s.First = link("/sessions", "user", user, "org", org)
	}
	if total > 0 && c.mayEnd(r, v, org) {
		s.EndAll, s.EndLabel = chosen{User: user, Org: org, All: user == "" && org == ""}.link(), "End all of these…"
		if user == "" && org == "" {
			s.EndLabel = "End everybody’s sessions…"
		}
	}
	return c.render(w, http.StatusOK, "sessions", s)
}

func (c *Console) mayEnd(r *http.Request, v *visitor, org string) bool {
	return c.API.May(r.Context(), v.actor, "sessions.revoke", engine.Resource{Type: "session", OrganizationID: org})
}

func (c *Console) sessionRows(r *http.Request, v *visitor, all []session) []sessionRow {
	now, names, may := c.Now(), c.orgNames(r, v, all), map[string]bool{}
	rows := make([]sessionRow, 0, len(all))
	for _, x := range all {
		if _, asked := may[x.OrganizationID]; !asked {
			may[x.OrganizationID] = c.mayEnd(r, v, x.OrganizationID)
		}
		kind := sessionKinds[x.Kind]
		if kind == "" {
			kind = words.Shown(x.Kind)
		}
		row := sessionRow{ID: x.ID, Who: words.Shown(x.Email), UserID: words.Shown(x.UserID), Org: words.Shown(x.OrganizationID), OrgName: names[x.OrganizationID],
			Kind: kind, Since: momentOf(x.IssuedAt, now), Seen: momentOf(x.LastSeen, now), Until: momentOf(x.ExpiresAt, now),
			Own: x.ID == v.seat.from.session, MayEnd: may[x.OrganizationID], OfOrg: link("/sessions", "org", x.OrganizationID)}
		if of := (chosen{User: x.UserID, Org: x.OrganizationID}); of.valid() { // else its address would be kilobytes
			row.OfUser = link("/sessions", "user", x.UserID)
			if row.MayEnd {
				row.All = of.link()
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// orgNames are the names of the organizations of these sessions, as far as the
// visitor may read them. What a break-glass token asks is all recorded, so it is
// not asked for names.
func (c *Console) orgNames(r *http.Request, v *visitor, all []session) map[string]string {
	names := map[string]string{}
	for _, x := range all {
		if _, known := names[x.OrganizationID]; known || v.actor.Kind == kindBreakGlass {
			continue
		}
		names[x.OrganizationID] = c.orgName(r, v, x.OrganizationID)
	}
	return names
}

func (c *Console) orgName(r *http.Request, v *visitor, id string) string {
	var org struct {
		Name string `json:"name"`
	}
	if !isSegment(id) || v.actor.Kind == kindBreakGlass {
		return ""
	}
	if _, err := c.call(r, v, http.MethodGet, "/organizations/"+id, nil, nil, &org); err != nil || org.Name == "" {
		return ""
	}
	return words.Shown(org.Name)
}
