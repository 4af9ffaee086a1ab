package standin

import (
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// redirects are the redirect URIs that are registered for the application, as
// those of an environment are in WorkOS's dashboard. A code goes to none but
// these, to the letter: who can have a browser asked for a sign-in that leads
// elsewhere is brought the code of whoever sits there.
type redirects struct {
	mu   sync.Mutex
	list []string
}

// add registers a redirect URI. It must stay on this machine.
func (l *redirects) add(uri string) bool {
	if u, err := url.Parse(uri); err != nil || !isLoopbackURL(u) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.list, uri) {
		l.list = append(l.list, uri)
	}
	return true
}

func (l *redirects) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.list...)
}

// showRedirects is GET /_dev/redirect-uris.
func (s *Server) showRedirects(*http.Request) (int, any, error) {
	return http.StatusOK, map[string]any{"redirect_uris": s.redirects.all()}, nil
}

// addRedirect is POST /_dev/redirect-uris: one more, until the stand-in ends.
func (s *Server) addRedirect(r *http.Request) (int, any, error) {
	body, err := readObject(r, "redirect_uri")
	if err != nil {
		return 0, nil, err
	}
	if !s.redirects.add(body.str("redirect_uri")) {
		return 0, nil, invalid(fieldError{Code: "redirect_uri must be an http(s) URL on loopback, without user and fragment", Field: "redirect_uri"})
	}
	return s.showRedirects(r)
}
