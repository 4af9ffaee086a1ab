package decisionlog

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"battery.app/gate/authz"
)

// table is where rows of one shape go; the values of a row come in the order of
// its columns.
type table struct{ name, columns string }

func (t table) width() int { return strings.Count(t.columns, ",") + 1 }

func decisionTable() table {
	return table{"decisions", `n, id, replica, seq, time, result, status, reasons, roles, organization_id, app_id, subject, session_id,
		gateway, door, method, scheme, host, path, query, headers, client_ip, policy_revision, data_revision, duration_us,
		cached, stale, exact, trace_id, app_fact, session_fact, user_fact, reading`}
}

func reasonTable() table { return table{"decision_reasons", `code, time, n`} }

// What one string of a row may hold, in bytes. Doors refuse longer requests
// with a decision, which is recorded too, so the log has bounds of its own.
const (
	maxName = 1 << 10
	maxPath = 64 << 10
)

// row appends the values of one decision, in the order of decisionTable.
func (w *writer) row(ctx context.Context, tx *sql.Tx, n int64, it *item) error {
	r, at, exact := it.rec, it.rec.Time.UnixMicro(), true
	app, err := w.facts.app(ctx, tx, r.App, at, &exact)
	if err != nil {
		return err
	}
	session, err := w.facts.session(ctx, tx, r.Session, at, &exact)
	if err != nil {
		return err
	}
	user, err := w.facts.user(ctx, tx, r.User, at, &exact)
	if err != nil {
		return err
	}
	subject, err := w.facts.subject(ctx, tx, r, at)
	if err != nil {
		return err
	}
	var appID, sessionID string
	if r.App != nil {
		appID = r.App.ID
	}
	if r.Session != nil {
		sessionID = r.Session.ID
	}
	reasons, codes := encodeReasons(r.Reasons)
	for _, code := range codes {
		w.codes = append(w.codes, code, at, n)
	}
	// What the policy may have read must be stored as it was, or marked.
	read := func(s string, limit int) any {
		kept := clean(s, limit)
		exact = exact && kept == s
		return orNull(kept)
	}
	path, query, headers := read(r.Path, maxPath), read(r.Query, maxPath), encodeHeaders(r.Headers, &exact)
	method, scheme, host := read(r.Method, maxName), read(r.Scheme, maxName), read(r.Host, maxName)
	gateway, clientIP := read(r.Gateway, maxName), read(r.ClientIP, maxName)

	w.args = append(w.args, n, clean(r.ID, maxName), w.replica, int64(it.seq), at, r.Result.String(), int64(r.Status),
		reasons, encodeRoles(r.Roles), name(r.OrganizationID()), name(appID), subject, name(sessionID),
		gateway, name(r.Door), method, scheme, host, path, query, headers, clientIP,
		name(r.PolicyRevision), int64(r.DataRevision), r.Duration.Microseconds(),
		flag(r.Cached), flag(r.Stale), flag(exact), name(r.TraceID), app, session, user, orNull(clean(r.Reading, maxPath)))
	return nil
}

// encodeReasons returns the reasons as JSON and their codes, each once.
func encodeReasons(list []authz.Reason) (encoded string, codes []string) {
	if len(list) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "[]", nil // two strings always encode
	}
	codes = make([]string, 0, len(list))
next:
	for _, r := range list {
		code := clean(r.Code, maxName)
		for _, c := range codes {
			if c == code {
				continue next
			}
		}
		codes = append(codes, code)
	}
	return string(b), codes
}

func encodeRoles(roles []string) string {
	if len(roles) == 0 {
		return "[]"
	}
	b, err := json.Marshal(roles)
	if err != nil {
		return "[]" // strings always encode
	}
	return string(b)
}

// encodeHeaders leaves out what must never be kept, should a configuration
// have let a policy read it; such a record is no longer exact.
func encodeHeaders(h map[string]string, exact *bool) any {
	if len(h) == 0 {
		return nil
	}
	kept := make(map[string]string, len(h))
	for k, v := range h {
		switch strings.ToLower(k) {
		case "cookie", "set-cookie", "authorization", "proxy-authorization":
			*exact = false
			continue
		}
		kept[k] = clean(v, maxPath)
		*exact = *exact && kept[k] == v
	}
	b, err := json.Marshal(kept)
	if err != nil {
		*exact = false
		return nil
	}
	return string(b)
}

// clean makes s fit for a text column of any database: valid UTF-8, no NUL,
// no longer than limit bytes.
func clean(s string, limit int) string {
	if len(s) > limit {
		cut := limit
		for cut > limit-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s
}

// name is the value of a column for short strings; empty is NULL.
func name(s string) any { return orNull(clean(s, maxName)) }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
