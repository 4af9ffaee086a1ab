package authz

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// The path modes of an app.
const (
	PathStrict       = "strict"        // a path with more than one reading is refused
	PathEveryReading = "every-reading" // the policy must allow every reading
)

// maxReadings is how many readings of one path a policy is asked about at most:
// each costs an evaluation, and nobody needs a path with more.
const maxReadings = 16

// maxDecodings is how often a gateway and an app together may decode a path. One
// that still holds escapes of escapes after that is refused.
const maxDecodings = 2

// Why a path's readings cannot be listed.
var (
	ErrManyReadings = errors.New("the path can be read in too many ways")
	ErrUnreadable   = errors.New("the path holds control characters, %u escapes, bytes that are not UTF-8, or escapes of escapes of escapes")
)

// Readings returns every path that some reader could see in this one, the path
// itself first, in its canonical form. Readers decode once or twice, the whole
// path or each segment by itself, remove dot segments (with or without the slash
// that remains), merge slashes, cut ";" parameters out of their segment or cut the
// path at the first, take "\" for "/", and cut the path at a "?" or "#" that was
// escaped: each of it or not, in any order. All readings are in canonical form, so
// that two readers who differ only in escapes that mean nothing are one.
//
// The errors are ErrManyReadings and ErrUnreadable; then nothing is to be
// concluded but that the path must be refused. Every path that is not Ambiguous
// has exactly one reading, and every other has more or an error.
func Readings(path string) ([]string, error) {
	path = CanonicalPath(path)
	if hasIISEscape(path) {
		return nil, ErrUnreadable
	}
	found, err := rewritten([]string{path}, 0)
	if err != nil {
		return nil, err
	}
	from := 0
	for range maxDecodings {
		upTo := len(found)
		for _, p := range found[from:upTo] {
			d, err := decodeCanonical(p)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(found, d) {
				found = append(found, d)
			}
			if s := decodeSegments(p); !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
		if from = upTo; len(found) == upTo {
			return found, nil
		}
		if found, err = rewritten(found, from); err != nil {
			return nil, err
		}
	}
	for _, p := range found[from:] {
		if d, err := decodeCanonical(p); err != nil || d != p && !slices.Contains(found, d) {
			return nil, ErrUnreadable
		}
	}
	return found, nil
}

// rewritten adds to found what can be made of found[from:] without decoding.
func rewritten(found []string, from int) ([]string, error) {
	for ; from < len(found); from++ {
		p := found[from]
		for _, rewrite := range []func(string) string{
			slashBackslashes, mergeSlashes, cutAuthority, cutHost, cutParameters, cutAtParameter, cutAtMark, plainDots, removeDots, cleanDots,
		} {
			if q := rewrite(p); q != p && !slices.Contains(found, q) {
				found = append(found, q)
			}
		}
		if len(found) > maxReadings {
			return nil, ErrManyReadings
		}
	}
	return found, nil
}

// decodeCanonical is what is left of a canonical path for whoever decodes it
// once more.
func decodeCanonical(path string) (string, error) {
	if strings.IndexByte(path, '%') < 0 {
		return path, nil
	}
	d := string(decoded(path))
	if !cleanText(d) || hasIISEscape(d) {
		return "", ErrUnreadable
	}
	return string(appendCanonical(make([]byte, 0, len(path)+8), d, "%25")), nil
}

// decodeSegments is what is left of a canonical path for those who split it at its
// slashes before they decode: an escaped slash stays in its segment (Go's ServeMux,
// Apache with AllowEncodedSlashes NoDecode). What cannot be read decodeCanonical
// has refused.
func decodeSegments(path string) string {
	segments := strings.Split(path, "%2F")
	for i, s := range segments {
		segments[i] = string(appendCanonical(nil, string(decoded(s)), "%25"))
	}
	return strings.Join(segments, "%2F")
}

// hasIISEscape: %uXXXX is an escape to IIS alone.
func hasIISEscape(s string) bool { return strings.Contains(s, "%u") || strings.Contains(s, "%U") }

func slashBackslashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

func mergeSlashes(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// cutAuthority takes what follows "//" for a host, as those do who resolve a path
// against a base: Node's new URL(req.url, base), Go's url.Parse
// (opa-envoy-plugin GHSA-9f29-v6mm-pw6w).
func cutAuthority(p string) string {
	rest, ok := strings.CutPrefix(p, "//")
	if !ok {
		return p
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/"
}

// cutHost is cutAuthority for those who skip every slash before a host, as
// browsers' URL parser does, which Node has too (WHATWG URL, "special authority
// ignore slashes state"): "///host/path" is the path of a host to them.
func cutHost(p string) string {
	rest := strings.TrimLeft(p, "/")
	if len(p)-len(rest) < 2 {
		return p
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/"
}

// plainDots writes dot segments plainly whose dots are escaped. Browsers' URL
// parser, which Node has too, takes "%2e%2e" for a dot segment before anything
// else is decoded.
func plainDots(p string) string {
	if !strings.Contains(p, "%2E") {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		if d := strings.ReplaceAll(s, "%2E", "."); d == "." || d == ".." {
			segments[i] = d
		}
	}
	return strings.Join(segments, "/")
}

// cutParameters cuts each segment at its ";", as servlet containers do.
func cutParameters(p string) string {
	if strings.IndexByte(p, ';') < 0 {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// cutAtParameter ends the path at its first ";" (Apache Shiro CVE-2020-1957).
func cutAtParameter(p string) string {
	before, _, _ := strings.Cut(p, ";")
	return before
}

// cutAtMark ends the path where a reader who parses it again finds a query or a
// fragment. In canonical paths both are escaped.
func cutAtMark(p string) string {
	for i := 0; i+2 < len(p); i++ {
		if p[i] == '%' && (p[i+1:i+3] == "3F" || p[i+1:i+3] == "23") {
			return p[:i]
		}
	}
	return p
}

// removeDots is RFC 3986 §5.2.4: an empty segment counts as one.
func removeDots(p string) string {
	if !strings.Contains(p, "/.") {
		return p
	}
	var kept []string
	segments := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, s := range segments {
		if s != "." && s != ".." {
			kept = append(kept, s)
			continue
		}
		if s == ".." && len(kept) > 0 {
			kept = kept[:len(kept)-1]
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// cleanDots removes dot segments and the slash that is left at the end, as Go's
// path.Clean does.
func cleanDots(p string) string {
	q := removeDots(p)
	if q == p || len(q) == 1 {
		return q
	}
	return strings.TrimSuffix(q, "/")
}

// Reserved reports whether a path lies below /.battery/, which is ours on every
// app's host and which policies never see, whatever the case of its letters.
func Reserved(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return strings.EqualFold(first, ".battery")
}

// notEveryReading names no reading: it is made of what the client sent. The
// record does.
const notEveryReading = "The path can be read in more than one way, and the policy does not allow each of them."

// otherReadings returns the readings of the request's path beside itself, about
// which the policy has to be asked too, or why the request is refused.
func otherReadings(req *Request, app *App) (others []string, refused *Reason) {
	if !req.Ambiguous {
		return nil, nil
	}
	why := Because(CodeAmbiguousPath)
	if !app.EveryReading() {
		return nil, &why
	}
	all, err := Readings(req.Path)
	switch {
	case errors.Is(err, ErrManyReadings):
		why.Message = "The path can be read in too many ways."
	case err != nil:
		why.Message = "The path holds escapes that cannot be read."
	case slices.ContainsFunc(all, Reserved):
		why = Because(CodeReservedPath)
	default:
		return all[1:], nil
	}
	return nil, &why
}

// Policy is what evaluates an input: a Snapshot, or another policy over the same
// facts.
type Policy interface {
	Evaluate(ctx context.Context, in *Input) (Verdict, error)
}

// EvaluateEvery asks a policy about a recorded input as Checker does about a
// request: where the app says so, about every reading of an ambiguous path. If
// the policy allows the path and not one of its other readings, the verdict is
// that reading's, and reading is its path. Errors are the policy's, or those of
// Readings.
func EvaluateEvery(ctx context.Context, p Policy, in *Input) (v Verdict, reading string, err error) {
	var others []string
	if in.App != nil && in.App.EveryReading() && Ambiguous(in.Request.Path) {
		all, err := Readings(in.Request.Path)
		if err != nil {
			return Verdict{}, "", err
		}
		others = all[1:]
	}
	return evaluateEach(ctx, p, in, others)
}

// budgeted is a Policy that says how long one evaluation may take. All other
// readings of a path together get as long once more: a path chosen to have many
// must not hold up an answer until the gateway gives up waiting, since Envoy can
// be set to let a request pass then.
type budgeted interface{ Budget() time.Duration }

// evaluateEach asks about the input and then about each other path, until one is
// not allowed.
func evaluateEach(ctx context.Context, p Policy, in *Input, others []string) (v Verdict, reading string, err error) {
	v, err = p.Evaluate(ctx, in)
	if err != nil || !v.Allow || len(others) == 0 {
		return v, "", err
	}
	if b, ok := p.(budgeted); ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, b.Budget())
		defer stop()
	}
	for _, path := range others {
		if ctx.Err() != nil {
			return Verdict{}, path, ErrPolicyTimeout
		}
		req, other := *in.Request, *in
		req.Path, other.Request = path, &req
		w, err := p.Evaluate(ctx, &other)
		if err != nil {
			return Verdict{}, path, err
		}
		if !w.Allow {
			return w, path, nil
		}
		v.Cached = v.Cached && w.Cached
	}
	return v, "", nil
}
