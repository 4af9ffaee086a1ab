package standin_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestOrganizationsWrite(t *testing.T) {
	r := start(t)
	for name, c := range map[string]struct {
		body, code string
		want       int
	}{
		"no name":                    {`{}`, "invalid_request_parameters", 422},
		"an unknown property":        {`{"name":"X","Name":"Y"}`, "invalid_request_parameters", 422},
		"a name of wrong type":       {`{"name":7}`, "invalid_request_parameters", 422},
		"a domain that is none":      {`{"name":"X","domain_data":[{"domain":"no domain","state":"verified"}]}`, "invalid_request_parameters", 422},
		"a domain of another":        {`{"name":"X","domain_data":[{"domain":"acme.test","state":"verified"}]}`, "", 409},
		"an external id of another":  {`{"name":"X","external_id":"acme"}`, "external_id_already_used", 400},
		"a metadata key too long":    {`{"name":"X","metadata":{"` + strings.Repeat("k", 41) + `":"v"}}`, "invalid_metadata", 400},
		"metadata of the wrong type": {`{"name":"X","metadata":{"k":1}}`, "invalid_request_parameters", 422},
		"no JSON":                    {`{"name"`, "", 400},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			status, out := r.call(t, http.MethodPost, "/organizations", c.body)
			if code, _ := out["code"].(string); status != c.want || code != c.code {
				t.Errorf("%d %v", status, out)
			}
		})
	}
	t.Run("PUT changes what it names and nothing else", func(t *testing.T) {
		_, made := r.call(t, http.MethodPost, "/organizations", `{"name":"X","metadata":{"a":"1","b":"2"},"domain_data":[{"domain":"x.test","state":"pending"}]}`)
		id, _ := made["id"].(string)
		status, out := r.call(t, http.MethodPut, "/organizations/"+id, `{"metadata":{"a":null,"c":"3"},"external_id":"ext","domain_data":[{"domain":"x.test","state":"verified"},{"domain":"y.test","state":"verified"}]}`)
		domains, _ := out["domains"].([]any)
		if status != 200 || out["name"] != "X" || out["external_id"] != "ext" || dig(out, "metadata", "a") != nil || dig(out, "metadata", "b") != "2" ||
			dig(out, "metadata", "c") != "3" || len(domains) != 2 || dig(domains[0], "id") != dig(made["domains"].([]any)[0], "id") {
			t.Errorf("%d %v", status, out)
		}
		if _, ok := out["slug"]; ok {
			t.Error("WorkOS has no slug")
		}
		if status, out := r.call(t, http.MethodPut, "/organizations/"+id, `{"external_id":null}`); status != 200 || out["external_id"] != nil {
			t.Errorf("%d %v", status, out)
		}
		if status, _ := r.call(t, http.MethodPut, "/organizations/org_x", `{"name":"Y"}`); status != 404 {
			t.Errorf("%d", status)
		}
	})
	t.Run("an idempotency key holds for its body only", func(t *testing.T) {
		post := func(key, payload string) (int, string) {
			req, _ := http.NewRequest(http.MethodPost, r.url+"/organizations", strings.NewReader(payload))
			req.Header.Set("Authorization", "Bearer "+apiKey)
			req.Header.Set("Idempotency-Key", key)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			return res.StatusCode, body(t, res)
		}
		s1, b1 := post("k", `{"name":"Once"}`)
		s2, b2 := post("k", `{"name":"Once"}`)
		if s1 != 201 || s2 != 201 || b1 != b2 {
			t.Errorf("%d %s, %d %s", s1, b1, s2, b2)
		}
		if s, b := post("k", `{"name":"Twice"}`); s != 409 {
			t.Errorf("%d %s", s, b)
		}
		if s, b := post("", `{"name":"Twice"}`); s != 201 {
			t.Errorf("%d %s", s, b)
		}
	})
	t.Run("DELETE answers 202, and 404 once it is gone", func(t *testing.T) {
		globex, _ := r.World().Organization("globex")
		if status, _ := r.call(t, http.MethodDelete, "/organizations/"+globex.ID, ""); status != 202 {
			t.Errorf("%d", status)
		}
		if status, _ := r.call(t, http.MethodDelete, "/organizations/"+globex.ID, ""); status != 404 {
			t.Errorf("%d", status)
		}
	})
}
