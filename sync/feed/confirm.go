package feed

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

// suspects are what a reading lacks and is known here, by kind.
type suspects struct {
	users, groups []string
	edges         map[directory.Edge]bool // of users and groups that are there
}

func suspectsOf(missing []directory.Change) suspects {
	s := suspects{edges: map[directory.Edge]bool{}}
	gone := map[string]bool{}
	for _, ch := range missing {
		switch ch.Kind {
		case "user":
			gone[ch.UserID] = true
			s.users = append(s.users, ch.UserID)
		case "group":
			gone[ch.GroupID] = true
			s.groups = append(s.groups, ch.GroupID)
		}
	}
	for _, ch := range missing {
		if ch.Kind == "edge" && !gone[ch.UserID] && !gone[ch.GroupID] {
			s.edges[directory.Edge{UserID: ch.UserID, GroupID: ch.GroupID}] = true
		}
	}
	return s
}

// confirm asks for each thing that is missing by a call of its own, and adds to
// the reading what is there after all. So a list that comes short, even every
// time in the same way, costs nobody anything. It takes the rate limit's time,
// a third of a second for each user; that much patience is due where a list of
// WorkOS and all its events so far disagree.
func (rd *reader) confirm(ctx context.Context, missing []directory.Change) error {
	s := suspectsOf(missing)
	rd.t.more(len(s.groups) + len(s.users))
	if err := rd.confirmGroups(ctx, s.groups); err != nil {
		return err
	}
	if err := rd.confirmUsers(ctx, s.users); err != nil {
		return err
	}
	return rd.confirmEdges(ctx, s.edges)
}

// confirmGroups asks for groups, and for the users of those that are there.
func (rd *reader) confirmGroups(ctx context.Context, ids []string) error {
	found, err := rd.find(ctx, ids, func(ctx context.Context, id string) error {
		if err := rd.r.other.Wait(ctx); err != nil {
			return err
		}
		g, err := rd.r.o.WorkOS.GetDirectoryGroup(ctx, id)
		if err != nil {
			return err
		}
		return rd.group(g)
	})
	if err != nil {
		return err
	}
	return rd.each(ctx, found, rd.membersOf)
}

// confirmUsers asks for users, and for the groups of those that are there.
func (rd *reader) confirmUsers(ctx context.Context, ids []string) error {
	found, err := rd.find(ctx, ids, func(ctx context.Context, id string) error {
		u, err := rd.r.o.WorkOS.GetDirectoryUser(ctx, rd.d.ID, id)
		if err != nil {
			return err
		}
		return rd.user(u)
	})
	if err != nil {
		return err
	}
	return rd.each(ctx, found, rd.groupsOf)
}

// find asks for each id and returns those that are there. A 404 confirms that
// one is gone; every other error means that nothing is known.
func (rd *reader) find(ctx context.Context, ids []string, get func(context.Context, string) error) ([]string, error) {
	var mu sync.Mutex
	var found []string
	err := rd.each(ctx, ids, func(ctx context.Context, id string) error {
		err := get(ctx, id)
		if errors.Is(err, workosapi.ErrNotFound) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, id)
		return err
	})
	rd.t.more(len(found))
	return found, err
}

// confirmEdges asks the groups concerned for their users if the users were asked
// for their groups before, and the other way round.
func (rd *reader) confirmEdges(ctx context.Context, edges map[directory.Edge]bool) error {
	ids := map[string]bool{}
	for e := range edges {
		if rd.byUser {
			ids[e.GroupID] = true
		} else {
			ids[e.UserID] = true
		}
	}
	rd.t.more(len(ids))
	read := rd.groupsOf
	if rd.byUser {
		read = rd.membersOf
	}
	return rd.each(ctx, slices.Collect(maps.Keys(ids)), read)
}
