package api

import "context"

// RouteInfo is what tests see of a route.
type RouteInfo struct {
	Method, Path, Action string
	Mutating             bool
}

// Routes lists the routes of an API.
func (a *API) Routes() (out []RouteInfo) {
	for _, r := range a.routes() {
		out = append(out, RouteInfo{r.method, r.path, r.action, r.mutating()})
	}
	return out
}

// SaveUses is what Run does each minute.
func (t *Tokens) SaveUses(ctx context.Context) error { return t.saveUses(ctx) }
