package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// How often Edit begins anew, and how long it waits before that at the most. Of
// those who edit at once one wins each time, so a crowd gets through.
const (
	editTries = 20
	editWait  = 250 * time.Millisecond
)

// Edit changes a part of what is at a path: it reads it, lets change make what to
// put there instead, and puts that, unless somebody else changed it in between.
// Then it begins anew with what is there now, so that nobody's change is lost and
// nothing comes back that somebody took away. out is decoded as by Do.
func Edit[T any](ctx context.Context, c *Client, path string, change func(now T) (next any, err error), out any) error {
	for try := 1; ; try++ {
		var now T
		tag, err := c.do(ctx, http.MethodGet, path, nil, "", nil, &now)
		if err != nil {
			return err
		}
		if tag == "" || strings.HasPrefix(tag, "W/") {
			return fmt.Errorf("%s answered without an ETag that a change could be compared by; ask the server itself, of this version, and not through a proxy that compresses", c.base)
		}
		next, err := change(now)
		if err != nil {
			return err
		}
		_, err = c.do(ctx, http.MethodPut, path, nil, tag, next, out)
		var answer *Error
		if !errors.As(err, &answer) || answer.Status != http.StatusPreconditionFailed {
			return err
		}
		if try == editTries {
			return fmt.Errorf("others changed it each of %d times; ask again: %w", try, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(min(editWait, time.Duration(try)*20*time.Millisecond))): //nolint:gosec // jitter, not a secret
		}
	}
}
