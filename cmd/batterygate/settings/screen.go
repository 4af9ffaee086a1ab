package settings

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sync/directory"
)

// Sizes of the page, so that it stays small and quick with any directory.
const (
	rowsShown   = 50
	groupsShown = 20
)

// screen is all that the page says.
type screen struct {
	Organization string
	Email        string
	Base         string
	Notice       string
	Faults       []fault

	Connections []connectionView
	OwnProvider bool
	Domains     []domainView
	Directories []directoryView
	Hold        *holdView // of the whole organization
	Table       table
	Portal      portalView
}

type portalView struct {
	Allowed bool
	Fresh   bool
	Token   string
	Buttons []button
}

type button struct{ Intent, Label, About string }

// table is the role mappings, and the form around them.
type table struct {
	MayEdit  bool
	Elsewise bool // roles come from WorkOS, not from this table
	Token    string
	Hash     string
	Changed  moment
	By       string
	Conflict bool

	Rows             []row
	Lost             []lostRow // typed for rows that are gone
	From, Next, Prev int
	First, Last      string
	Total            string
	HasNext, HasPrev bool

	Add groupSearch
}

type row struct {
	Field    string // id
	Index    int
	Group    string
	ID       string // where the name alone is not clear
	ByName   bool
	State    status
	Kept     []string // roles that this person may not change
	Boxes    []box
	InForce  []string // said where what was typed differs, after a conflict
	MayGo    bool     // the whole row may be taken out
	Going    bool
	Faulty   bool
	Readable string // roles as one text, for who may not edit
}

type box struct {
	Role    string
	Checked bool
}

type lostRow struct {
	Group string
	Roles string
}

// groupSearch is how a group is found that is not in the table yet.
type groupSearch struct {
	Find       string
	Any        bool // there are groups at all
	Found      string
	First      string
	Last       string
	Candidates []candidate
	At         int
	Next, Prev string // values of the buttons
	Roles      []box
}

type candidate struct {
	ID, Name, Note string
	Chosen         bool
}

// show is GET: the page, or the way to it.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, slug string) error {
	v, ok := p.visitor(r, slug)
	if !ok {
		if now := p.renamed(r, slug); now != "" {
			return home(w, r, now)
		}
		// Elsewhere, so that nobody takes a page without settings for them.
		w.Header().Set("Location", base(slug)+"/sign-in")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	if !p.may(r.Context(), v, actionRead, v.organization()) {
		return refused(v)
	}
	s, err := p.screen(r, v, slug, nil)
	if err != nil {
		return err
	}
	switch q := r.URL.Query(); {
	case q.Get("done") == "saved":
		s.Notice = "Your changes are saved and in force."
	case q.Get("done") == "nothing":
		s.Notice = "There was nothing to change."
	case q.Get("signed-in") != "":
		s.Notice = "You have just signed in. The buttons under “Set up at WorkOS” work for ten minutes."
	}
	return p.renderScreen(w, http.StatusOK, s)
}

// screen makes the page. t is what was typed, nil where nothing was.
func (p *Pages) screen(r *http.Request, v *visitor, slug string, t *typed) (*screen, error) {
	s := &screen{
		Organization: words.Shown(cmp.Or(v.org.Name, v.org.Slug)), Email: words.Shown(v.session.Email), Base: base(slug), OwnProvider: p.OwnProvider(v.org.ID),
		Connections: p.connections(v), Domains: domains(v), Directories: p.directories(v), Hold: p.hold(v, v.org.ID),
	}
	var err error
	if s.Table, err = p.table(r, v, t); err != nil {
		return nil, err
	}
	if s.Portal.Allowed = p.may(r.Context(), v, actionPortal, v.organization()); s.Portal.Allowed {
		_, s.Portal.Fresh = p.SignIn.SignedIn(r, v.org.ID, portalAge)
		for _, i := range intents {
			if p.offers(v, i.Intent) {
				s.Portal.Buttons = append(s.Portal.Buttons, button(i))
			}
		}
		if s.Portal.Token, err = p.SignIn.FormToken(v.session, formPortal); err != nil {
			return nil, fmt.Errorf("make form token: %w", err)
		}
	}
	return s, nil
}

func (p *Pages) table(r *http.Request, v *visitor, t *typed) (table, error) {
	now := v.view.Mappings(v.org.ID)
	grantable := p.grantable(r.Context(), v, now)
	out := table{
		MayEdit:  p.may(r.Context(), v, actionUpdate, v.organization()) && now.RoleSource.Source == directory.RolesFromMappings,
		Elsewise: now.RoleSource.Source != directory.RolesFromMappings,
		Changed:  momentOf(now.UpdatedAt, p.Now()), By: byWords(now.UpdatedBy), Total: words.Count(len(now.Mappings)),
	}
	if t == nil {
		t = &typed{}
		if n, err := number(r.URL.Query().Get("from")); err == nil {
			t.from = n
		}
	}
	groups := groupsOf(v)
	from, to := pageOf(len(now.Mappings), t.from, rowsShown)
	out.From, out.First, out.Last = from, words.Count(from+1), words.Count(to)
	out.HasPrev, out.Prev, out.HasNext, out.Next = from > 0, max(0, from-rowsShown), to < len(now.Mappings), to
	seen := map[string]bool{}
	for i, m := range now.Mappings {
		seen[fieldOf(m.Mapping)] = true
		if from <= i && i < to {
			out.Rows = append(out.Rows, rowOf(v, m, i-from, grantable, groups, t))
		}
	}
	if !out.MayEdit {
		return out, nil
	}
	for _, field := range t.keys {
		if row := t.rows[field]; !seen[field] {
			out.Lost = append(out.Lost, lostRow{words.Shown(row.called), listed(row.roles)})
		}
	}
	out.Add = addGroup(v, now, grantable, groups, t)
	var err error
	if out.Hash, err = fingerprint(now, grantable); err != nil {
		return out, fmt.Errorf("name the table: %w", err)
	}
	if out.Token, err = p.SignIn.FormToken(v.session, formMappings); err != nil {
		return out, fmt.Errorf("make form token: %w", err)
	}
	return out, nil
}

func rowOf(v *visitor, m directory.BoundMapping, index int, grantable []string, groups groupList, t *typed) row {
	out := row{Field: fieldOf(m.Mapping), Index: index, Group: words.Shown(nameOf(v, m)), ByName: m.GroupName != "",
		State: mappingState(m), Readable: listed(m.Roles), MayGo: true}
	if m.GroupID != "" && groups.alike[out.Group] > 1 {
		out.ID = words.Shown(m.GroupID)
	}
	was, edited := t.rows[out.Field]
	for _, r := range m.Roles {
		if !slices.Contains(grantable, r) {
			out.Kept, out.MayGo = append(out.Kept, r), false
		} else if edited && !slices.Contains(was.roles, r) {
			out.InForce = m.Roles
		}
	}
	for _, r := range grantable {
		b := box{r, slices.Contains(m.Roles, r)}
		if edited {
			b.Checked = slices.Contains(was.roles, r)
		}
		if b.Checked && !slices.Contains(m.Roles, r) {
			out.InForce = m.Roles
		}
		out.Boxes = append(out.Boxes, b)
	}
	out.Going = was.remove && out.MayGo
	if out.Going {
		out.InForce = m.Roles
	}
	return out
}

func mappingState(m directory.BoundMapping) status {
	switch m.Status {
	case directory.StatusBound:
		return status{"In force", "good"}
	case directory.StatusAmbiguous:
		return status{"Not in force: several groups bear this name. Add the one you mean below, and remove this row", "bad"}
	}
	return status{"Not in force: your directory has no such group, or not any more", "warn"}
}

// byWords says who changed the table last, without naming tokens.
func byWords(by string) string {
	kind, _, _ := strings.Cut(by, ":")
	switch kind {
	case "session":
		return "somebody who was signed in"
	case "token":
		return "the people who run this service"
	}
	return ""
}

// addGroup finds groups by a part of their name.
func addGroup(v *visitor, now directory.Mappings, grantable []string, groups groupList, t *typed) groupSearch {
	out := groupSearch{Find: t.find, Any: len(groups.all) > 0}
	taken, want := mapped(now), strings.ToLower(strings.TrimSpace(t.find))
	var found []namedGroup
	for _, g := range groups.all {
		if !taken[g.ID] && strings.Contains(g.lower, want) {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b namedGroup) int {
		return cmp.Or(strings.Compare(a.lower, b.lower), strings.Compare(a.ID, b.ID))
	})
	from, to := pageOf(len(found), t.at, groupsShown)
	out.Found, out.First, out.Last = words.Count(len(found)), words.Count(from+1), words.Count(to)
	if from > 0 {
		out.Prev = fmt.Sprintf("%s.%d", doFind, max(0, from-groupsShown))
	}
	if to < len(found) {
		out.Next = fmt.Sprintf("%s.%d", doFind, to)
	}
	page := slices.Clone(found[from:to])
	if g, ok := v.view.GroupByID(t.newGroup); ok && g.OrganizationID == v.org.ID && !taken[g.ID] &&
		!slices.ContainsFunc(page, func(p namedGroup) bool { return p.ID == g.ID }) {
		page = append([]namedGroup{{g, words.Shown(g.Name), ""}}, page...) // what was chosen stays in sight
	}
	for _, g := range page {
		out.Candidates = append(out.Candidates, candidate{ID: g.ID, Name: g.shown, Note: note(v, groups, g), Chosen: g.ID == t.newGroup})
	}
	for _, r := range grantable {
		out.Roles = append(out.Roles, box{r, slices.Contains(t.newRoles, r)})
	}
	return out
}

// note tells groups apart that look alike.
func note(v *visitor, groups groupList, g namedGroup) string {
	if groups.alike[g.shown] < 2 {
		return ""
	}
	d, _ := v.view.Directory(g.DirectoryID)
	return words.Shown(d.Name) + ", " + words.Shown(g.ID)
}

// groupList is an organization's groups, and how many look alike.
type groupList struct {
	all   []namedGroup
	alike map[string]int // by the name as it is shown
}

type namedGroup struct {
	directory.Group
	shown string
	lower string // what a search looks in
}

func groupsOf(v *visitor) groupList {
	out := groupList{alike: map[string]int{}}
	for _, d := range v.view.Directories(v.org.ID) {
		for _, g := range v.view.Groups(d.ID) {
			n := namedGroup{g, words.Shown(g.Name), strings.ToLower(g.Name)}
			out.all = append(out.all, n)
			out.alike[n.shown]++
		}
	}
	return out
}

// pageOf cuts a list of n from from on.
func pageOf(n, from, size int) (start, end int) {
	if from >= n {
		from = max(0, (n-1)/size*size)
	}
	return from, min(n, from+size)
}

func listed(roles []string) string {
	short := make([]string, 0, len(roles))
	for _, r := range roles {
		short = append(short, words.Shown(r))
	}
	return strings.Join(short, ", ")
}
