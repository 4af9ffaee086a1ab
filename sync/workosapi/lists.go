package workosapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is the most that WorkOS gives at once.
const pageSize = 100

// What makes an answer of 200 unusable. Each of them would otherwise be read as
// a list that names nothing, and the caller removes what a list does not name.
var (
	errCursorLoop = errors.New("the pages go in a circle")
	errNotList    = errors.New("the answer is not a list")
	errNotObject  = errors.New("the answer is not the object asked for")
)

// Observer is told how a call is getting on: Request of every request that is
// sent, again or for the first time, Page of every page that was read whole.
// Either may be nil. They are called from the goroutine of the call.
type Observer struct {
	Request func()
	Page    func(items int)
}

type observerKey struct{}

// Observe returns a context whose calls report to o.
func Observe(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, observerKey{}, o)
}

func observer(ctx context.Context) Observer {
	o, _ := ctx.Value(observerKey{}).(Observer)
	return o
}

// get makes a GET and decodes the answer, all of it: what follows the JSON
// value makes it wrong. It returns the answer's headers.
func (c *Client) get(ctx context.Context, path string, q url.Values, out any) (http.Header, error) {
	u := c.endpoint + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: the request has no usable URL", ErrInvalid)
	}
	req.Header.Set("Authorization", "Bearer "+c.apiKey)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return res.Header, json.Unmarshal(raw, out)
}

// page is the shape of WorkOS's lists.
type page[T any] struct {
	Object   string `json:"object"`
	Data     *[]T   `json:"data"`
	Metadata *struct {
		After string `json:"after"`
	} `json:"list_metadata"`
}

// check refuses an answer of 200 that is not a list. WorkOS's SDK reads {} as
// an empty one.
func (p *page[T]) check() error {
	if p.Data == nil || p.Metadata == nil || (p.Object != "" && p.Object != "list") {
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotList)
	}
	return nil
}

// wire is an object as it comes: it says what its id is and what it means.
type wire[T any] interface {
	key() string
	value() T
}

// listAll reads every page of a list, oldest first, so that what is added
// meanwhile comes at the end instead of shifting the pages. It returns all or
// an error; every object has an id of the kind.
func listAll[W wire[T], T any](ctx context.Context, c *Client, op, path, prefix string, q url.Values) ([]T, error) {
	q.Set("limit", strconv.Itoa(pageSize))
	q.Set("order", "asc")
	out := []T{}
	seen := map[string]bool{}
	for {
		var p page[W]
		if _, err := c.get(ctx, path, q, &p); err != nil {
			return nil, fail(op, err)
		}
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		for _, w := range *p.Data {
			if checkID(prefix, w.key()) != nil {
				return nil, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errNotList)
			}
			out = append(out, w.value())
		}
		if f := observer(ctx).Page; f != nil {
			f(len(*p.Data))
		}
		next := p.Metadata.After
		if next == "" {
			return out, nil
		}
		if seen[next] || len(*p.Data) == 0 {
			return nil, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errCursorLoop)
		}
		seen[next] = true
		q.Set("after", next)
	}
}

// getOne reads one object by its id, or ErrNotFound.
func getOne[W wire[T], T any](ctx context.Context, c *Client, op, path, prefix, id string) (T, error) {
	var none T
	if err := checkID(prefix, id); err != nil {
		return none, fmt.Errorf("%s: %w", op, err)
	}
	var w W
	if _, err := c.get(ctx, path+"/"+id, nil, &w); err != nil {
		return none, fail(op, err)
	}
	if w.key() != id {
		return none, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, errNotObject)
	}
	return w.value(), nil
}

// within returns the filter of a list that an organization may narrow.
func within(op, organizationID string) (url.Values, error) {
	q := url.Values{}
	if organizationID == "" {
		return q, nil
	}
	if err := checkID(prefixOrganization, organizationID); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	q.Set("organization_id", organizationID)
	return q, nil
}
