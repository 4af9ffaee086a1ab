package forward

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"battery.app/gate/authz"
)

// maxIdentity is how long identity and policy headers may be together, in bytes
// on the wire: nginx reads an answer's head into 4 KiB by default and answers
// 500 if it does not fit.
const maxIdentity = 3584

// minRoom is what of maxIdentity the names of the headers must leave to their
// values, so that ids always fit.
const minRoom = 2 << 10

var errBadAssertion = errors.New("the signer gave no token that fits into a header")

// The identity headers, in the order in which their values are kept.
const (
	atUserID = iota
	atOrgID
	atEmail
	atRoles
	atAppID
	atDecisionID
	atGroups
	atAssertion
	identityCount
)

// identityNames are the names of all headers that an allow carries: identity
// first, then what policies declared.
type identityNames struct {
	canonical []string
	lower     []string
	policy    []string // the declared names, as the policy spells them
	fixed     int      // bytes on the wire without any value
}

func namesOf(prefix string, policy []string) identityNames {
	n := identityNames{policy: policy}
	for _, s := range []string{"User-Id", "Org-Id", "User-Email", "Roles", "App-Id", "Decision-Id", "Groups", "Assertion"} {
		n.canonical = append(n.canonical, http.CanonicalHeaderKey(prefix+s))
	}
	for _, s := range policy {
		n.canonical = append(n.canonical, http.CanonicalHeaderKey(s))
	}
	for _, s := range n.canonical {
		n.lower = append(n.lower, strings.ToLower(s))
		n.fixed += len(s) + len(": \r\n")
	}
	return n
}

// values fills every header, with "" where a thing is unknown: a header that is
// missing from an allow would let the client's own copy through (Caddy
// GHSA-7r4p-vjf4-gxv4). What does not fit is left out, single values as a whole
// and lists from their end, and named in omitted; groups go first, because the
// assertion says how many there are.
func (n *identityNames) values(dec *authz.Decision, assertion string) (values, omitted []string) {
	v := make([]string, len(n.canonical))
	room := maxIdentity - n.fixed
	put := func(at int, s string) {
		if len(s) > room {
			omitted = append(omitted, n.canonical[at])
			return
		}
		v[at], room = s, room-len(s)
	}
	put(atDecisionID, dec.ID)
	if app := dec.App; app != nil {
		put(atAppID, encode(app.ID))
		put(atOrgID, encode(app.OrganizationID))
	}
	if s := dec.Session; s != nil {
		room += len(v[atOrgID])
		v[atOrgID] = ""
		put(atOrgID, encode(s.OrganizationID))
		put(atUserID, encode(s.UserID))
		put(atEmail, encode(s.Email))
	}
	put(atAssertion, assertion)
	for i, name := range n.policy {
		put(identityCount+i, policyValue(dec.Headers, name, n.canonical[identityCount+i]))
	}

	var cut bool
	roles := sorted(dec.Roles)
	if v[atRoles], cut = list(len(roles), func(i int) string { return roles[i] }, room, roleChar); cut {
		omitted = append(omitted, n.canonical[atRoles])
	}
	room -= len(v[atRoles])
	if dec.User != nil && dec.App != nil && dec.App.WantsGroups() {
		groups := dec.User.Groups
		v[atGroups], _ = list(len(groups), func(i int) string { return groups[i].Name }, room, unreserved)
	}
	return v, omitted
}

// policyValue finds a declared header in what the policy said, which may spell
// it in another case. A value that is not printable is percent-encoded.
func policyValue(said map[string]string, name, canonical string) string {
	v, ok := said[name]
	if !ok {
		for k, s := range said {
			if http.CanonicalHeaderKey(k) == canonical {
				v = s
				break
			}
		}
	}
	for i := 0; i < len(v); i++ {
		if v[i] < ' ' || v[i] > '~' {
			return encode(v)
		}
	}
	return strings.Trim(v, " ")
}

// sorted returns the list sorted and without doubles; the original is shared
// with other requests and stays as it is.
func sorted(list []string) []string {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			c := slices.Clone(list)
			slices.Sort(c)
			return slices.Compact(c)
		}
	}
	return list
}

// list joins whole entries with commas while they fit into room bytes. Each is
// percent-encoded but for the characters that keep holds, so that no name can
// look like two.
func list(n int, entry func(int) string, room int, keep func(byte) bool) (joined string, cut bool) {
	size := 0
	for i := range n {
		size += len(entry(i)) + 1
	}
	b := make([]byte, 0, min(size+size/4, max(room, 0)))
	for i := range n {
		e := entry(i)
		if e == "" {
			continue
		}
		before := len(b)
		if before > 0 {
			b = append(b, ',')
		}
		if b = appendEscaped(b, e, keep); len(b) > room {
			return string(b[:before]), true
		}
	}
	return string(b), false
}

// roleChar: what a role slug is made of ("battery:operator").
func roleChar(c byte) bool { return unreserved(c) || c == ':' }

// singleChar: what stands as it is in an id or an e-mail address. "%" does not,
// so that no address can look like the encoded form of another.
func singleChar(c byte) bool { return c > ' ' && c <= '~' && c != '%' }

// encode makes an id or e-mail address safe for a header: whatever is not
// visible ASCII is percent-encoded, line breaks above all.
func encode(s string) string { return escape(s, singleChar) }

func all(s string, keep func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !keep(s[i]) {
			return false
		}
	}
	return true
}

func escape(s string, keep func(byte) bool) string {
	if all(s, keep) {
		return s
	}
	return string(appendEscaped(nil, s, keep))
}

func appendEscaped(b []byte, s string, keep func(byte) bool) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; keep(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
