// Package apps is what `batterygate dev` deploys behind its gateway: apps that
// show the request that reached them, so that a person sees which identity
// headers an app gets, and a script can prove which ones it does not.
package apps

import (
	"encoding/json"
	"net/http"
	"strings"
)

// echo is what an app answers. Scripts rely on exactly these fields.
type echo struct {
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`  // as it was received, not decoded
	Query   string              `json:"query"` // likewise, without the "?"
	Headers map[string][]string `json:"headers"`
}

// Handler echoes every request as JSON, for people too. appID (crm.acme) is told
// in the answer's Demo-App header, to see which app a gateway chose. It never
// reads the body.
func Handler(appID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, query := target(r.RequestURI)
		headers := map[string][]string{}
		for name, values := range r.Header {
			headers[name] = values
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Demo-App", appID)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false) // sent as JSON with nosniff: no browser reads it as HTML
		enc.SetIndent("", "  ")
		_ = enc.Encode(echo{r.Method, r.Host, path, query, headers})
	})
}

// target splits a request target into path and query. Of the absolute form
// (RFC 9112 §3.2.2) only what comes after the authority counts.
func target(requestURI string) (path, query string) {
	if _, rest, ok := strings.Cut(requestURI, "://"); ok && !strings.HasPrefix(requestURI, "/") {
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			requestURI = rest[i:]
		} else {
			requestURI = "/"
		}
	}
	path, query, _ = strings.Cut(requestURI, "?")
	return path, query
}
