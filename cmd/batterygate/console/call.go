package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/sso"
)

// maxAnswer caps what a page asks for: more is a fault of ours.
const maxAnswer = 64 << 20

// problem is an answer of the API that is not what was asked for.
type problem struct {
	status int
	detail string
}

func (p *problem) Error() string { return fmt.Sprintf("the API answered %d: %s", p.status, p.detail) }

// call asks the admin API as the visitor, and decodes its answer into out unless
// that is nil. total is how many a list has over all its pages; 0 where it does
// not say. Errors are *problem, or a fault.
func (c *Console) call(r *http.Request, v *visitor, method, path string, query url.Values, body, out any) (total int, err error) {
	var raw []byte
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return 0, fmt.Errorf("ask the API: %w", err)
		}
	}
	u := url.URL{Scheme: "http", Host: r.Host, Path: "/api/v1" + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(r.Context(), method, u.String(), bytes.NewReader(raw))
	if err != nil {
		return 0, fmt.Errorf("ask the API: %w", err)
	}
	req.RemoteAddr = r.RemoteAddr // for the audit
	rec := &recorder{header: http.Header{}}
	c.API.As(v.actor).ServeHTTP(rec, req)
	switch {
	case rec.full:
		return 0, errors.New("ask the API: its answer is too large")
	case rec.status < 200 || rec.status > 299:
		var p api.Problem
		_ = json.Unmarshal(rec.body.Bytes(), &p) // what it is not says nothing
		return 0, &problem{status: rec.status, detail: p.Detail}
	case out == nil:
		return 0, nil
	}
	if err := json.Unmarshal(rec.body.Bytes(), out); err != nil {
		return 0, fmt.Errorf("read the API's answer: %w", err)
	}
	total, _ = strconv.Atoi(rec.header.Get(api.TotalHeader))
	return total, nil
}

// isSegment reports whether an id can be one part of the API's paths, so that it
// names what it says and not another route.
func isSegment(id string) bool {
	return id != "" && id != "." && id != ".." && !strings.ContainsRune(id, '/')
}

// page is a list's page.
type page[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

// pageError is how a problem of the API reads on a page.
func (p *problem) page() *sso.PageError {
	e := &sso.PageError{Status: p.status, Title: "That did not work", Text: p.detail, Links: []sso.Link{{Label: "Back to the start", URL: "/"}}}
	switch p.status {
	case http.StatusForbidden:
		e.Title = "You may not do this"
	case http.StatusNotFound:
		e.Title = "Not found"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		e.Title = "That cannot be asked for"
	}
	if p.detail == "" {
		e.Text = "The server could not do this; its log says why."
	}
	return e
}

// recorder takes an answer within the process.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	full   bool
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > maxAnswer {
		w.full = true
		return 0, errors.New("the answer is too large")
	}
	return w.body.Write(p)
}
