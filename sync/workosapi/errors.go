package workosapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// What a caller can decide on. Every error of this package that WorkOS or the
// network caused matches at most one of them with errors.Is.
var (
	// ErrNotFound: WorkOS does not know the object (404).
	ErrNotFound = errors.New("workos: not found")
	// ErrRateLimited: WorkOS answered 429 and retrying did not help.
	ErrRateLimited = errors.New("workos: rate limited")
	// ErrUnavailable: WorkOS could not be reached, did not answer in time, or
	// answered with a server error or something that is not its API. It says
	// nothing about the object asked for.
	ErrUnavailable = errors.New("workos: unavailable")
	// ErrInvalid: the request was not sent, because an argument is unusable.
	ErrInvalid = errors.New("workos: invalid argument")
)

// APIError is an answer of WorkOS outside 2xx. It holds nothing secret: no
// request, no body, and no message where WorkOS is known to repeat
// credentials or codes in it.
type APIError struct {
	Status     int           // HTTP status
	Code       string        // machine code, such as "invalid_grant"; may be empty
	Message    string        // for operators; may be empty
	RequestID  string        // what WorkOS support asks for; may be empty
	RetryAfter time.Duration // as WorkOS asked for, 0 if it did not
	Fields     []string      // the parameters it refuses, where it names them
}

// Error says status, code, message and request id.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "workos answered %d", e.Status)
	if e.Code != "" {
		fmt.Fprintf(&b, " %s", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// Is makes an APIError match the sentinel of its status.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrRateLimited:
		return e.Status == http.StatusTooManyRequests
	case ErrUnavailable:
		return e.Status >= 500 || e.Status == http.StatusRequestTimeout || (e.Status >= 300 && e.Status < 400)
	}
	return false
}

// readError makes an APIError from a response. Bodies seen: {"message"},
// {"message","code"}, {"message","code","errors":[{"code","field"}]}, the OAuth
// shape {"error","error_description"} of /sso/token, and the bare JSON string
// "Ratelimited" of /directory_users.
//
// The messages of /sso/token quote the code and are left out.
func readError(res *http.Response, body []byte, secret string) *APIError {
	e := &APIError{Status: res.StatusCode, RequestID: printable(res.Header.Get("X-Request-Id"), 80)}
	var shape struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Error   string `json:"error"`
		Errors  []struct {
			Code  string `json:"code"`
			Field string `json:"field"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &shape) != nil {
		return e
	}
	e.Code = printable(shape.Code, 80)
	if e.Code == "" {
		e.Code = printable(shape.Error, 80)
	}
	if strings.HasSuffix(res.Request.URL.Path, "/sso/token") {
		return e
	}
	e.Message = shape.Message
	for _, f := range shape.Errors {
		e.Message += fmt.Sprintf(" [%s: %s]", f.Field, f.Code)
		if f.Field != "" {
			e.Fields = append(e.Fields, printable(f.Field, 80))
		}
	}
	if secret != "" {
		e.Message = strings.ReplaceAll(e.Message, secret, "(api key)")
	}
	e.Message = printable(e.Message, 300)
	return e
}

// printable keeps what can stand in a log line: no control characters, and at
// most max bytes.
func printable(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "") + "…"
	}
	return s
}

// fail turns whatever a call returned into an error of this package. The SDK's
// own error strings can hold tokens and request URLs, so none is passed on.
func fail(op string, err error) error {
	if err == nil {
		return nil
	}
	var api *APIError
	switch {
	case errors.As(err, &api):
		return fmt.Errorf("%s: %w", op, api)
	case errors.Is(err, ErrInvalid):
		return fmt.Errorf("%s: %w", op, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", op, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, context.DeadlineExceeded)
	}
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &mismatch) {
		return fmt.Errorf("%s: %w: the answer is not what the API promises", op, ErrUnavailable)
	}
	return fmt.Errorf("%s: %w", op, ErrUnavailable)
}
