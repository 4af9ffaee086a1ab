package settings_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestNoFormMovesARoleThatIsNotGrantable: whatever an IT admin's browser sends,
// no group gains or loses a role that the policy does not let them grant, and a
// form that is refused changes nothing at all.
func TestNoFormMovesARoleThatIsNotGrantable(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	role := rapid.SampledFrom([]string{"editor", "member", "admin", "it-admin", "battery:operator", "battery:*", "*", "", "Editor", "editor ", "member,admin", "x"})
	grantable := map[string]bool{"editor": true, "member": true}
	guarded := func() string {
		var out []string
		for _, m := range w.directory.View().Mappings(acme).Mappings {
			for _, r := range m.Roles {
				if !grantable[r] {
					out = append(out, m.GroupID+m.GroupName+"→"+r)
				}
			}
		}
		return strings.Join(out, " ")
	}
	whole := func() string {
		var out []string
		for _, m := range w.directory.View().Mappings(acme).Mappings {
			out = append(out, m.GroupID+m.GroupName+"→"+strings.Join(m.Roles, ","))
		}
		return strings.Join(out, " ")
	}
	rapid.Check(t, func(rt *rapid.T) {
		w.put(acme, first...)
		f := b.edit()
		for i := range len(first) {
			n := strconv.Itoa(i)
			switch rapid.IntRange(0, 4).Draw(rt, "row") {
			case 0:
				f["roles."+n] = rapid.SliceOfN(role, 0, 4).Draw(rt, "roles")
			case 1:
				f["roles."+n] = append(f["roles."+n], rapid.SampledFrom([]string{"editor", "member"}).Draw(rt, "added"))
			case 2:
				f.Set("remove."+n, rapid.SampledFrom([]string{"yes", "", "no"}).Draw(rt, "remove"))
			case 3:
				if rapid.IntRange(0, 9).Draw(rt, "rename") == 0 {
					f.Set("row."+n, f.Get("row."+strconv.Itoa((i+1)%len(first))))
				}
			}
		}
		if rapid.Bool().Draw(rt, "add") {
			f.Set("new.group", rapid.SampledFrom([]string{ops, it, itG, "", "x"}).Draw(rt, "group"))
			f["new.roles"] = rapid.SliceOfN(role, 0, 3).Draw(rt, "new roles")
		}
		if rapid.IntRange(0, 9).Draw(rt, "old") == 0 {
			f.Set("hash", strings.Repeat("0", 32))
		}
		before, kept := whole(), guarded()
		res := b.step(page+save, f)
		if got := guarded(); got != kept {
			rt.Fatalf("%d: roles moved that are not grantable:\n%s\n%s\nby %s", res.StatusCode, kept, got, show(f))
		}
		switch res.StatusCode {
		case http.StatusSeeOther:
		case http.StatusBadRequest, http.StatusForbidden, http.StatusConflict, http.StatusUnprocessableEntity:
			if got := whole(); got != before {
				rt.Fatalf("%d, and yet the table changed:\n%s\n%s", res.StatusCode, before, got)
			}
		default:
			rt.Fatalf("%d by %s", res.StatusCode, show(f))
		}
	})
}

func show(f url.Values) string {
	f.Del("token")
	return f.Encode()
}
