package directory

import (
	"slices"
	"strings"
	"sync/atomic"

	"battery.app/gate/authz"
	"battery.app/gate/store"
	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// View is one immutable state of the directory. What it hands out is shared and
// must not be changed.
type View struct {
	organizations *iradix.Tree[*organizationNode] // by id
	slugs         *iradix.Tree[string]            // slug → organization id
	connections   *iradix.Tree[*linkedNode]       // by id
	directories   *iradix.Tree[*linkedNode]       // by id
	users         *iradix.Tree[*userNode]         // by id
	groups        *iradix.Tree[*groupRecord]      // by id
	members       *iradix.Tree[struct{}]          // directory NUL kind id: who and what is in a directory
	identities    *iradix.Tree[[]string]          // organization NUL kind value → user ids, the deleted too
	links         *iradix.Tree[string]            // organization NUL profile → user id; "" if unreadable

	reads     *iradix.Tree[*readRecord]  // by directory
	braked    *iradix.Tree[*holdRecord]  // by directory
	shards    *iradix.Tree[[]string]     // key → held users, sorted
	pauses    *iradix.Tree[*pauseRecord] // by directory
	dirty     *iradix.Tree[*dirtyRecord] // by directory
	counts    *iradix.Tree[*countRecord] // by type of event
	domains   *iradix.Tree[*domainNode]  // by id
	rolesGone *iradix.Tree[struct{}]     // organization / slug that WorkOS deleted

	clocks     *clocks           // shared by all Views
	configured map[string]string // organization → connection that is not WorkOS's; shared by all Views
	store      store.Store       // for Explain alone: the memberships' stamps are not kept in memory
}

func emptyView(d *Directory) *View {
	return &View{
		clocks: &d.clocks, store: d.store, configured: d.configured,
		reads:     iradix.New[*readRecord](),
		braked:    iradix.New[*holdRecord](),
		shards:    iradix.New[[]string](),
		pauses:    iradix.New[*pauseRecord](),
		dirty:     iradix.New[*dirtyRecord](),
		counts:    iradix.New[*countRecord](),
		domains:   iradix.New[*domainNode](),
		rolesGone: iradix.New[struct{}](),

		organizations: iradix.New[*organizationNode](),
		slugs:         iradix.New[string](),
		connections:   iradix.New[*linkedNode](),
		directories:   iradix.New[*linkedNode](),
		users:         iradix.New[*userNode](),
		groups:        iradix.New[*groupRecord](),
		members:       iradix.New[struct{}](),
		identities:    iradix.New[[]string](),
		links:         iradix.New[string](),
	}
}

// organizationNode is an organization and what hangs on it. One that is only
// referred to has no record, and grants nothing.
type organizationNode struct {
	id  string
	rec *organizationRecord

	// epoch names everything that the join of one of its users reads beside that
	// user: the groups and the mappings. It is never given twice.
	epoch uint64

	connections []*linkedNode // sorted by id
	directories []*linkedNode // sorted by id
	domains     []*domainNode // sorted by id
	mappings    *mappingNode
	source      *sourceNode
	pairings    *pairingNode // nil: the automatic rule
}

type domainNode struct {
	id  string
	rec domainRecord
}

func (o *organizationNode) alive() bool { return o != nil && o.rec != nil && o.rec.alive() }

func (o *organizationNode) gone() bool {
	if o == nil || o.rec == nil {
		return false
	}
	_, gone := o.rec.gone()
	return gone
}

type linkedNode struct {
	id  string
	rec linkedRecord // the zero value if it cannot be read
}

type mappingNode struct {
	rec     mappingRecord
	roles   map[string][]string // group id → roles
	version uint64
}

// userNode is a user and the groups it is a member of by its edges, whether or
// not they count. It is immutable but for the memo.
type userNode struct {
	id     string
	rec    *userRecord // nil if only edges are known
	groups []string    // sorted
	memo   atomic.Pointer[memo]
}

// memo is a joined user. It holds for the organization's epoch that it names
// and for this node, and so never for another snapshot's state.
type memo struct {
	epoch uint64
	user  *authz.User
}

// only returns the one live node of a list, or nil if there is none or several.
func only(list []*linkedNode) *linkedNode {
	var found *linkedNode
	for _, n := range list {
		if n.rec.live() {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// alone reports whether a connection is the one through which an organization's
// people sign in: its only live one at WorkOS, or the configured one while it
// has none there.
func (v *View) alone(o *organizationNode, connection string) bool {
	own, configured := v.configured[o.id]
	if !configured {
		conn := only(o.connections)
		return conn != nil && conn.id == connection
	}
	return own == connection && !slices.ContainsFunc(o.connections, func(n *linkedNode) bool { return n.rec.live() })
}

// User is the directory user of a session as policies see it: nil if there is
// none or it is not clear which. ended is true if what the session stood on is
// gone. While nothing changes, every call returns the same pointer, and neither
// a linked nor a pinned session's call allocates.
func (v *View) User(s *authz.Session) (u *authz.User, ended bool) {
	o, n, ended := v.resolve(s)
	if n == nil {
		return nil, ended
	}
	return v.joined(o, n), false
}

// ResolveLink is the directory user that a session is linked to, for PinLink.
func (v *View) ResolveLink(s *authz.Session) (userID string, ok bool) {
	_, n, _ := v.resolve(s)
	if n == nil {
		return "", false
	}
	return n.id, true
}

// RoleMappings are the roles of an organization's groups by group id, of bound
// mappings alone, and of no group where roles are WorkOS's. The map is shared;
// version changes when its content does, and is zero where there is none.
func (v *View) RoleMappings(org string) (m map[string][]string, version uint64) {
	o, ok := v.organizations.Get([]byte(org))
	if !ok || !o.alive() || o.mappings == nil || !o.sourced(RolesFromMappings) {
		return nil, 0
	}
	version = o.mappings.version
	if o.source != nil {
		version = max(version, o.source.version)
	}
	return o.mappings.roles, version
}

// joined returns the memoised user of a node, joining it if the organization
// has changed since.
func (v *View) joined(o *organizationNode, n *userNode) *authz.User {
	for {
		m := n.memo.Load()
		if m != nil && m.epoch == o.epoch {
			return m.user
		}
		next := &memo{epoch: o.epoch, user: v.join(o, n)}
		// An older snapshot still in use must not push out a newer one's memo.
		if m != nil && m.epoch > o.epoch || n.memo.CompareAndSwap(m, next) {
			return next.user
		}
	}
}

// join puts together what policies see of a user. Groups count only if they are
// alive and of the same directory and organization; roles only for the active.
func (v *View) join(o *organizationNode, n *userNode) *authz.User {
	u := &authz.User{
		ID: n.id, DirectoryID: n.rec.DirectoryID, State: n.rec.State, Email: n.rec.Email,
		Groups: make([]authz.Group, 0, len(n.groups)), Roles: []string{}, Attributes: attributes(n.rec.Attributes),
	}
	var ids []string
	for _, id := range n.groups {
		g, ok := v.groups.Get([]byte(id))
		if !ok || !g.alive() || g.DirectoryID != n.rec.DirectoryID || g.OrganizationID != n.rec.OrganizationID {
			continue
		}
		ids = append(ids, id)
		u.Groups = append(u.Groups, authz.Group{ID: id, Name: g.Name})
	}
	u.Roles = v.rolesOf(o, n.rec, ids)
	if v.paused(n.rec.DirectoryID) { // policies that map for themselves must not grant either
		u.Groups = u.Groups[:0]
	}
	return u
}

// resolve finds the user node of a session, by the rules of the package comment.
// With a node, its organization is alive and its directory alive and linked.
func (v *View) resolve(s *authz.Session) (o *organizationNode, n *userNode, ended bool) {
	if s == nil {
		return nil, nil, false
	}
	o, _ = v.organizations.Get([]byte(s.OrganizationID))
	if o.gone() {
		return nil, nil, true
	}
	conn, ok := v.connections.Get([]byte(s.ConnectionID))
	if ok && !conn.rec.live() {
		return nil, nil, true
	}
	if !o.alive() || (ok && conn.rec.OrganizationID != s.OrganizationID) {
		return nil, nil, false
	}
	if id, pinned := v.pin(s); pinned {
		n, _ = v.users.Get([]byte(id))
		at, gone := v.gone(n)
		if !gone {
			return o, v.usable(o, n), false
		}
		if at >= s.IssuedAt.UnixMilli() {
			return nil, nil, true
		}
	}
	n, ended = v.automatic(o, s)
	return o, n, ended
}

// usable returns n if it counts now: alive, in a live directory of its
// organization.
func (v *View) usable(o *organizationNode, n *userNode) *userNode {
	if n == nil || n.rec == nil || !n.rec.alive() || n.rec.OrganizationID != o.id {
		return nil
	}
	dir, ok := v.directories.Get([]byte(n.rec.DirectoryID))
	if !ok || !dir.rec.live() || dir.rec.OrganizationID != o.id {
		return nil
	}
	return n
}

// gone reports whether a user was deleted, by itself or with its directory, and
// when (Unix ms): the first of the two. If neither was, it is gone while it or
// its directory is absent. A delete outweighs an absence, which may have been an
// error of WorkOS: what it said then must not save a session from the delete.
func (v *View) gone(n *userNode) (at int64, gone bool) {
	if n == nil || n.rec == nil {
		return 0, false
	}
	heads := [2]register{n.rec.register}
	if dir, ok := v.directories.Get([]byte(n.rec.DirectoryID)); ok {
		heads[1] = dir.rec.register
	}
	for _, deleted := range [2]bool{true, false} {
		for _, r := range heads {
			if t, is := r.gone(); is && r.deleted() == deleted && (!gone || t < at) {
				at, gone = t, true
			}
		}
		if gone {
			break
		}
	}
	return at, gone
}

// automatic links a session without a pin: to a user of the directory that its
// connection is paired with; by idp_id, else by an e-mail that only one user has;
// and not at all if the two disagree. Of whom the session may have been, once,
// all directories are asked: that ends it, and grants nothing.
func (v *View) automatic(o *organizationNode, s *authz.Session) (n *userNode, ended bool) {
	byIdp := v.identity(o.id, kindIdp, s.IdpID)
	byEmail := v.identity(o.id, kindEmail, strings.ToLower(s.Email))
	issued := s.IssuedAt.UnixMilli()
	if v.goneSince(byIdp, issued) || v.goneSince(byEmail, issued) {
		return nil, true
	}
	dir := v.counterpart(o, s.ConnectionID)
	if dir == nil {
		return nil, false
	}
	idp, idps, _ := v.pick(byIdp, dir.id, nil)
	mail, mails, agrees := v.pick(byEmail, dir.id, idp)
	switch {
	case idps > 1:
		return nil, false
	case idps == 1 && mails > 0 && !agrees:
		return nil, false
	case idps == 1:
		return v.usable(o, idp), false
	case mails == 1:
		return v.usable(o, mail), false
	}
	return nil, false
}

// goneSince reports whether one of the users was deleted at or after t.
func (v *View) goneSince(ids []string, t int64) bool {
	for _, id := range ids {
		n, _ := v.users.Get([]byte(id))
		if at, gone := v.gone(n); gone && at >= t {
			return true
		}
	}
	return false
}

// pick returns one of the users alive in a directory, how many there are, and
// whether want is one of them.
func (v *View) pick(ids []string, dir string, want *userNode) (n *userNode, count int, has bool) {
	for _, id := range ids {
		if c, _ := v.users.Get([]byte(id)); c != nil && c.rec != nil && c.rec.alive() && c.rec.DirectoryID == dir {
			n, count = c, count+1
			has = has || c == want
		}
	}
	return n, count, has
}

// The kinds of identity that link a profile to a user.
const (
	kindIdp   = 'i'
	kindEmail = 'm'
)

func (v *View) identity(org string, kind byte, val string) []string {
	if val == "" {
		return nil
	}
	var buf [512]byte // on the stack: this is the hot path
	key := append(buf[:0], org...)
	key = append(key, 0, kind)
	key = append(key, val...)
	ids, _ := v.identities.Get(key)
	return ids
}

func (v *View) pin(s *authz.Session) (id string, ok bool) {
	var buf [512]byte
	key := append(buf[:0], s.OrganizationID...)
	key = append(key, 0)
	key = append(key, s.UserID...)
	return v.links.Get(key)
}

// Pinned reports whether the session's profile has a pinned link that holds: to
// a user that was not deleted.
func (v *View) Pinned(s *authz.Session) bool {
	id, ok := v.pin(s)
	if !ok {
		return false
	}
	n, _ := v.users.Get([]byte(id))
	_, gone := v.gone(n)
	return !gone
}
