package console

import (
	"net/http"
	"net/url"
	"strconv"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/words"
)

type auditScreen struct {
	frame
	Org, Actor, Action string
	Rows               []auditRow
	Next, First        string
	Pruned             uint64 // below the last row; 0: it is the first entry, or not all are shown
}

type auditRow struct {
	Seq                     uint64
	Kind                    string
	At                      moment
	Who, WhoKind            string
	Action, On, OnOrg, From string
	Result, Look, Detail    string
	Request, Before, After  string
}

// audit shows who did what, newest first.
func (c *Console) audit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	in := r.URL.Query()
	q := url.Values{"limit": {strconv.Itoa(perPage)}}
	for _, name := range []string{"org", "actor", "action", "cursor"} {
		if value := in.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	var got page[audit.Entry]
	if _, err := c.call(r, v, http.MethodGet, "/audit", q, nil, &got); err != nil {
		return err
	}
	s := auditScreen{frame: c.frame(r, v, "Audit"), Org: in.Get("org"), Actor: in.Get("actor"), Action: in.Get("action")}
	filter := []string{"org", s.Org, "actor", s.Actor, "action", s.Action}
	for _, e := range got.Data {
		s.Rows = append(s.Rows, c.auditRow(e))
	}
	if got.NextCursor != nil {
		s.Next = link("/audit", append(filter, "cursor", *got.NextCursor)...)
	}
	if n := len(s.Rows); n > 0 && s.Next == "" && s.Org+s.Actor+s.Action == "" {
		s.Pruned = s.Rows[n-1].Seq - 1
	}
	if in.Get("cursor") != "" {
		s.First = link("/audit", filter...)
	}
	return c.render(w, http.StatusOK, "audit", s)
}

func (c *Console) auditRow(e audit.Entry) auditRow {
	kind := kinds[e.Actor.Kind]
	if kind == "" {
		kind = words.Shown(e.Actor.Kind)
	}
	row := auditRow{
		Seq: e.Seq, At: momentOf(e.Time, c.Now()), Who: words.Shown(e.Actor.ID), WhoKind: kind, Action: words.Shown(e.Action),
		On: words.Shown(e.Resource.Type), From: from(e.RemoteIP), Result: words.Shown(e.Result), Detail: e.Detail,
		Request: pretty(e.Request), Before: pretty(e.Before), After: pretty(e.After),
	}
	if e.Resource.ID != "" {
		row.On += " " + words.Shown(e.Resource.ID)
	}
	if e.Resource.OrganizationID != "" && e.Resource.OrganizationID != e.Resource.ID {
		row.OnOrg = words.Shown(e.Resource.OrganizationID)
	}
	if e.Detail != "" {
		row.Detail = words.Cut(e.Detail, maxPart, false)
	}
	switch {
	case e.Kind == audit.Intent:
		row.Result, row.Kind = "begun", "what came of it is a later entry"
	case e.Intent != 0:
		row.Kind = "of " + strconv.FormatUint(e.Intent, 10)
	}
	switch e.Result {
	case audit.Done:
		row.Look = "good"
	case audit.Refused:
		row.Look = "warn"
	case audit.Failed:
		row.Look = "bad"
	}
	return row
}

func from(ip string) string {
	if ip == "" {
		return ""
	}
	return words.Shown(ip)
}
