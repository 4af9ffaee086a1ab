package client_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"battery.app/gate/cmd/batterygate/client"
)

// What is escaped once arrives as it was given, and not escaped twice.
func TestPathsArriveAsTheyAreGiven(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Path + "|" + r.URL.RawQuery
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	for base, want := range map[string]string{s.URL: "", s.URL + "/": "", s.URL + "/below/": "/below"} {
		c, err := client.New(base, "bgt_x")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]any{}
		if err := c.Do(t.Context(), "GET", "apps/a%2Fb%20c%3Fd%25", map[string][]string{"org": {"x y"}}, nil, &out); err != nil || len(out) != 0 {
			t.Fatal(err, out)
		}
		if want += "/api/v1/apps/a/b c?d%|org=x+y"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A script that checks the chain of the audit needs numbers as they were hashed.
func TestNumbersStayAsTheServerWroteThem(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"n":12345678901234567,"f":1.0}`))
	}))
	defer s.Close()
	c, err := client.New(s.URL, "bgt_x")
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := c.Do(t.Context(), "GET", "audit", nil, nil, &out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"n": "12345678901234567", "f": "1.0"} {
		if s, ok := out[name].(interface{ String() string }); !ok || s.String() != want {
			t.Errorf("%s is %#v, want %s", name, out[name], want)
		}
	}
}
