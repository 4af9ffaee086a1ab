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

// paged cuts the page out of all objects, which come in the order of their ids.
// A cursor is a place in the order of ids, so it holds when its object is gone.
func paged[T any](r *http.Request, all []T, id func(T) string) (list, error) {
	p, err := readPage(r.URL.Query())
	if err != nil {
		return list{}, err
	}
	order := func(a, b string) bool { return a < b }
	if !p.ascending {
		all = slices.Clone(all)
		slices.Reverse(all)
		order = func(a, b string) bool { return a > b }
	}
	from, to := 0, len(all)
	switch {
	case p.after != "":
		for from < to && !order(p.after, id(all[from])) {
			from++
		}
		to = min(to, from+p.limit)
	case p.before != "":
		for to > 0 && !order(id(all[to-1]), p.before) {
			to--
		}
		from = max(0, to-p.limit)
	default:
		to = min(to, p.limit)
	}
	out := list{Object: "list", Data: append([]T{}, all[from:to]...)}
	if from > 0 && to > from {
		out.Metadata.Before = Nullable(id(all[from]))
	}
	if to < len(all) && to > from {
		out.Metadata.After = Nullable(id(all[to-1]))
	}
	return out, nil
}
