package apps

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"battery.app/gate/authz"
)

// Limits of an app. A store transaction reads and writes at most 128 keys:
// the app, its old and its new hosts must fit.
const (
	maxHosts      = 50
	maxRoles      = 256
	maxLabels     = 64
	maxLabelValue = 256 // bytes
)

var (
	idPattern    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	orgPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	rolePattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9:_-]{0,63}$`)
	labelPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$`)
)

// Fault is one thing that is wrong with an app, and where: "hosts[1]".
type Fault struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// ValidationError says everything that is wrong with an app, for a problem
// response (RFC 9457).
type ValidationError struct {
	Faults []Fault
}

func (e *ValidationError) Error() string {
	parts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		parts[i] = f.Field + ": " + f.Message
	}
	return "invalid app: " + strings.Join(parts, "; ")
}

func (e *ValidationError) add(field, message string, args ...any) {
	e.Faults = append(e.Faults, Fault{Field: field, Message: fmt.Sprintf(message, args...)})
}

// canonical checks an app by itself and returns it as it is kept and
// published: lists sorted and never nil, host names in lower case, scheme and
// ports filled in. It shares nothing with the app it was given.
func (r *Registry) canonical(in authz.App) (*authz.App, error) {
	e := &ValidationError{}
	if !idPattern.MatchString(in.ID) {
		e.add("id", "must be two labels of lower-case letters, digits and inner hyphens, for example crm.acme")
	}
	if in.OrganizationID == "" {
		e.add("organization_id", "an app must have an owner")
	} else if !orgPattern.MatchString(in.OrganizationID) {
		e.add("organization_id", "is not an organization id")
	}
	out := in // by value; what is shared is replaced below
	if out.PathMode == "" {
		out.PathMode = authz.PathStrict
	} else if out.PathMode != authz.PathStrict && out.PathMode != authz.PathEveryReading {
		e.add("path", "must be %q or %q", authz.PathStrict, authz.PathEveryReading)
	}
	out.Hosts = r.canonicalHosts(e, in.Hosts)
	out.AllowedRoles = sortedSet(in.AllowedRoles)
	if len(out.AllowedRoles) > maxRoles {
		e.add("allowed_roles", "at most %d roles", maxRoles)
	}
	for i, role := range in.AllowedRoles {
		if !rolePattern.MatchString(role) {
			e.add(fmt.Sprintf("allowed_roles[%d]", i), `a role is lower-case letters, digits, ":", "_" and "-", at most 64`)
		}
	}
	out.Identity = sortedSet(in.Identity)
	for i, s := range in.Identity {
		if s != "groups" && s != "assertion" {
			e.add(fmt.Sprintf("identity[%d]", i), `must be "groups" or "assertion"`)
		}
	}
	out.Labels = checkLabels(e, in.Labels)
	out.Machines = checkMachines(e, in.Machines)
	if in.MaxAgeSeconds < 0 || in.MaxAgeSeconds > maxAgeLimit || (in.MaxAgeSeconds > 0 && in.MaxAgeSeconds < 60) {
		e.add("max_age_seconds", "must be 0, or 60 to %d", maxAgeLimit)
	}
	out.Scheme, out.Ports = r.scheme, r.ports
	if len(e.Faults) > 0 {
		return nil, e
	}
	return &out, nil
}

func (r *Registry) canonicalHosts(e *ValidationError, in []string) []string {
	switch {
	case len(in) == 0:
		e.add("hosts", "an app must have a host")
	case len(in) > maxHosts:
		e.add("hosts", "at most %d hosts", maxHosts)
		return nil
	}
	out := make([]string, 0, len(in))
	for i, entry := range in {
		field := fmt.Sprintf("hosts[%d]", i)
		name, port, err := splitHost(entry, r.scheme)
		if err != nil {
			e.add(field, "%v", err)
			continue
		}
		if r.reserved[name] {
			e.add(field, "this host is Battery Gate's own and never an app's")
		}
		if port != "" {
			name += ":" + port
		}
		if slices.Contains(out, name) {
			e.add(field, "is listed twice")
		}
		out = append(out, name)
	}
	return out
}

func checkLabels(e *ValidationError, in map[string]string) map[string]string {
	if len(in) > maxLabels {
		e.add("labels", "at most %d labels", maxLabels)
		return nil
	}
	out := make(map[string]string, len(in))
	for _, k := range slices.Sorted(maps.Keys(in)) {
		v := in[k]
		if !labelPattern.MatchString(k) {
			e.add("labels", `a label's name is letters, digits and inner ".", "_", "/" and "-", at most 63`)
		}
		if len(v) > maxLabelValue || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
			e.add("labels", "a label's value is at most %d bytes of text without control characters", maxLabelValue)
		}
		out[k] = v
	}
	return out
}

// sortedSet is a sorted copy without repeats, never nil: in JSON an empty list
// must say [], which admits nobody, and not null.
func sortedSet(in []string) []string {
	out := append([]string{}, in...)
	slices.Sort(out)
	return slices.Compact(out)
}

// checkSlugs checks that every host under the domain lies under a slug of the
// app's owner: {app}.{slug}.{domain} belongs to that organization alone. A slug
// that nobody owns is refused where strict is set: it may be given to another
// organization tomorrow.
func (r *Registry) checkSlugs(app *authz.App, strict bool) error {
	if r.domain == "" || r.slugOwner == nil {
		return nil
	}
	e := &ValidationError{}
	for i, h := range app.Hosts {
		below, under := strings.CutSuffix(bareName(h), "."+r.domain)
		if !under {
			continue
		}
		field, slug := fmt.Sprintf("hosts[%d]", i), below
		if dot := strings.LastIndexByte(below, '.'); dot >= 0 {
			slug = below[dot+1:]
		}
		owner, owned := r.slugOwner(slug)
		switch {
		case owned && owner != app.OrganizationID:
			e.add(field, "hosts under %s.%s belong to another organization", slug, r.domain)
		case !owned && strict && slug != below:
			e.add(field, "no organization has the slug %s", slug)
		}
	}
	if len(e.Faults) > 0 {
		return e
	}
	return nil
}

// problem turns an error of validation into words for a log or a list.
func problem(err error) string {
	if v := (*ValidationError)(nil); errors.As(err, &v) {
		return strings.TrimPrefix(v.Error(), "invalid app: ")
	}
	return err.Error()
}
