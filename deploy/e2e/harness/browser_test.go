package harness

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
)

// person is somebody's browser.
type person struct{ hc *http.Client }

// signIn opens an app as a browser does and follows where it leads, with the
// e-mail as the hint that the stand-in signs in at once.
func signIn(g *gate, app, email string) (*person, error) {
	hc := loopback(0)
	hc.Jar, _ = cookiejar.New(nil) // never an error
	p := &person{hc}
	target := p.url(g, app, "/")
	for range 20 {
		resp, err := p.get(target, "navigate", "document")
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 3 {
			return p, nil
		}
		next, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
		if err != nil {
			return nil, fmt.Errorf("sign in %s: %w", email, err)
		}
		if next.Path == "/login" && !next.Query().Has("login_hint") {
			q := next.Query()
			q.Set("login_hint", email)
			next.RawQuery = q.Encode()
		}
		target = next.String()
	}
	return nil, fmt.Errorf("sign in %s at %s: too many redirects", email, app)
}

// ask asks an app through the gateway, as a script in a page does, and returns
// the status.
func (p *person) ask(g *gate, app, path string) (int, error) {
	resp, err := p.get(p.url(g, app, path), "cors", "empty")
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

func (p *person) url(g *gate, app, path string) string {
	u, err := url.Parse(g.GatewayURL)
	if err != nil {
		panic(err) // the program's own ready file
	}
	return fmt.Sprintf("http://%s.%s:%s%s", app, g.Domain, u.Port(), path)
}

func (p *person) get(target, mode, dest string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}, "Sec-Fetch-Site": {"none"}}
	if mode == "cors" {
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := p.hc.Do(req)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return resp, nil
}
