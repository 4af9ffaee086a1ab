package workosapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/sync/workosapi"
)

const apiKey = "sk_test_secret_value"

func client(t *testing.T, h http.HandlerFunc) *workosapi.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := workosapi.New(workosapi.Options{APIKey: apiKey, ClientID: "client_1", Endpoint: srv.URL + "/", DirectoryUsersRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-ID", "req_1")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestNew(t *testing.T) {
	for name, o := range map[string]workosapi.Options{
		"an API key is required":                   {ClientID: "c"},
		"a client id is required":                  {APIKey: "k"},
		"the key never travels in the clear":       {APIKey: "k", ClientID: "c", Endpoint: "http://api.example.com"},
		"an endpoint with credentials is refused":  {APIKey: "k", ClientID: "c", Endpoint: "https://u:p@api.example.com"},
		"an endpoint that is not a URL is refused": {APIKey: "k", ClientID: "c", Endpoint: "api.workos.com"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := workosapi.New(o); !errors.Is(err, workosapi.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
		})
	}
}

func TestAuthorizationURL(t *testing.T) {
	c := client(t, func(http.ResponseWriter, *http.Request) { t.Error("nothing may be sent") })
	full := workosapi.AuthorizationRequest{RedirectURI: "https://auth.example.com/callback", State: "s"}
	t.Run("carries what it was given", func(t *testing.T) {
		r := full
		r.Organization, r.LoginHint, r.DomainHint = "org_01ABC", "ada@acme.test", "acme.test"
		got, err := c.AuthorizationURL(r)
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(got)
		want := url.Values{"client_id": {"client_1"}, "response_type": {"code"}, "redirect_uri": {full.RedirectURI}, "state": {"s"},
			"organization": {"org_01ABC"}, "login_hint": {"ada@acme.test"}, "domain_hint": {"acme.test"}}
		if u.Path != "/sso/authorize" || u.RawQuery != want.Encode() {
			t.Fatalf("got %s", got)
		}
	})
	for name, r := range map[string]workosapi.AuthorizationRequest{
		"no selector is refused":             full,
		"two selectors are refused":          {RedirectURI: full.RedirectURI, State: "s", Organization: "org_1", Connection: "conn_1"},
		"no state is refused":                {RedirectURI: full.RedirectURI, Organization: "org_1"},
		"a relative redirect is refused":     {RedirectURI: "/callback", State: "s", Organization: "org_1"},
		"a foreign organization is refused":  {RedirectURI: full.RedirectURI, State: "s", Organization: "conn_1"},
		"a malformed connection is refused":  {RedirectURI: full.RedirectURI, State: "s", Connection: "conn_1&x=y"},
		"an organization id alone is needed": {RedirectURI: full.RedirectURI, State: "s", Organization: "org_"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.AuthorizationURL(r); !errors.Is(err, workosapi.ErrInvalid) || got != "" {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
}

func TestProfileByCode(t *testing.T) {
	t.Run("reads the profile and turns null into empty", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			if r.URL.Path != "/sso/token" || r.PostForm.Get("code") != "abc" || r.PostForm.Get("client_secret") != apiKey {
				t.Errorf("unexpected request %s %v", r.URL, r.PostForm)
			}
			answer(w, 200, `{"access_token":"at","profile":{"id":"prof_1","idp_id":"i1","organization_id":null,"connection_id":"conn_1",
				"connection_type":"OktaSAML","email":"ada@acme.test","first_name":"Ada","role":null,"groups":["Engineering"],"custom_attributes":{"team":"x"}}}`)
		})
		p, err := c.ProfileByCode(context.Background(), "abc")
		if err != nil {
			t.Fatal(err)
		}
		if p.ID != "prof_1" || p.OrganizationID != "" || p.Role != "" || p.IdpID != "i1" || p.Groups[0] != "Engineering" || p.Attributes["team"] != "x" {
			t.Fatalf("got %+v", p)
		}
	})
	t.Run("a used code is an APIError and is not tried twice", func(t *testing.T) {
		var calls atomic.Int32
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			answer(w, 400, `{"error":"invalid_grant","error_description":"The code 'abc_secret_code' has expired or is invalid."}`)
		})
		_, err := c.ProfileByCode(context.Background(), "abc_secret_code")
		var api *workosapi.APIError
		if !errors.As(err, &api) || api.Code != "invalid_grant" || api.Status != 400 || api.RequestID != "req_1" {
			t.Fatalf("got %v", err)
		}
		if strings.Contains(err.Error(), "abc_secret_code") {
			t.Fatalf("the code is in the error: %v", err)
		}
		if calls.Load() != 1 {
			t.Fatalf("%d calls", calls.Load())
		}
	})
	t.Run("a profile without id is no profile", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 200, `{"profile":{}}`) })
		if _, err := c.ProfileByCode(context.Background(), "abc"); !errors.Is(err, workosapi.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a slow answer is unavailable", func(t *testing.T) {
		release := make(chan struct{})
		c := client(t, func(w http.ResponseWriter, r *http.Request) { <-release })
		defer close(release)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		_, err := c.ProfileByCode(ctx, "abc")
		if !errors.Is(err, workosapi.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestListsAreCompleteOrAnError(t *testing.T) {
	t.Run("every page is read", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			if q.Get("order") != "asc" || q.Get("limit") != "100" || q.Get("organization_id") != "org_1" {
				t.Errorf("query %s", r.URL.RawQuery)
			}
			n := len(q.Get("after"))
			next := "null"
			if n < 3 {
				next = fmt.Sprintf("%q", strings.Repeat("x", n+1))
			}
			answer(w, 200, fmt.Sprintf(`{"data":[{"id":"directory_%d","state":"linked","created_at":"2026-01-15T12:00:00.000Z"}],"list_metadata":{"before":null,"after":%s}}`, n, next))
		})
		got, err := c.ListDirectories(context.Background(), "org_1")
		if err != nil || len(got) != 4 || got[3].ID != "directory_3" || got[0].CreatedAt.Year() != 2026 {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("a failed page fails the list", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("after") != "" {
				answer(w, 500, `{"message":"boom"}`)
				return
			}
			answer(w, 200, `{"data":[{"id":"directory_group_1"}],"list_metadata":{"after":"directory_group_1"}}`)
		})
		got, err := c.ListDirectoryGroups(context.Background(), "directory_1")
		if got != nil || !errors.Is(err, workosapi.ErrUnavailable) {
			t.Fatalf("got %v, %v", got, err)
		}
	})
	t.Run("pages in a circle are an error", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			answer(w, 200, `{"data":[{"id":"conn_1"}],"list_metadata":{"after":"conn_1"}}`)
		})
		if _, err := c.ListConnections(context.Background(), ""); !errors.Is(err, workosapi.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("an unreadable answer is unavailable, not empty", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 200, `<html>proxy</html>`) })
		if _, err := c.ListOrganizations(context.Background()); !errors.Is(err, workosapi.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("users of a group are asked for by group alone", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("group") != "directory_group_1" || r.URL.Query().Has("directory") {
				t.Errorf("query %s", r.URL.RawQuery)
			}
			answer(w, 200, `{"data":[{"id":"directory_user_1","state":"active","role":null,"custom_attributes":{"a":1}}],"list_metadata":{"after":null}}`)
		})
		got, err := c.ListDirectoryUsers(context.Background(), workosapi.UserQuery{Directory: "directory_1", Group: "directory_group_1"})
		if err != nil || len(got) != 1 || got[0].State != "active" || string(got[0].CustomAttributes) != `{"a":1}` {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestIDsAreCheckedBeforeTheyEnterAPath(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("sent %s", r.URL) })
	ctx := context.Background()
	for _, id := range []string{"", "org_", "org_1/../../directories", "org_1?x=1", "org_1#", "org_%2e", "conn_1", "org_ä", "org_" + strings.Repeat("a", 65)} {
		if _, err := c.GetOrganization(ctx, id); !errors.Is(err, workosapi.ErrInvalid) {
			t.Errorf("GetOrganization(%q): %v", id, err)
		}
		if _, err := c.PortalLink(ctx, id, workosapi.IntentSSO, "", ""); !errors.Is(err, workosapi.ErrInvalid) {
			t.Errorf("PortalLink(%q): %v", id, err)
		}
	}
	if _, err := c.ListDirectoryUsers(ctx, workosapi.UserQuery{}); !errors.Is(err, workosapi.ErrInvalid) {
		t.Errorf("ListDirectoryUsers of nothing: %v", err)
	}
}

func TestRetries(t *testing.T) {
	serve := func(failures int32, status int, header ...string) (http.HandlerFunc, *atomic.Int32) {
		var calls atomic.Int32
		return func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) <= failures {
				for i := 0; i+1 < len(header); i += 2 {
					w.Header().Set(header[i], header[i+1])
				}
				answer(w, status, `"Ratelimited"`)
				return
			}
			answer(w, 200, `{"id":"org_1","name":"Acme","domains":[{"domain":"acme.test"}]}`)
		}, &calls
	}
	for _, status := range []int{429, 502, 503, 504} {
		t.Run(fmt.Sprintf("a read is tried again after %d", status), func(t *testing.T) {
			h, calls := serve(1, status)
			o, err := client(t, h).GetOrganization(context.Background(), "org_1")
			if err != nil || o.Name != "Acme" || o.Domains[0] != "acme.test" || calls.Load() != 2 {
				t.Fatalf("got %+v, %v after %d calls", o, err, calls.Load())
			}
		})
	}
	t.Run("a read is tried again after a broken connection", func(t *testing.T) {
		var calls atomic.Int32
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			answer(w, 200, `{"id":"org_1"}`)
		})
		if _, err := c.GetOrganization(context.Background(), "org_1"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("Retry-After is honoured up to a cap", func(t *testing.T) {
		h, calls := serve(9, 429, "Retry-After", "3600")
		_, err := client(t, h).GetOrganization(context.Background(), "org_1")
		var api *workosapi.APIError
		if !errors.Is(err, workosapi.ErrRateLimited) || !errors.As(err, &api) || api.RetryAfter != time.Hour || calls.Load() != 1 {
			t.Fatalf("got %v after %d calls", err, calls.Load())
		}
	})
	t.Run("404 is ErrNotFound at once", func(t *testing.T) {
		h, calls := serve(9, 404)
		_, err := client(t, h).GetOrganization(context.Background(), "org_1")
		if !errors.Is(err, workosapi.ErrNotFound) || errors.Is(err, workosapi.ErrUnavailable) || calls.Load() != 1 {
			t.Fatalf("got %v after %d calls", err, calls.Load())
		}
	})
	t.Run("a POST is never repeated", func(t *testing.T) {
		h, calls := serve(9, 503)
		_, err := client(t, h).CreateOrganization(context.Background(), workosapi.NewOrganization{Name: "Acme"})
		if !errors.Is(err, workosapi.ErrUnavailable) || calls.Load() != 1 {
			t.Fatalf("got %v after %d calls", err, calls.Load())
		}
	})
	t.Run("a redirect is not followed with the key", func(t *testing.T) {
		h, calls := serve(9, 302, "Location", "https://elsewhere.example/")
		_, err := client(t, h).GetOrganization(context.Background(), "org_1")
		if !errors.Is(err, workosapi.ErrUnavailable) || calls.Load() != 1 {
			t.Fatalf("got %v after %d calls", err, calls.Load())
		}
	})
}

func TestErrorsHoldNoSecret(t *testing.T) {
	var log bytes.Buffer
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, 503, `{"message":"bad key `+apiKey+`\u001b[31m","code":"email_verification_required","pending_authentication_token":"pat_secret"}`)
	}))
	defer srv.Close()
	c, err := workosapi.New(workosapi.Options{APIKey: apiKey, ClientID: "c", Endpoint: srv.URL,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetOrganization(context.Background(), "org_1")
	var api *workosapi.APIError
	if !errors.As(err, &api) || api.Code != "email_verification_required" {
		t.Fatalf("got %v", err)
	}
	for _, secret := range []string{apiKey, "pat_secret", "\x1b"} {
		if strings.Contains(err.Error(), secret) || strings.Contains(log.String(), secret) {
			t.Fatalf("%q leaks: %v\n%s", secret, err, log.String())
		}
	}
}

func TestRawCallsSendWhatTheAPITakes(t *testing.T) {
	var body map[string]any
	var path string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, path = nil, r.URL.Path
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if r.Header.Get("Authorization") != "Bearer "+apiKey {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		answer(w, 201, `{"id":"org_1","name":"Acme","link":"https://setup.workos.com?token=x"}`)
	})
	ctx := context.Background()
	if _, err := c.CreateOrganization(ctx, workosapi.NewOrganization{Name: "Acme", Domains: []string{"acme.test"}}); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(body); path != "/organizations" || string(got) != `{"domain_data":[{"domain":"acme.test","state":"pending"}],"name":"Acme"}` {
		t.Fatalf("%s %s", path, got)
	}
	link, err := c.PortalLink(ctx, "org_1", workosapi.IntentDirectorySync, "https://x.example/back", "")
	if err != nil || link != "https://setup.workos.com?token=x" {
		t.Fatalf("%q, %v", link, err)
	}
	if got, _ := json.Marshal(body); path != "/portal/generate_link" || string(got) != `{"intent":"dsync","organization":"org_1","return_url":"https://x.example/back"}` {
		t.Fatalf("%s %s", path, got)
	}
	if _, err := c.PortalLink(ctx, "org_1", "anything", "", ""); !errors.Is(err, workosapi.ErrInvalid) {
		t.Fatalf("unknown intent: %v", err)
	}
}

func TestUsersOfOneDirectoryArePaced(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, `{"data":[],"list_metadata":{"after":null}}`)
	}))
	defer srv.Close()
	c, err := workosapi.New(workosapi.Options{APIKey: apiKey, ClientID: "c", Endpoint: srv.URL, DirectoryUsersRate: 0.001})
	if err != nil {
		t.Fatal(err)
	}
	q := workosapi.UserQuery{Directory: "directory_1"}
	if _, err := c.ListDirectoryUsers(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	// The next one would have to wait a quarter of an hour, longer than a call may take.
	if _, err := c.ListDirectoryUsers(context.Background(), q); !errors.Is(err, workosapi.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	q.Directory = "directory_2"
	if _, err := c.ListDirectoryUsers(context.Background(), q); err != nil {
		t.Fatalf("another directory waits too: %v", err)
	}
}
