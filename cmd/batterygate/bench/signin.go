package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"
)

// introduce tells the gate the world and what its groups are worth.
func (s *subject) introduce(ctx context.Context) error {
	if err := s.workos.Deliver(ctx, s.world.Events()...); err != nil {
		return fmt.Errorf("deliver the world: %w", err)
	}
	mappings := `{"mappings":[{"group_name":"Engineering","roles":["editor"]},{"group_name":"Everyone","roles":["member"]}]}`
	return s.api(ctx, http.MethodPut, "organizations/"+s.world.Organizations[0].ID+"/role-mappings", mappings, nil)
}

// prepare introduces the world, signs every user in to one app, and writes the
// requests to ask.
func (s *subject) prepare(ctx context.Context, o options, list string) error {
	if err := s.introduce(ctx); err != nil {
		return err
	}
	cookies := make([]string, o.sessions)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range cookies {
		g.Go(func() (err error) {
			cookies[i], err = s.signIn(ctx, host(i%o.apps), email(i))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return writeRequests(o, list, cookies)
}

func writeRequests(o options, list string, cookies []string) (err error) {
	f, err := os.Create(list)
	if err != nil {
		return fmt.Errorf("write requests: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	r := rand.New(rand.NewPCG(1, 2)) // the same requests in every run
	for range o.requests {
		user, path := r.IntN(o.sessions), r.IntN(o.paths)
		fmt.Fprintf(w, "%s\t/area%d/page%d?q=%d\t%s\n", host(user%o.apps), path%20, path, path, cookies[user])
	}
	return w.Flush()
}

// signIn goes the way of a browser: door, login page, WorkOS, callback, ticket,
// and returns the app's cookie.
func (s *subject) signIn(ctx context.Context, host, email string) (string, error) {
	c := browser()
	step := func(what, target, onHost string, header http.Header) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		req.Header = header
		if onHost != "" {
			req.Host = onHost
		}
		resp, err := c.Do(req)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode/100 != 3 {
			return nil, fmt.Errorf("sign in %s at %s: %s answered %s", email, host, what, resp.Status)
		}
		return resp, nil
	}
	door, err := step("the door", s.authzURL+"/authz/forward-auth", "", http.Header{
		"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {host}, "X-Forwarded-Uri": {"/"}, "Sec-Fetch-Mode": {"navigate"},
	})
	if err != nil {
		return "", err
	}
	login, err := step("the login page", door.Header.Get("Location")+"&login_hint="+url.QueryEscape(email), "", http.Header{})
	if err != nil {
		return "", err
	}
	workos, err := step("WorkOS", login.Header.Get("Location"), "", http.Header{})
	if err != nil {
		return "", err
	}
	callback, err := step("the callback", workos.Header.Get("Location"), "", cookieHeader(login))
	if err != nil {
		return "", err
	}
	ticket, err := url.Parse(callback.Header.Get("Location"))
	if err != nil {
		return "", fmt.Errorf("read ticket's URL: %w", err)
	}
	app, err := step("the ticket", s.publicURL+ticket.RequestURI(), ticket.Host, cookieHeader(door))
	if err != nil {
		return "", err
	}
	for _, ck := range app.Cookies() {
		if strings.HasSuffix(ck.Name, "battery_session") && ck.Value != "" {
			return ck.Name + "=" + ck.Value, nil
		}
	}
	return "", fmt.Errorf("sign in %s at %s: no session cookie came", email, host)
}

func cookieHeader(r *http.Response) http.Header {
	var parts []string
	for _, ck := range r.Cookies() {
		parts = append(parts, ck.Name+"="+ck.Value)
	}
	return http.Header{"Cookie": {strings.Join(parts, "; ")}}
}
