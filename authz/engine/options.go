package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// DefaultBudget is what an evaluation may take where the options do not say.
const DefaultBudget = 100 * time.Millisecond

// DefaultIdentityPrefix is how identity headers start where the options do not say.
const DefaultIdentityPrefix = "X-Battery-"

// Options are how the operator configured policies. Schemas is required; the
// other zero values are usable.
type Options struct {
	Budget         time.Duration    // for one evaluation; 0: DefaultBudget
	Settings       map[string]any   // data.battery.settings
	Headers        []string         // the response headers that the policy may set, e.g. X-Plan
	RequestHeaders []string         // the request headers that the policy may read
	IdentityPrefix string           // of our own headers; empty: DefaultIdentityPrefix
	Schemas        fs.FS            // *.json at its root: input, admin_input, data and others
	Log            *slog.Logger     // for what must not happen; nil: slog.Default
	Now            func() time.Time // for requests that bear no time; nil: time.Now
}

// complete returns the options with their defaults and what is wrong with them.
func (o Options) complete() (Options, Faults) {
	var faults Faults
	switch {
	case o.Budget == 0:
		o.Budget = DefaultBudget
	case o.Budget < 0:
		faults.add(FaultSetting, "the time budget %s is negative", o.Budget)
	}
	if o.IdentityPrefix == "" {
		o.IdentityPrefix = DefaultIdentityPrefix
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Headers = slices.Clone(o.Headers)
	for i, name := range o.Headers {
		if err := mayBeSet(name, o.IdentityPrefix); err != nil {
			faults.add(FaultHeader, "%q cannot be a policy header: %v", name, err)
		}
		o.Headers[i] = textproto.CanonicalMIMEHeaderKey(name)
	}
	slices.Sort(o.Headers)
	o.Headers = slices.Compact(o.Headers)

	o.RequestHeaders = slices.Clone(o.RequestHeaders)
	for i, name := range o.RequestHeaders {
		if err := mayBeRead(name); err != nil {
			faults.add(FaultHeader, "%q cannot be read by policies: %v", name, err)
		}
		o.RequestHeaders[i] = strings.ToLower(name)
	}
	return o, faults
}

// Headers that a policy must not set: they carry identity, sessions or
// credentials, send the browser or the gateway elsewhere, or frame the message
// (RFC 9110 §7.6.1 and RFC 9112). Envoy and nginx act on their own prefixes.
var (
	unsettable = []string{
		"authorization", "proxy-authorization", "proxy-authenticate", "www-authenticate",
		"cookie", "set-cookie", "location", "host", "forwarded", "via", "x-real-ip",
		"x-original-url", "x-original-method", "x-rewrite-url",
		"x-http-method", "x-http-method-override", "x-method-override",
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"content-length", "content-encoding", "content-type", "expect", "date",
	}
	unsettablePrefixes = []string{"x-forwarded-", "x-envoy-", "x-accel-", "sec-", "access-control-"}
)

// mayBeSet says why a policy may not set a header; nil if it may. Names are
// compared as gateways and CGI fold them: "_" and "." read as "-", so that no
// alias of an identity header passes.
func mayBeSet(name, identityPrefix string) error {
	if !isToken(name) {
		return errors.New("not a header name")
	}
	folded := fold(name)
	if strings.HasPrefix(folded, fold(identityPrefix)) {
		return fmt.Errorf("headers that start with %s say who the user is", identityPrefix)
	}
	if slices.Contains(unsettable, folded) {
		return errors.New("gateways, browsers or apps act on it")
	}
	for _, prefix := range unsettablePrefixes {
		if strings.HasPrefix(folded, prefix) {
			return fmt.Errorf("headers that start with %s are the gateway's or the browser's", prefix)
		}
	}
	return nil
}

// mayBeRead says why policies may not see a request header. What they see is
// recorded, and credentials never are.
func mayBeRead(name string) error {
	if !isToken(name) {
		return errors.New("not a header name")
	}
	switch fold(name) {
	case "cookie", "authorization", "proxy-authorization":
		return errors.New("it carries credentials, and what policies read is recorded")
	}
	return nil
}

func fold(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// isToken: a header name as RFC 9110 §5.6.2 has it.
func isToken(name string) bool {
	for _, c := range []byte(name) {
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}
