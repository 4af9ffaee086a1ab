package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sso"
)

// maxNamed is how many people a confirmation names.
const maxNamed = 10

// chosen are the sessions to end: a person's, an organization's, a person's in an
// organization, or everybody's.
type chosen struct {
	User, Org string
	All       bool
}

func (x chosen) valid() bool {
	return x.All != (x.User != "" || x.Org != "") && len(x.User) <= 320 && len(x.Org) <= 200
}

func (x chosen) all() string {
	if x.All {
		return "yes"
	}
	return ""
}

func (x chosen) link() string {
	return link("/sessions/end-many", "user", x.User, "org", x.Org, "all", x.all())
}

// action is what a form's token is for: a page that asked about one organization
// must not end another's.
func (x chosen) action() string {
	return "end sessions\x00" + strconv.Quote(x.User) + strconv.Quote(x.Org) + x.all()
}

// query chooses them in the list.
func (x chosen) query() url.Values {
	q := url.Values{}
	if x.User != "" {
		q.Set("user", x.User)
	}
	if x.Org != "" {
		q.Set("org", x.Org)
	}
	return q
}

// of says whose they are.
func (x chosen) of(name string) string {
	org := words.Quoted(x.Org)
	if name != "" {
		org = words.Quoted(name) + " (" + words.Shown(x.Org) + ")"
	}
	switch {
	case x.All:
		return "everybody in every organization"
	case x.User == "":
		return "everybody in " + org
	case x.Org == "":
		return words.Quoted(x.User)
	}
	return words.Quoted(x.User) + " in " + org
}

type confirmScreen struct {
	frame
	Chosen chosen
	All    string
	Count  int
	Many   string
	Of     string
	Named  []string
	More   string // "and 12 more"
	Own    bool
	Token  string
}

// confirmMany says how many sessions would end, and whose, before they do.
func (c *Console) confirmMany(w http.ResponseWriter, r *http.Request, v *visitor) error {
	in := r.URL.Query()
	x := chosen{User: in.Get("user"), Org: in.Get("org"), All: in.Get("all") == "yes"}
	if !x.valid() {
		return &sso.PageError{Status: http.StatusBadRequest, Title: "Whose sessions?", Text: "Choose a person, an organization, or everybody.", Links: []sso.Link{{Label: "Sessions", URL: "/sessions"}}}
	}
	if !c.mayEnd(r, v, x.Org) {
		return &sso.PageError{Status: http.StatusForbidden, Title: "You may not do this", Text: "The admin policy does not let you end these sessions.", Links: []sso.Link{{Label: "Sessions", URL: "/sessions"}}}
	}
	q := x.query()
	q.Set("limit", strconv.Itoa(perPage))
	var got page[session]
	total, err := c.call(r, v, http.MethodGet, "/sessions", q, nil, &got)
	if err != nil {
		return err
	}
	s := confirmScreen{frame: c.frame(r, v, "End "+words.Many(total, "session", "sessions")+"?"), Chosen: x, All: x.all(), Count: total,
		Many: words.Many(total, "session", "sessions"), Of: x.of(c.orgName(r, v, x.Org)), Token: form(v, x.action())}
	s.name(got.Data, total)
	if id := v.seat.from.session; id != "" {
		own, ok := c.SignIn.Live(id)
		s.Own = ok && (x.Org == "" || x.Org == own.OrganizationID) && (x.User == "" || x.User == own.UserID || strings.EqualFold(x.User, own.Email))
	}
	return c.render(w, http.StatusOK, "confirm", s)
}

// name names some of whom it concerns. A person may have several sessions.
func (s *confirmScreen) name(some []session, total int) {
	seen, sessions := map[string]bool{}, 0
	for _, x := range some {
		if !seen[x.UserID] && len(seen) == maxNamed {
			continue
		}
		sessions++
		if !seen[x.UserID] {
			seen[x.UserID] = true
			s.Named = append(s.Named, words.Shown(x.Email))
		}
	}
	if left := total - sessions; left > 0 {
		s.More = words.Many(left, "more session", "more sessions")
	}
}

type doneScreen struct {
	frame
	Text string
	Own  bool
}

// endOne ends the session that a row's button names.
func (c *Console) endOne(w http.ResponseWriter, r *http.Request, v *visitor) error {
	f, err := c.readForm(w, r, "id")
	if err != nil {
		return err
	}
	if !checkForm(v, "end one session", f["form"]) {
		return errForeignForm
	}
	if !isSegment(f["id"]) {
		return &problem{status: http.StatusNotFound, detail: "No session has this id."}
	}
	if _, err := c.call(r, v, http.MethodDelete, "/sessions/"+f["id"], nil, nil, nil); err != nil {
		return err
	}
	return c.done(w, r, v, "1 session was ended. It opens nothing from the next request on.")
}

// endMany ends what confirmMany asked about.
func (c *Console) endMany(w http.ResponseWriter, r *http.Request, v *visitor) error {
	f, err := c.readForm(w, r, "user", "org", "all")
	if err != nil {
		return err
	}
	x := chosen{User: f["user"], Org: f["org"], All: f["all"] == "yes"}
	if !x.valid() || !checkForm(v, x.action(), f["form"]) {
		return errForeignForm
	}
	in := map[string]any{"organization_id": x.Org, "user": x.User, "all": x.All}
	var out struct {
		Revoked int `json:"revoked"`
	}
	if _, err := c.call(r, v, http.MethodPost, "/sessions/revoke", nil, in, &out); err != nil {
		return err
	}
	text := words.Many(out.Revoked, "session was", "sessions were") + " ended: of " + x.of("") + "."
	if out.Revoked == 0 {
		text = "There was no session to end: of " + x.of("") + "."
	}
	return c.done(w, r, v, text)
}

// done is shown to who acted, even if what they ended was their own.
func (c *Console) done(w http.ResponseWriter, r *http.Request, v *visitor, text string) error {
	_, err := c.identify(r.Context(), v.seat.from)
	return c.render(w, http.StatusOK, "done", doneScreen{frame: c.frame(r, v, "Sessions were ended"), Text: text, Own: err != nil})
}
