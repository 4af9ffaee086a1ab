package standin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// page is how a list is asked for.
type page struct {
	limit         int
	ascending     bool
	before, after string
}

// readPage reads limit (1 to 100, default 10), order (default desc), before and
// after. Cursors are object ids.
func readPage(q url.Values) (page, error) {
	p := page{limit: 10, before: q.Get("before"), after: q.Get("after")}
	if raw := q.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > 100 {
			return p, invalid(fieldError{Code: "limit must be an integer between 1 and 100", Field: "limit"})
		}
		p.limit = n
	}
	switch q.Get("order") {
	case "asc", "normal":
		p.ascending = true
	case "", "desc":
	default:
		return p, invalid(fieldError{Code: "order must be one of asc, desc, normal", Field: "order"})
	}
	if p.before != "" && p.after != "" {
		return p, invalid(fieldError{Code: "before and after exclude each other", Field: "before"})
	}
	return p, nil
}

// listing is what a list is made of: ids in their order, which of them are
// wanted (nil: all), and how each is shown.
type listing[T any] struct {
	ids  ordered
	want func(id string) bool
	show func(id string) T
}

// paged cuts the page out. A cursor is a place in the order of ids, so it holds
// when its object is gone. It looks at no more objects than it must: a page of
// a long list costs no more than that of a short one.
func paged[T any](r *http.Request, l listing[T]) (list, error) {
	p, err := readPage(r.URL.Query())
	if err != nil {
		return list{}, err
	}
	forward := p.before == ""
	picked, more := l.walk(l.start(p, forward), p.limit, p.ascending == forward)
	if !forward {
		slices.Reverse(picked)
	}
	out := list{Object: "list"}
	data := make([]T, 0, len(picked))
	for _, id := range picked {
		data = append(data, l.show(id))
	}
	out.Data = data
	if len(picked) == 0 {
		return out, nil
	}
	first, last := picked[0], picked[len(picked)-1]
	before, after := more, more
	if forward {
		before = l.beyond(first, !p.ascending)
	} else {
		after = l.beyond(last, p.ascending)
	}
	if before {
		out.Metadata.Before = Nullable(first)
	}
	if after {
		out.Metadata.After = Nullable(last)
	}
	return out, nil
}

// start is the place where the walk begins: just past the cursor, or at the end
// that comes first.
func (l listing[T]) start(p page, forward bool) int {
	cursor, up := p.after, p.ascending
	if !forward {
		cursor, up = p.before, !p.ascending
	}
	switch {
	case cursor == "" && up:
		return 0
	case cursor == "":
		return len(l.ids) - 1
	}
	return l.past(cursor, up)
}

// past is the place next to an id, in a direction.
func (l listing[T]) past(id string, up bool) int {
	i, found := slices.BinarySearch(l.ids, id)
	switch {
	case !up:
		return i - 1
	case found:
		return i + 1
	}
	return i
}

// walk picks up to limit wanted ids from a place on, and says whether there are
// more.
func (l listing[T]) walk(i, limit int, up bool) (picked []string, more bool) {
	step := -1
	if up {
		step = 1
	}
	for ; i >= 0 && i < len(l.ids); i += step {
		if l.want != nil && !l.want(l.ids[i]) {
			continue
		}
		if len(picked) == limit {
			return picked, true
		}
		picked = append(picked, l.ids[i])
	}
	return picked, false
}

// beyond says whether a wanted object follows an id in a direction.
func (l listing[T]) beyond(id string, up bool) bool {
	_, more := l.walk(l.past(id, up), 0, up)
	return more
}
