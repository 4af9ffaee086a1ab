package doctor

import (
	"slices"
	"strings"
)

func (d *doctor) identity() verdict {
	return d.each(d.like("identity", "plain"), func(v *verdict, x *exchange) {
		for _, n := range identityNames {
			for _, value := range x.App.values(d.Prefix + n) {
				if strings.Contains(value, evil) {
					v.bad("the client's %s%s reached the app (%s)", d.Prefix, n, x.ID)
				}
			}
		}
	})
}

// identityArrives: what the door said of the probe is what the app got.
func (d *doctor) identityArrives() verdict {
	return d.each([]string{"plain", "identity", "identity-case", "identity-named"}, func(v *verdict, x *exchange) {
		o := x.last()
		if o == nil || o.Result != "allow" {
			return
		}
		want := map[string]string{"User-Id": d.probe.ID, "App-Id": d.app.ID, "Org-Id": d.app.OrganizationID, "Decision-Id": o.DecisionID}
		for _, n := range identityNames {
			got, wanted := x.App.values(d.Prefix+n), want[n]
			switch {
			case wanted == "" || slices.Equal(got, []string{wanted}):
			case strings.Contains(strings.Join(got, ","), evil): // is a finding of its own
			case len(got) == 0:
				v.bad("%s%s did not reach the app (%s)", d.Prefix, n, x.ID)
			default:
				v.bad("%s%s is %q at the app instead of %q (%s)", d.Prefix, n, strings.Join(got, ", "), wanted, x.ID)
			}
		}
	})
}

func (d *doctor) identityUnknown() verdict {
	v := d.each([]string{"identity-unknown"}, func(v *verdict, x *exchange) {
		if len(x.App.values(d.Prefix+"Doctor")) > 0 {
			v.bad("the client's %sDoctor reached the app", d.Prefix)
		}
	})
	if v.state == Problem && d.report.Door == "auth-request" {
		return unchecked("nginx takes headers away by name only, and " + d.Prefix + "Doctor did pass: with every new version of Battery Gate, make its configuration anew before an app relies on a new header.")
	}
	return v
}

// aliases looks for names that are ours to whoever takes "_" and "." for "-".
func (d *doctor) aliases() verdict {
	plain := func(name string) string {
		return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
	}
	prefix := strings.ToLower(d.Prefix)
	return d.each(d.like("alias-"), func(v *verdict, x *exchange) {
		for name := range x.App.Headers {
			odd := strings.ContainsAny(name, "_.")
			if p := plain(name); odd && (strings.HasPrefix(p, prefix) || strings.HasPrefix(p, "x-forwarded-") || p == "x-real-ip") {
				v.bad("%s reached the app (%s)", name, x.ID)
			}
		}
	})
}

// cookieNames are the names of the cookies that the app got.
func (e *echo) cookieNames() []string {
	var out []string
	for _, line := range e.values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if name, _, _ := strings.Cut(strings.TrimSpace(pair), "="); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}

func (d *doctor) cookies() verdict {
	ours := append(slices.Clone(ourCookies), probeCookie)
	return d.each(d.like("cookies"), func(v *verdict, x *exchange) {
		for _, name := range x.App.cookieNames() {
			if slices.Contains(ours, name) {
				v.bad("the cookie %s reached the app (%s)", name, x.ID)
			}
		}
	})
}

func (d *doctor) cookiesKept() verdict {
	return d.each(d.like("cookies"), func(v *verdict, x *exchange) {
		for _, name := range []string{"theirs", "last"} {
			if !slices.Contains(x.App.cookieNames(), name) {
				v.bad("the app's own cookie %s was taken from it (%s)", name, x.ID)
			}
		}
	})
}

// wideHeaders: the door sent about as much as it ever does.
func (d *doctor) wideHeaders() verdict {
	if why := d.needsApp(); why != "" {
		return unchecked(why)
	}
	x := d.done["wide"]
	o := x.last()
	if o == nil || o.Result != "allow" {
		return unchecked("The door did not allow the request for long headers.")
	}
	var v verdict
	switch {
	case x.App == nil:
		v.bad("the policy allowed it; answered %d %s", x.Status, x.Error)
	case !strings.HasSuffix(x.App.one(d.Prefix+"User-Email"), "@probe.invalid"):
		v.bad("%sUser-Email did not reach the app", d.Prefix)
	}
	return v.done()
}
