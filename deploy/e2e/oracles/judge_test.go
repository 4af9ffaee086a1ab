package oracles_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// judge forwards to the stand-in and validates every answer on its way back.
type judge struct {
	t     *testing.T
	spec  *spec
	proxy *httputil.ReverseProxy

	mu   sync.Mutex
	seen map[string]int // "GET /directories 200" → how often
}

func newJudge(t *testing.T, target string) *judge {
	t.Helper()
	s, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{t: t, spec: s, seen: map[string]int{}}
	j.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = to.Host
		},
		ModifyResponse: j.look,
	}
	return j
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) { j.proxy.ServeHTTP(w, r) }

func (j *judge) look(res *http.Response) error {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	method, path := res.Request.Method, res.Request.URL.Path
	if strings.HasPrefix(path, "/_dev/") {
		return nil
	}
	template, _ := j.spec.operation(method, path)
	j.mu.Lock()
	j.seen[method+" "+template+" "+strconv.Itoa(res.StatusCode)]++
	j.mu.Unlock()
	if odd := oddity(method, path, res.StatusCode); odd != "" {
		return nil
	}
	switch err := j.spec.checkAnswer(method, path, res.StatusCode, body); {
	case errors.Is(err, errNoSchema):
		j.t.Errorf("%s %s answers %d, and nothing can judge that: %v\n%s", method, path, res.StatusCode, err, body)
	case err != nil:
		j.t.Errorf("%s %s: %v\n%s", method, path, err, body)
	}
	if res.StatusCode != http.StatusFound && len(body) > 0 && res.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		j.t.Errorf("%s %s: Content-Type %q", method, path, res.Header.Get("Content-Type"))
	}
	if res.Header.Get("X-Request-Id") == "" || res.Header.Get("Date") == "" {
		j.t.Errorf("%s %s: X-Request-ID or Date is missing", method, path)
	}
	return nil
}
