package standin

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// call is an API endpoint: it answers with a status and a body (nil for none),
// or with an error, a *problem where the caller is to learn of it.
type call func(r *http.Request) (status int, body any, err error)

// api makes a call into a handler for those who bear the API key.
func (s *Server) api(c call) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.bears(r, s.opt.APIKey) {
			s.answer(w, 0, nil, &problem{status: http.StatusUnauthorized, Message: "Unauthorized"})
			return
		}
		status, body, err := c(r)
		s.answer(w, status, body, err)
	})
}

func (s *Server) bears(r *http.Request, key string) bool {
	got, ok := bearer(r)
	return ok && subtle.ConstantTimeCompare([]byte(got), []byte(key)) == 1
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// answer writes a result, or the error in WorkOS's shape.
func (s *Server) answer(w http.ResponseWriter, status int, body any, err error) {
	if err != nil {
		var p *problem
		if !errors.As(err, &p) {
			s.opt.Log.Error("request failed", "err", err)
			p = &problem{status: http.StatusInternalServerError, Message: "Internal Server Error"}
		}
		status, body = p.status, p
	}
	if body == nil {
		w.WriteHeader(status)
		return
	}
	raw, err := compact(body)
	if err != nil {
		s.opt.Log.Error("answer not encodable", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// readObject reads a JSON body that may have only the properties named. WorkOS
// answers 422 to any other, which is how it refuses the Go SDK v4's
// UpdateOrganization.
func readObject(r *http.Request, allowed ...string) (object, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, &problem{status: http.StatusRequestEntityTooLarge, Message: "Request body is too large."}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	var o object
	if err := dec.Decode(&o); err != nil || o == nil || dec.More() {
		return nil, &problem{status: http.StatusBadRequest, Message: "The body is not one JSON object."}
	}
	var unknown []fieldError
	for k := range o {
		if !contains(allowed, k) {
			unknown = append(unknown, fieldError{Code: "property " + k + " should not exist", Field: k})
		}
	}
	if unknown != nil {
		return nil, invalid(unknown...)
	}
	return o, nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// optional reads a field into a pointer's target if it is there and not null.
func optional[T any](o object, key string, into *T) error {
	raw, ok := o[key]
	if !ok || string(raw) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return invalid(fieldError{Code: "invalid", Field: key})
	}
	return nil
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // UUID version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
