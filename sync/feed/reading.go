package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
	"golang.org/x/sync/errgroup"
)

// pageSize is what WorkOS gives at once; it makes estimates.
const pageSize = 100

// reader reads one directory whole. Any page that fails, and any object that is
// not the directory's, ends it with an error, and then there is no reading.
type reader struct {
	r *reconciler
	t *tracker
	d workosapi.Directory

	users  []workosapi.DirectoryUser
	groups []workosapi.DirectoryGroup
	has    map[string]bool // ids of both
	byUser bool            // how memberships were read
	old    struct{ users, edges int }

	mu    sync.Mutex
	edges map[directory.Edge]bool
}

// read returns a complete reading in which everything that is missing, and
// known here, was missing in a read of its own too.
func (rd *reader) read(ctx context.Context, started time.Time) (out directory.Reading, err error) {
	switch {
	case rd.d.State != "linked":
		return out, fmt.Errorf("%w: it is %.40s", ErrNotLinked, rd.d.State)
	case rd.d.OrganizationID == "":
		return out, fmt.Errorf("%w: it belongs to no organization", ErrNotLinked)
	}
	now, err := rd.r.o.serverNow(ctx)
	if err != nil {
		return out, err
	}
	rd.estimate()
	if err := rd.lists(ctx); err != nil {
		return out, err
	}
	if err := rd.members(ctx); err != nil {
		return out, err
	}
	rd.t.phase(phaseConfirm)
	watermark := now.Add(-directory.WatermarkMargin)
	if missing := removals(rd.r.o.Directory.Compare(rd.reading(watermark, started))); len(missing) > 0 {
		if err := rd.confirm(ctx, missing); err != nil {
			return out, err
		}
	}
	if err := rd.stillLinked(ctx); err != nil {
		return out, err
	}
	return rd.reading(watermark, started), nil
}

// estimate says how many requests there will be, before anything is read: by
// what WorkOS counts, or else by what is known here.
func (rd *reader) estimate() {
	users, groups := rd.d.Users, rd.d.Groups
	rd.old.users, rd.old.edges = rd.sizes()
	users = max(users, rd.old.users)
	rd.t.expect(3 + pages(users) + pages(groups) + min(users, groups+rd.old.edges/pageSize))
}

// sizes are how many users and memberships of the directory are known here.
func (rd *reader) sizes() (users, edges int) {
	view, after := rd.r.o.Directory.View(), ""
	for {
		some := view.UsersAfter(rd.d.ID, after, 1000)
		for _, u := range some {
			edges += len(u.Groups)
			after = u.ID
		}
		users += len(some)
		if len(some) < 1000 {
			return users, edges
		}
	}
}

func pages(n int) int { return max(1, (n+pageSize-1)/pageSize) }

func (rd *reader) lists(ctx context.Context) error {
	rd.edges, rd.has = map[directory.Edge]bool{}, map[string]bool{}
	rd.t.phase(phaseGroups)
	groups, err := rd.r.o.WorkOS.ListDirectoryGroups(ctx, rd.d.ID)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := rd.group(g); err != nil {
			return err
		}
	}
	rd.t.phase(phaseUsers)
	users, err := rd.r.o.WorkOS.ListDirectoryUsers(ctx, workosapi.UserQuery{Directory: rd.d.ID})
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := rd.user(u); err != nil {
			return err
		}
	}
	return nil
}

// group adds a group that was seen, once.
func (rd *reader) group(g workosapi.DirectoryGroup) error {
	if err := rd.owns(g.DirectoryID, g.OrganizationID); err != nil {
		return err
	}
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if !rd.has[g.ID] {
		rd.has[g.ID] = true
		rd.groups = append(rd.groups, g)
	}
	return nil
}

// user adds a user that was seen, once.
func (rd *reader) user(u workosapi.DirectoryUser) error {
	if err := rd.owns(u.DirectoryID, u.OrganizationID); err != nil {
		return err
	}
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if !rd.has[u.ID] {
		rd.has[u.ID] = true
		rd.users = append(rd.users, u)
	}
	return nil
}

// owns refuses what is another directory's: a mixed-up answer must not carry
// one customer's people into another's groups.
func (rd *reader) owns(dir, org string) error {
	if dir != rd.d.ID || (org != "" && rd.d.OrganizationID != "" && org != rd.d.OrganizationID) {
		return fmt.Errorf("%w: a list names what is of another directory", ErrInconsistent)
	}
	return nil
}

// members reads who is in which group, by the way that costs fewer requests:
// the users of each group, or the groups of each user.
func (rd *reader) members(ctx context.Context) error {
	rd.t.phase(phaseMembers)
	byGroup, byUser := len(rd.groups)+rd.old.edges/pageSize, len(rd.users)
	rd.t.more(min(byGroup, byUser) + 1)
	if rd.byUser = byUser < byGroup; rd.byUser {
		ids := make([]string, 0, len(rd.users))
		for _, u := range rd.users {
			ids = append(ids, u.ID)
		}
		return rd.each(ctx, ids, rd.groupsOf)
	}
	ids := make([]string, 0, len(rd.groups))
	for _, g := range rd.groups {
		ids = append(ids, g.ID)
	}
	return rd.each(ctx, ids, rd.membersOf)
}

// each calls f for every id, a few at once.
func (rd *reader) each(ctx context.Context, ids []string, f func(context.Context, string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, id := range ids {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(ctx, id)
		})
	}
	return g.Wait()
}

// membersOf reads a group's users. One that the list of users did not have yet
// is a user all the same.
func (rd *reader) membersOf(ctx context.Context, group string) error {
	users, err := rd.r.o.WorkOS.ListDirectoryUsers(ctx, workosapi.UserQuery{Directory: rd.d.ID, Group: group})
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := rd.user(u); err != nil {
			return err
		}
		rd.edge(u.ID, group)
	}
	return nil
}

// groupsOf reads a user's groups. Those that are not in the list of groups were
// made since; what their members are comes with their events.
func (rd *reader) groupsOf(ctx context.Context, user string) error {
	if err := rd.r.other.Wait(ctx); err != nil {
		return err
	}
	groups, err := rd.r.o.WorkOS.ListGroupsOfUser(ctx, user)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := rd.owns(g.DirectoryID, g.OrganizationID); err != nil {
			return err
		}
		rd.edge(user, g.ID)
	}
	return nil
}

// edge adds a membership of a group that was listed.
func (rd *reader) edge(user, group string) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if rd.has[group] {
		rd.edges[directory.Edge{UserID: user, GroupID: group}] = true
	}
}

// stillLinked asks once more for the directory: one that is unlinked or deleted
// while it is read may have been listed empty. What it is called now is what the
// reading tells: the list of directories may be older than the watermark.
func (rd *reader) stillLinked(ctx context.Context) error {
	d, err := rd.r.o.WorkOS.GetDirectory(ctx, rd.d.ID)
	switch {
	case err != nil:
		return err
	case d.State != "linked":
		return fmt.Errorf("%w any more: it is %.40s", ErrNotLinked, d.State)
	case d.OrganizationID != rd.d.OrganizationID:
		return fmt.Errorf("%w: the directory changed its organization", ErrInconsistent)
	}
	rd.d = d
	return nil
}

// reading is what was read, as the directory takes it.
func (rd *reader) reading(watermark, started time.Time) directory.Reading {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	out := directory.Reading{Directory: remoteDirectory(rd.d), Watermark: watermark, Started: started}
	for _, u := range rd.users {
		out.Users = append(out.Users, directory.RemoteUser{
			ID: u.ID, IdpID: u.IdpID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, State: u.State,
			JobTitle: u.JobTitle, Username: u.Username, Attributes: u.CustomAttributes, Roles: u.Roles,
		})
	}
	for _, g := range rd.groups {
		out.Groups = append(out.Groups, directory.RemoteGroup{ID: g.ID, IdpID: g.IdpID, Name: g.Name})
	}
	for e := range rd.edges {
		out.Edges = append(out.Edges, e)
	}
	return out
}
