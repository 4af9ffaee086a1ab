package decisionlog

// Abandon gives up what is queued, as a stop with a broken database does.
func Abandon(l *Log) { l.q.abandon(l.o.Now()) }

// Statement is the SQL of a filter for one person (or nobody in particular),
// so that a test can ask the database how it would run it.
func Statement(f Filter, subject *int64, more bool) (text string, args []any) {
	var after *place
	if more {
		after = &place{}
	}
	q := f.query(subject, after, limited(f.Limit)+1)
	return q.text.String(), q.args
}

// Recode parses a cursor and writes it again.
func Recode(s string) (string, error) {
	p, err := parseCursor(s)
	if err != nil || p == nil {
		return "", err
	}
	return p.cursor(), nil
}
