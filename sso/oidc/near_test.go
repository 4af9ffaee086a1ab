package oidc_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso/oidc"
)

// far makes the provider https://idp.example, and notes who else is asked.
type far struct {
	w     *world
	host  string // empty: idp.example
	asked []string
}

func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != cmp.Or(f.host, "idp.example") {
		f.asked = append(f.asked, r.URL.String())
		return nil, errors.New("nothing is there")
	}
	out := r.Clone(r.Context())
	to, _ := url.Parse(f.w.op.URL)
	out.URL.Scheme, out.URL.Host = to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(out)
}

// login is one whole attempt, by way of the far host.
func (f *far) login(a oidc.Attempt) (oidc.Identity, error) {
	f.w.t.Helper()
	to, err := f.w.p.AuthorizationURL(context.Background(), a, "")
	if err != nil {
		f.w.t.Fatal(err)
	}
	client := &http.Client{Transport: f, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(to)
	if err != nil {
		f.w.t.Fatal(err)
	}
	res.Body.Close()
	back, _ := url.Parse(res.Header.Get("Location"))
	return f.w.p.Exchange(context.Background(), a, back.Query().Get("code"), back.Query().Get("iss"))
}

// The provider of a customer says where its keys and tokens are. It must not say
// that they are on the gate's own machine.
func TestMetadataLeadsNowhereNear(t *testing.T) {
	ctx := context.Background()
	for _, near := range []string{
		"http://127.0.0.1:8083", "https://127.0.0.1:8083", "https://localhost", "https://x.localhost", "https://[::1]", "https://0.0.0.0", "https://[::]",
		"https://127.1.2.3", "https://[::ffff:127.0.0.1]", "https://169.254.169.254", "https://[fe80::1]", "https://[::ffff:169.254.169.254]",
	} {
		for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"} {
			f := &far{}
			w := newWorld(t, func(c *oidc.Config) { c.Issuer, c.Transport = "https://idp.example", f })
			f.w = w
			w.op.Metadata = func(doc map[string]any) {
				for k, v := range doc {
					if s, ok := v.(string); ok {
						doc[k] = strings.Replace(s, w.op.URL, "https://idp.example", 1)
					}
				}
				doc[name] = near + "/x"
			}
			w.op.AnswerIssuer = "https://idp.example"
			w.op.Tamper = func(c map[string]any) { c["iss"], c["email"] = "https://idp.example", nil }
			to, err := w.p.AuthorizationURL(ctx, attempt(), "")
			switch name {
			case "authorization_endpoint", "token_endpoint", "jwks_uri":
				if !errors.Is(err, oidc.ErrUntrusted) {
					t.Errorf("%s at %s: %s, %v", name, near, to, err)
				}
			case "userinfo_endpoint":
				if err != nil {
					t.Fatal(err)
				}
				id, err := f.login(attempt())
				if err != nil || id.Email != "" {
					t.Errorf("%s at %s: %+v, %v", name, near, id, err)
				}
			default:
				if there, err := w.p.LogoutURL(ctx, "", "https://auth.example/signed-out", ""); there != "" || err != nil {
					t.Errorf("%s at %s: %s, %v", name, near, there, err)
				}
			}
			if len(f.asked) > 0 {
				t.Errorf("%s at %s: asked %v", name, near, f.asked)
			}
		}
	}
}

// giant is a provider whose answer at one path is very long, and how much of it
// was read.
type giant struct {
	path string
	read int
	left int
}

func (g *giant) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != g.path {
		return http.DefaultTransport.RoundTrip(r)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: g, Request: r}, nil
}

func (g *giant) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), g.left)
	for i := range n {
		p[i] = ' '
	}
	g.left -= n
	g.read += n
	return n, nil
}

func (g *giant) Close() error { return nil }

func TestGiantAnswersAreNotRead(t *testing.T) {
	for _, path := range []string{discovery, "/token", "/keys", "/userinfo"} {
		t.Run(path, func(t *testing.T) {
			g := &giant{path: path, left: 32 << 20}
			w := newWorld(t, func(c *oidc.Config) { c.Transport = g })
			delete(w.op.Extra, "email")
			var err error
			if path == discovery {
				_, err = w.p.AuthorizationURL(context.Background(), attempt(), "")
			} else {
				_, err = w.login(attempt())
			}
			if !errors.Is(err, oidc.ErrUnavailable) {
				t.Error(err)
			}
			if g.read == 0 || g.read > 2<<20 {
				t.Errorf("%d bytes were read", g.read)
			}
		})
	}
}

// The library takes one issuer's name without its scheme; nobody's is taken here
// but to the letter.
func TestIssuerIsTakenToTheLetter(t *testing.T) {
	const issuer = "https://accounts.google.com"
	f := &far{host: "accounts.google.com"}
	w := newWorld(t, func(c *oidc.Config) { c.Issuer, c.Transport = issuer, f })
	f.w = w
	w.op.Metadata = func(doc map[string]any) {
		for k, v := range doc {
			if s, ok := v.(string); ok {
				doc[k] = strings.Replace(s, w.op.URL, issuer, 1)
			}
		}
	}
	w.op.AnswerIssuer = issuer
	for iss, ok := range map[string]bool{issuer: true, "accounts.google.com": false, issuer + "/": false} {
		w.op.Tamper = func(c map[string]any) { c["iss"] = iss }
		f.asked = nil
		_, err := f.login(attempt())
		if (err == nil) != ok || err != nil && !errors.Is(err, oidc.ErrUntrusted) {
			t.Errorf("%s: %v", iss, err)
		}
	}
}

func TestSignInThatLiesAhead(t *testing.T) {
	for name, c := range map[string]struct {
		at    func(now time.Time) any
		known bool
	}{
		"within the skew":       {func(now time.Time) any { return now.Add(20 * time.Second).Unix() }, true},
		"in an hour":            {func(now time.Time) any { return now.Add(time.Hour).Unix() }, false},
		"in milliseconds":       {func(now time.Time) any { return now.UnixMilli() }, false},
		"in ten thousand years": {func(time.Time) any { return 400_000_000_000 }, false},
		"before the epoch":      {func(time.Time) any { return -400_000_000_000 }, false},
		"beyond all numbers":    {func(time.Time) any { return 1e300 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.op.Tamper = func(claims map[string]any) { claims["auth_time"] = c.at(w.clock.Now()) }
			id, err := w.login(attempt())
			if err != nil || id.AuthTime.IsZero() == c.known {
				t.Fatalf("%+v, %v", id, err)
			}
			a := attempt()
			a.MaxAge = time.Hour
			if _, err := w.login(a); (err == nil) != c.known || (err != nil && !errors.Is(err, oidc.ErrNotFresh)) {
				t.Fatalf("asked for a fresh login: %v", err)
			}
		})
	}
}
