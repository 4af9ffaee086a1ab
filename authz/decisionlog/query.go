package decisionlog

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"battery.app/gate/authz"
)

// How many rows a page has.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// Filter chooses decisions; empty fields choose all. The fields are joined by
// "and".
type Filter struct {
	OrganizationID string
	AppID          string
	User           string    // WorkOS profile id, directory-user id, or e-mail in any case
	Result         string    // "allow", "deny" or "challenge"
	Reason         string    // a code among the decision's reasons
	Path           string    // prefix, to the letter: no wildcards, case matters
	From           time.Time // inclusive
	To             time.Time // exclusive
	Cursor         string    // NextCursor of the page before, with the same filter
	Limit          int       // default 50; more than 500 is 500
}

// Page is a part of the answer, newest first.
type Page struct {
	Rows       []Row
	NextCursor string // empty on the last page
}

// Decisions returns the page of decisions that f chooses. What is recorded
// while a reader pages never makes a decision appear twice or vanish between
// two pages. Errors: ErrBadCursor, ErrBadFilter.
func (l *Log) Decisions(ctx context.Context, f Filter) (Page, error) {
	if err := f.check(); err != nil {
		return Page{}, err
	}
	after, err := parseCursor(f.Cursor)
	if err != nil {
		return Page{}, err
	}
	limit := limited(f.Limit)
	subjects, err := l.subjects(ctx, f.User)
	if err != nil {
		return Page{}, fmt.Errorf("query decisions: %w", err)
	}
	var found []position
	for _, s := range subjects {
		// One query per person the filter names (usually one), so that each
		// runs along the index and stops after a page.
		q := f.query(s, after, limit+1)
		some, err := l.rows(ctx, q)
		if err != nil {
			return Page{}, fmt.Errorf("query decisions: %w", err)
		}
		found = append(found, some...)
	}
	slices.SortFunc(found, func(a, b position) int {
		return cmp.Or(cmp.Compare(b.micros, a.micros), cmp.Compare(b.n, a.n))
	})
	p := Page{Rows: []Row{}}
	if len(found) > limit {
		found = found[:limit]
		p.NextCursor = found[limit-1].cursor()
	}
	for _, at := range found {
		p.Rows = append(p.Rows, at.row)
	}
	return p, nil
}

// Decision returns one decision with its input, or ErrNotFound.
func (l *Log) Decision(ctx context.Context, id string) (Row, error) {
	if !searchable(id, maxName) || id == "" {
		return Row{}, ErrNotFound
	}
	var at position
	var k kept
	dest := append(at.dest(), &k.door, &k.scheme, &k.query, &k.headers, &k.clientIP, &k.stale, &k.exact, &k.app, &k.session, &k.user)
	err := l.read.QueryRowContext(ctx, `SELECT `+rowColumns+`,
			COALESCE(d.door, ''), COALESCE(d.scheme, ''), COALESCE(d.query, ''), COALESCE(d.headers, ''), COALESCE(d.client_ip, ''),
			d.stale, d.exact, COALESCE(fa.json, ''), COALESCE(fs.json, ''), COALESCE(fu.json, '')
		FROM decisions d LEFT JOIN subjects s ON s.id = d.subject
			LEFT JOIN facts fa ON fa.id = d.app_fact LEFT JOIN facts fs ON fs.id = d.session_fact LEFT JOIN facts fu ON fu.id = d.user_fact
		WHERE d.id = ?`, id).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, ErrNotFound
	}
	if err == nil {
		err = at.finish()
	}
	if err == nil {
		at.row.Input, err = k.input(&at.row)
	}
	if err != nil {
		return Row{}, fmt.Errorf("read decision: %w", err)
	}
	return at.row, nil
}

// check refuses what can match nothing because no row holds such text.
func (f *Filter) check() error {
	for _, field := range []struct {
		name, value string
		limit       int
	}{
		{"org", f.OrganizationID, maxName}, {"app", f.AppID, maxName}, {"user", f.User, maxName},
		{"reason", f.Reason, maxName}, {"path", f.Path, maxPath},
	} {
		if !searchable(field.value, field.limit) {
			return fmt.Errorf("%w: %s is too long or not text", ErrBadFilter, field.name)
		}
	}
	switch f.Result {
	case "", authz.Allow.String(), authz.Deny.String(), authz.Challenge.String():
	default:
		return fmt.Errorf("%w: result is allow, deny or challenge", ErrBadFilter)
	}
	if f.Limit < 0 {
		return fmt.Errorf("%w: limit is negative", ErrBadFilter)
	}
	return nil
}

func searchable(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func limited(n int) int {
	if n == 0 {
		return DefaultLimit
	}
	return min(n, MaxLimit)
}

// subjects returns the people a user filter names; one nil without a filter.
func (l *Log) subjects(ctx context.Context, user string) (ids []*int64, err error) {
	if user == "" {
		return []*int64{nil}, nil
	}
	rows, err := l.read.QueryContext(ctx, `SELECT id FROM subjects
		WHERE user_id = ? OR directory_user_id = ? OR folded_email = ? OR folded_directory_email = ?`,
		user, user, fold(user), fold(user))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		id := new(int64)
		if err := rows.Scan(id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// query is a statement under construction.
type query struct {
	text strings.Builder
	args []any
}

func (q *query) and(condition string, args ...any) {
	q.text.WriteString(" AND ")
	q.text.WriteString(condition)
	q.args = append(q.args, args...)
}

// query builds the statement for one subject. Every form of it walks one index
// from the newest row on, so that a page costs a page however long the log is.
func (f *Filter) query(subject *int64, after *place, limit int) *query {
	q := &query{}
	at := "d" // the table whose index is walked
	q.text.WriteString(`SELECT ` + rowColumns + ` FROM `)
	if byReason := f.Reason != "" && subject == nil && f.AppID == "" && f.OrganizationID == ""; byReason {
		at = "r"
		q.text.WriteString(`decision_reasons r JOIN decisions d ON d.n = r.n LEFT JOIN subjects s ON s.id = d.subject WHERE r.code = ?`)
		q.args = append(q.args, f.Reason)
	} else {
		q.text.WriteString(`decisions d LEFT JOIN subjects s ON s.id = d.subject WHERE 1 = 1`)
		if f.Reason != "" {
			q.and(`EXISTS (SELECT 1 FROM decision_reasons r WHERE r.code = ? AND r.time = d.time AND r.n = d.n)`, f.Reason)
		}
	}
	if subject != nil {
		q.and(`d.subject = ?`, *subject)
	}
	if f.AppID != "" {
		q.and(`d.app_id = ?`, f.AppID)
	}
	if f.OrganizationID != "" {
		q.and(`d.organization_id = ?`, f.OrganizationID)
	}
	if f.Result != "" {
		q.and(`d.result = ?`, f.Result)
		if f.Result != authz.Allow.String() {
			q.and(`d.result <> 'allow'`) // lets the partial index serve it
		}
	}
	if f.Path != "" {
		q.and(`SUBSTR(d.path, 1, ?) = ?`, utf8.RuneCountInString(f.Path), f.Path)
	}
	if !f.From.IsZero() {
		q.and(at+`.time >= ?`, ceilMicro(f.From))
	}
	if !f.To.IsZero() {
		q.and(at+`.time < ?`, ceilMicro(f.To))
	}
	if after != nil {
		q.and(`(`+at+`.time, `+at+`.n) < (?, ?)`, after.micros, after.n)
	}
	q.text.WriteString(` ORDER BY ` + at + `.time DESC, ` + at + `.n DESC LIMIT ?`)
	q.args = append(q.args, limit)
	return q
}

// ceilMicro is the first microsecond that is not before t: rows hold whole
// microseconds, and both bounds compare right only when rounded up.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}

const rowColumns = `d.n, d.time, d.id, d.result, d.status, d.reasons, d.roles,
	COALESCE(d.organization_id, ''), COALESCE(d.app_id, ''), COALESCE(s.user_id, ''), COALESCE(s.email, ''), COALESCE(d.session_id, ''),
	COALESCE(d.gateway, ''), COALESCE(d.method, ''), COALESCE(d.host, ''), COALESCE(d.path, ''), COALESCE(d.policy_revision, ''),
	d.data_revision, d.duration_us, d.cached, COALESCE(d.trace_id, ''), COALESCE(d.reading, '')`

// position is a row with its place in the order.
type position struct {
	place
	row            Row
	reasons, roles string
	revision       int64
}

// dest is where Scan puts rowColumns.
func (p *position) dest() []any {
	r := &p.row
	return []any{&p.n, &p.micros, &r.ID, &r.Result, &r.Status, &p.reasons, &p.roles,
		&r.OrganizationID, &r.AppID, &r.UserID, &r.Email, &r.SessionID,
		&r.Gateway, &r.Method, &r.Host, &r.Path, &r.PolicyRevision,
		&p.revision, &r.DurationUS, &r.Cached, &r.TraceID, &r.Reading}
}

// finish makes of the scanned columns what Row shows.
func (p *position) finish() error {
	p.row.Time = timestamp(p.micros)
	p.row.DataRevision = uint64(p.revision)
	if err := json.Unmarshal([]byte(p.reasons), &p.row.Reasons); err != nil {
		return fmt.Errorf("decode reasons: %w", err)
	}
	if err := json.Unmarshal([]byte(p.roles), &p.row.Roles); err != nil {
		return fmt.Errorf("decode roles: %w", err)
	}
	return nil
}

func (l *Log) rows(ctx context.Context, q *query) (list []position, err error) {
	rows, err := l.read.QueryContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p position
		if err := rows.Scan(p.dest()...); err != nil {
			return nil, err
		}
		if err := p.finish(); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}
