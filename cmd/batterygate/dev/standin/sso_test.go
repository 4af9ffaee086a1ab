package standin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// authorize asks for a sign-in with some parameters changed ("" removes one).
func (r *rig) authorize(t *testing.T, changes map[string]string) *http.Response {
	t.Helper()
	acme, _ := r.World().Organization("acme")
	q := url.Values{"client_id": {clientID}, "redirect_uri": {redirect}, "response_type": {"code"}, "organization": {acme.ID}, "state": {"s"}}
	for k, v := range changes {
		if v == "" {
			q.Del(k)
		} else {
			q.Set(k, v)
		}
	}
	res, err := client.Get(r.url + "/sso/authorize?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAuthorizeRefuses(t *testing.T) {
	r := start(t)
	r.happen(t, 201, "connection.activated", `{"organization":"globex","id":"","name":"second"}`)
	globex, _ := r.World().Organization("globex")
	off, _ := r.World().Connection("acme")
	for name, c := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"another response type":   {map[string]string{"response_type": "token"}, "unsupported_response_type"},
		"no selector":             {map[string]string{"organization": ""}, "invalid_connection_selector"},
		"two selectors":           {map[string]string{"connection": off.ID}, "invalid_connection_selector"},
		"the domain selector":     {map[string]string{"domain": "acme.test"}, "domain_connection_selector_not_allowed"},
		"an unknown organization": {map[string]string{"organization": "org_x"}, "organization_invalid"},
		"an unknown connection":   {map[string]string{"organization": "", "connection": "conn_x"}, "connection_invalid"},
		"an unknown provider":     {map[string]string{"organization": "", "provider": "XOAuth"}, "invalid_connection_selector"},
		"an unknown person":       {map[string]string{"login_hint": "x@evil.test"}, "access_denied"},
	} {
		t.Run("by a redirect: "+name, func(t *testing.T) {
			res := r.authorize(t, c.changes)
			to, err := res.Location()
			if err != nil || res.StatusCode != 302 || !strings.HasPrefix(to.String(), redirect+"?") {
				t.Fatalf("%d %v %v", res.StatusCode, to, err)
			}
			if q := to.Query(); q.Get("error") != c.want || q.Get("error_description") == "" || q.Get("state") != "s" || q.Has("code") {
				t.Errorf("back with %v", q)
			}
		})
	}
	for name, changes := range map[string]map[string]string{
		"no client":                  {"client_id": ""},
		"another client":             {"client_id": "client_x"},
		"no redirect":                {"redirect_uri": ""},
		"a redirect to the world":    {"redirect_uri": "https://evil.test/callback"},
		"a redirect by a user part":  {"redirect_uri": "http://localhost@evil.test/"},
		"a redirect with a user":     {"redirect_uri": "http://evil.test@localhost/"},
		"a redirect to a script":     {"redirect_uri": "javascript://localhost/%0aalert(1)"},
		"a redirect without a host":  {"redirect_uri": "/callback"},
		"a redirect with a fragment": {"redirect_uri": "http://localhost/#x"},
		"a name under localhost.x":   {"redirect_uri": "http://localhost.evil.test/"},
	} {
		t.Run("without a redirect: "+name, func(t *testing.T) {
			if res := r.authorize(t, changes); res.StatusCode != 400 || res.Header.Get("Location") != "" {
				t.Errorf("%d to %q", res.StatusCode, res.Header.Get("Location"))
			}
		})
	}
	t.Run("several connections are ambiguous, one that is off is unlinked", func(t *testing.T) {
		second := r.World().Connections[1]
		second.ID, second.Name = "conn_01DXF6DT00SEC0ND0000000000", "Second"
		w := r.World()
		w.Connections = append(w.Connections, second)
		if err := r.Lay(w); err != nil {
			t.Fatal(err)
		}
		to, _ := r.authorize(t, map[string]string{"organization": globex.ID}).Location()
		if to.Query().Get("error") != "ambiguous_connection_selector" {
			t.Errorf("back with %v", to.Query())
		}
		r.happen(t, 201, "connection.deactivated", `{"id":"`+off.ID+`"}`)
		to, _ = r.authorize(t, map[string]string{"organization": "", "connection": off.ID}).Location()
		if to.Query().Get("error") != "connection_unlinked" {
			t.Errorf("back with %v", to.Query())
		}
	})
}

func TestAuthorizeRedirect(t *testing.T) {
	r := start(t)
	for name, c := range map[string]struct{ uri, state, prefix string }{
		"keeps the redirect's own query": {"http://127.0.0.1:9/cb?keep=1&x=%2f", "a b", "http://127.0.0.1:9/cb?keep=1&x=%2f&code="},
		"of IPv6":                        {"http://[::1]:9/cb", "s", "http://[::1]:9/cb?code="},
		"over https":                     {"https://app.localhost/cb", "s", "https://app.localhost/cb?code="},
	} {
		t.Run(name, func(t *testing.T) {
			res := r.authorize(t, map[string]string{"redirect_uri": c.uri, "state": c.state, "login_hint": "ada@acme.test"})
			to := res.Header.Get("Location")
			u, _ := url.Parse(to)
			if !strings.HasPrefix(to, c.prefix) || u.Query().Get("state") != c.state {
				t.Errorf("to %s", to)
			}
		})
	}
	t.Run("has no state where none was given", func(t *testing.T) {
		to, _ := r.authorize(t, map[string]string{"state": "", "login_hint": "ada@acme.test"}).Location()
		if to.Query().Has("state") || !to.Query().Has("code") {
			t.Errorf("to %s", to)
		}
	})
	t.Run("by a provider brings a profile of no organization", func(t *testing.T) {
		to, _ := r.authorize(t, map[string]string{"organization": "", "provider": "GoogleOAuth", "login_hint": "ada@acme.test"}).Location()
		_, out := r.token(t, "application/json", map[string]string{"code": to.Query().Get("code")})
		if p, ok := dig(out, "profile").(map[string]any); !ok || p["organization_id"] != nil || p["connection_type"] != "GoogleOAuth" {
			t.Errorf("%v", out)
		}
	})
}

// token exchanges a code, with some fields changed.
func (r *rig) token(t *testing.T, kind string, changes map[string]string) (int, map[string]any) {
	t.Helper()
	fields := map[string]string{"client_id": clientID, "client_secret": apiKey, "grant_type": "authorization_code"}
	for k, v := range changes {
		fields[k] = v
	}
	var payload string
	if kind == "application/json" {
		raw, _ := json.Marshal(fields)
		payload = string(raw)
	} else {
		form := url.Values{}
		for k, v := range fields {
			form.Set(k, v)
		}
		payload = form.Encode()
	}
	res, err := client.Post(r.url+"/sso/token", kind, strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, out
}

func TestToken(t *testing.T) {
	r := start(t)
	code := func() string {
		to, _ := r.authorize(t, map[string]string{"login_hint": "ada@acme.test"}).Location()
		return to.Query().Get("code")
	}
	for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} {
		t.Run("takes "+kind, func(t *testing.T) {
			status, out := r.token(t, kind, map[string]string{"code": code()})
			if status != 200 || out["token_type"] != "Bearer" || out["expires_in"] != 600.0 || dig(out, "profile", "object") != "profile" ||
				dig(out, "profile", "name") != "Ada Acme" {
				t.Errorf("%d %v", status, out)
			}
		})
		for name, c := range map[string]struct {
			changes map[string]string
			want    string
		}{
			"another client":     {map[string]string{"client_id": "x"}, "invalid_client"},
			"another secret":     {map[string]string{"client_secret": "x"}, "invalid_client"},
			"another grant":      {map[string]string{"grant_type": "refresh_token"}, "unsupported_grant_type"},
			"an unknown code":    {map[string]string{"code": "x"}, "invalid_grant"},
			"no code":            {nil, "invalid_grant"},
			"another redirect":   {map[string]string{"code": code(), "redirect_uri": "http://127.0.0.1/other"}, "invalid_grant"},
			"no secret whatever": {map[string]string{"client_secret": ""}, "invalid_client"},
		} {
			t.Run("refuses by "+kind+" "+name, func(t *testing.T) {
				status, out := r.token(t, kind, c.changes)
				if status != 400 || out["error"] != c.want || out["error_description"] == "" {
					t.Errorf("%d %v", status, out)
				}
			})
		}
	}
	t.Run("a wrong secret does not use up the code", func(t *testing.T) {
		c := code()
		r.token(t, "application/json", map[string]string{"code": c, "client_secret": "x"})
		if status, out := r.token(t, "application/json", map[string]string{"code": c}); status != 200 {
			t.Errorf("%d %v", status, out)
		}
	})
	t.Run("no profile without an access token", func(t *testing.T) {
		status, out := r.call(t, http.MethodGet, "/sso/profile", "") // the API key is none
		if status != 401 || out["error"] != "Unauthorized" {
			t.Errorf("%d %v", status, out)
		}
	})
	t.Run("keys of the client, and of no other", func(t *testing.T) {
		_, out := r.call(t, http.MethodGet, "/sso/jwks/"+clientID, "")
		keys, _ := out["keys"].([]any)
		if len(keys) != 1 || dig(keys[0], "kty") != "RSA" {
			t.Errorf("%v", out)
		}
		if status, _ := r.call(t, http.MethodGet, "/sso/jwks/client_x", ""); status != 404 {
			t.Errorf("%d", status)
		}
	})
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

func TestSigninPage(t *testing.T) {
	r := start(t)
	r.happen(t, 201, "dsync.user.updated", `{"email":"bob@acme.test","name":"<script>alert(1)</script>"}`)
	bob, _ := r.World().User("bob@acme.test")
	gil, _ := r.World().User("gil@globex.test")
	open := func(t *testing.T) (string, string) {
		t.Helper()
		res := r.authorize(t, map[string]string{"state": `"><b>`})
		page := body(t, res)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
		m := requestField.FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no request in %s", page)
		}
		return page, m[1]
	}
	pick := func(t *testing.T, request, user string) *http.Response {
		t.Helper()
		res, err := client.PostForm(r.url+"/sso/authorize", url.Values{"request": {request}, "user": {user}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	t.Run("lists the organization's people, escaped", func(t *testing.T) {
		page, _ := open(t)
		for _, want := range []string{"ada@acme.test", "bob@acme.test", "eve@acme.test", "root@acme.test", "inactive", "&lt;script&gt;"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s is not on the page", want)
			}
		}
		if strings.Contains(page, "gil@globex.test") || strings.Contains(page, "<script") || strings.Contains(page, "<b>") {
			t.Errorf("the page is %s", page)
		}
	})
	t.Run("who is picked is signed in, once", func(t *testing.T) {
		_, request := open(t)
		res := pick(t, request, bob.ID)
		to, err := res.Location()
		if err != nil || res.StatusCode != 303 || to.Query().Get("state") != `"><b>` {
			t.Fatalf("%d %v %v", res.StatusCode, to, err)
		}
		_, out := r.token(t, "application/json", map[string]string{"code": to.Query().Get("code")})
		if dig(out, "profile", "email") != "bob@acme.test" {
			t.Errorf("%v", out)
		}
		if res := pick(t, request, bob.ID); res.StatusCode != 400 || res.Header.Get("Location") != "" {
			t.Errorf("a second time: %d", res.StatusCode)
		}
	})
	for name, user := range map[string]string{"cancelled": "", "a stranger": "directory_user_x", "one of another organization": gil.ID} {
		t.Run("access is denied: "+name, func(t *testing.T) {
			_, request := open(t)
			to, err := pick(t, request, user).Location()
			if err != nil || to.Query().Get("error") != "access_denied" || to.Query().Has("code") {
				t.Errorf("%v %v", to, err)
			}
		})
	}
	t.Run("a page that is five minutes old is over", func(t *testing.T) {
		_, request := open(t)
		r.clock.Add(5 * time.Minute)
		if res := pick(t, request, bob.ID); res.StatusCode != 400 {
			t.Errorf("%d", res.StatusCode)
		}
	})
}
