package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// tagged are the addresses whose GET gives an ETag and whose PUT and DELETE take
// If-Match: what is written there is often what was read, with one part changed,
// and a copy that is out of date would bring back what somebody took away.
var tagged = map[string]bool{
	"/apps/:id": true, "/organizations/:id/role-mappings": true, "/organizations/:id/pairings": true,
}

// etag is the strong validator (RFC 9110, 8.8) of what GET answers: a hash of its
// content in the one form that it is kept in, so it outlives a restart and is the
// same on every replica. It never stands in an answer to a PUT, which keeps a
// list in an order of its own (RFC 9110, 9.3.4).
func etag(content any) string {
	raw, err := json.Marshal(content)
	if err != nil {
		return "" // matches nothing
	}
	sum := sha256.Sum256(raw)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
}

// showTagged answers a GET with its ETag, or 304 where the caller has that.
func showTagged(c *gin.Context, content any) error {
	tag := etag(content)
	c.Header("ETag", tag)
	if values := c.Request.Header.Values("If-None-Match"); len(values) > 0 {
		// One that cannot be read is no reason to hold the answer back.
		if has, err := parseTags(values); err == nil && (has.any || slices.Contains(has.strong, tag) || slices.Contains(has.weak, tag)) {
			c.Status(http.StatusNotModified)
			return nil
		}
	}
	c.JSON(http.StatusOK, content)
	return nil
}

// condition is what If-Match says. The zero condition holds.
type condition struct {
	given bool
	any   bool // *
	// strong are the tags that count; a weak one says "about the same", which is
	// not enough to write by.
	strong, weak []string
}

// ifMatch reads If-Match. One that cannot be read is refused: whoever sent it
// means to be held back.
func ifMatch(c *gin.Context) (condition, error) {
	values := c.Request.Header.Values("If-Match")
	if len(values) == 0 {
		return condition{}, nil
	}
	cond, err := parseTags(values)
	if err != nil {
		return condition{}, problem(http.StatusBadRequest, `If-Match must be * or the ETag that GET gave, with its quotes.`)
	}
	return cond, nil
}

// compares reports whether there is a tag to compare, beside that there is
// anything at all.
func (f condition) compares() bool { return f.given && !f.any }

// holds reports whether what has this tag may be changed.
func (f condition) holds(tag string) bool {
	return !f.given || f.any || tag != "" && slices.Contains(f.strong, tag)
}

// parseTags reads the values of If-Match or If-None-Match.
func parseTags(values []string) (condition, error) {
	malformed := problem(http.StatusBadRequest, "")
	out, rest := condition{given: true}, strings.Trim(strings.Join(values, ","), " \t")
	if rest == "*" {
		out.any = true
		return out, nil
	}
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			break
		}
		tag, weak := strings.CutPrefix(rest, "W/")
		end := strings.IndexByte(strings.TrimPrefix(tag, `"`), '"') + 2
		if tag[:min(1, len(tag))] != `"` || end < 2 {
			return out, malformed
		}
		tag, rest = tag[:end], strings.TrimLeft(tag[end:], " \t")
		if rest != "" && rest[0] != ',' {
			return out, malformed
		}
		if weak {
			out.weak = append(out.weak, tag)
		} else {
			out.strong = append(out.strong, tag)
		}
	}
	if len(out.strong)+len(out.weak) == 0 {
		return out, malformed
	}
	return out, nil
}

// stale is the answer to a write by something that is not there any more.
func stale(f condition) error {
	detail := "This was changed since the ETag in If-Match was given, so nothing was changed. Get it again, make your change to what is there now, and send it with the new ETag."
	if len(f.strong) == 0 && len(f.weak) > 0 {
		detail = `If-Match names a weak ETag (W/"..."), which no write can be compared by. Something between you and the server, such as a proxy that compresses, made it weak: ask without it.`
	}
	return problem(http.StatusPreconditionFailed, detail)
}

// unconditional refuses conditions that a route cannot hold to, which whoever
// sent them relies on.
func unconditional(c *gin.Context, rt route) error {
	h := c.Request.Header
	if !rt.mutating() {
		return nil
	}
	if len(h.Values("If-None-Match")) > 0 {
		return problem(http.StatusPreconditionFailed, "If-None-Match is for reading; nothing was changed.")
	}
	if len(h.Values("If-Match")) > 0 && !tagged[rt.path] {
		return problem(http.StatusPreconditionFailed, "What is at this address has no ETag, so If-Match cannot hold; nothing was changed. Send it without.")
	}
	return nil
}
