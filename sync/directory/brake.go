package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/store"
)

// The mass-removal brake. A read that WorkOS answers with half of a directory
// looks like half of it having left. So what a reading did not see is removed at
// once only while it is little; otherwise all its removals are held, the people
// concerned keep what they have and get no new session, and an operator may
// approve or extend. If nobody does, the first complete reading after HoldFor
// that still says so removes them. Events are never held.
const (
	// BrakeFloor and BrakePercent: removals beyond the larger of BrakeFloor and
	// BrakePercent of the directory's live users and memberships are held.
	BrakeFloor   = 10
	BrakePercent = 20
	// BrakeGroup: so are they if a group with a role mapping that has this many
	// members would lose all of them.
	BrakeGroup = 3
	// HoldFor is how long removals are held.
	HoldFor = 24 * time.Hour
	// ApprovalFor is how long an approval waits for a reading that still says so.
	ApprovalFor = 24 * time.Hour
	// MaxExtension is how far ahead of now a hold can be extended.
	MaxExtension = 30 * 24 * time.Hour
)

const (
	maxHeldListed = 200  // removals that a hold lists one by one
	heldPerShard  = 4000 // ids of held users in one value
)

// holdRecord is a hold in force. The users it concerns are in shards beside it.
type holdRecord struct {
	V         int      `json:"v"`
	Since     int64    `json:"since"`
	Until     int64    `json:"until"`
	Watermark int64    `json:"watermark"`
	Count     int      `json:"count"`
	All       bool     `json:"all,omitempty"` // the whole directory, connection or organization is what was not seen
	Users     int      `json:"users"`         // concerned
	Shards    int      `json:"shards"`
	Listed    []Change `json:"listed"` // the first of them
	Emptied   []string `json:"emptied,omitempty"`
	Approved  int64    `json:"approved,omitempty"` // Unix ms until when
	By        string   `json:"by,omitempty"`       // who approved or extended
}

type heldRecord struct {
	V     int      `json:"v"`
	Users []string `json:"users"`
}

func (r holdRecord) known() bool { return r.V == version }
func (r heldRecord) known() bool { return r.V == version }

// Hold is what the brake holds of a directory.
type Hold struct {
	Directory     string    `json:"directory_id"`
	Removals      int       `json:"removals"`
	Users         int       `json:"users"`
	Since         time.Time `json:"since"`
	Until         time.Time `json:"until"`
	ApprovedUntil time.Time `json:"approved_until,omitzero"`
	By            string    `json:"by,omitempty"`
	Listed        []Change  `json:"listed"` // at most the first 200
}

// Hold is what the brake holds of a directory, if it holds anything.
func (v *View) Hold(dir string) (Hold, bool) {
	r, ok := v.braking(dir)
	if !ok {
		return Hold{}, false
	}
	return Hold{Directory: dir, Removals: r.Count, Users: r.Users, Since: instant(r.Since), Until: instant(r.Until),
		ApprovedUntil: instant(r.Approved), By: r.By, Listed: slices.Clone(r.Listed)}, true
}

// braking is the hold in force under an id. A directory that was deleted by an
// event has taken everything with it: nothing of it is left to wait for, and no
// reading will come to lift the hold.
func (v *View) braking(id string) (*holdRecord, bool) {
	r, ok := v.braked.Get([]byte(id))
	if !ok {
		return nil, false
	}
	if dir, known := v.directories.Get([]byte(id)); known && dir.rec.deleted() {
		return nil, false
	}
	return r, true
}

// MayOpen reports whether a login may open this session: not if the brake holds
// a removal that concerns its user. It says nothing about the session otherwise.
func (v *View) MayOpen(s *authz.Session) bool {
	if s == nil {
		return false
	}
	if v.heldWhole(s.OrganizationID) || v.heldWhole(s.ConnectionID) {
		return false
	}
	_, n, _ := v.resolve(s)
	return n == nil || !v.held(n.rec.DirectoryID, n.id)
}

func (v *View) heldWhole(id string) bool {
	r, ok := v.braking(id)
	return ok && r.All
}

// HeldUser reports whether the brake holds a removal that concerns a user.
func (v *View) HeldUser(id string) bool {
	n, ok := v.users.Get([]byte(id))
	return ok && n.rec != nil && v.held(n.rec.DirectoryID, id)
}

func (v *View) held(dir, user string) bool {
	r, ok := v.braking(dir)
	if !ok || r.All {
		return ok
	}
	for i := range r.Shards {
		ids, ok := v.shards.Get([]byte(heldKey(dir, i)))
		if !ok {
			return true // written together; what cannot be read holds everyone
		}
		if _, found := slices.BinarySearch(ids, user); found {
			return true
		}
	}
	return false
}

// ruling is the brake's word on a plan's removals.
type ruling struct {
	now  []fact
	held []fact
	hold *holdRecord // to be written; nil: none is in force afterwards
	ids  []string    // of held users
}

// rule decides which removals of a plan happen now. old is the hold in force.
func (v *View) rule(p *readingPlan, old *holdRecord, removals []fact, watermark, now int64) ruling {
	if !p.brakes(removals, nil) {
		return ruling{now: removals}
	}
	if old == nil {
		return hold(&holdRecord{Since: now, Until: now + HoldFor.Milliseconds()}, p, nil, removals, watermark)
	}
	covered, rest := v.split(p.directory, old, removals)
	grows := p.brakes(rest, old.Emptied)
	switch due := now >= old.Until || now < old.Approved; {
	case due && !grows:
		return ruling{now: removals}
	case due:
		return hold(&holdRecord{Since: now, Until: now + HoldFor.Milliseconds()}, p, covered, rest, watermark)
	case grows:
		return hold(&holdRecord{Since: now, Until: max(old.Until, now+HoldFor.Milliseconds())}, p, nil, removals, watermark)
	}
	next := *old
	return hold(&next, p, nil, removals, watermark)
}

// hold makes the ruling that holds removals.
func hold(r *holdRecord, p *readingPlan, now, held []fact, watermark int64) ruling {
	r.V, r.Watermark, r.Count, r.Listed, r.Emptied = version, watermark, len(held), []Change{}, p.emptied(held)
	users := map[string]bool{}
	for _, f := range held {
		if len(r.Listed) < maxHeldListed {
			r.Listed = append(r.Listed, f.change)
		}
		if f.change.UserID != "" {
			users[f.change.UserID] = true
		}
	}
	for _, f := range held {
		if f.change.Kind == kindGroup {
			for _, id := range p.left[f.change.GroupID] {
				users[id] = true
			}
		}
	}
	ids := make([]string, 0, len(users))
	for id := range users {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	r.Users, r.Shards = len(ids), (len(ids)+heldPerShard-1)/heldPerShard
	return ruling{now: now, held: held, hold: r, ids: ids}
}

// split tells the removals that a hold already covers, because they concern
// nobody and no group that it does not, from the rest.
func (v *View) split(dir string, old *holdRecord, removals []fact) (covered, rest []fact) {
	for _, f := range removals {
		known := f.change.UserID != "" && v.held(dir, f.change.UserID)
		if f.change.Kind == kindGroup {
			known = slices.Contains(old.Emptied, f.change.GroupID)
		}
		if known {
			covered = append(covered, f)
		} else {
			rest = append(rest, f)
		}
	}
	return covered, rest
}

// brakes reports whether removals are more than may happen at once. Groups in
// known were emptied before.
func (p *readingPlan) brakes(removals []fact, known []string) bool {
	loss := 0
	for _, f := range removals {
		if loss++; f.change.Kind == kindGroup {
			loss += p.members[f.change.GroupID]
		}
	}
	if loss > max(BrakeFloor, p.live*BrakePercent/100) {
		return true
	}
	for _, g := range p.emptied(removals) {
		if p.mapped[g] && p.members[g] >= BrakeGroup && !slices.Contains(known, g) {
			return true
		}
	}
	return false
}

// emptied are the groups that removals take away, or take the last member of.
func (p *readingPlan) emptied(removals []fact) []string {
	groups := map[string]bool{}
	for _, f := range removals {
		switch g := f.change.GroupID; {
		case f.change.Kind == kindGroup:
			groups[g] = true
		case f.change.Kind == kindEdge && p.members[g] > 0 && p.keeps[g] == 0:
			groups[g] = true
		case f.change.Kind == kindUser:
			for _, g := range p.groupsOf[f.change.UserID] {
				if p.keeps[g] == 0 {
					groups[g] = true
				}
			}
		}
	}
	out := make([]string, 0, len(groups))
	for g := range groups {
		out = append(out, g)
	}
	slices.Sort(out)
	return out
}

// Approve lets what the brake holds of a directory happen: the next reading that
// still says so removes it, and one is asked for. ErrNotFound: nothing is held.
func (d *Directory) Approve(ctx context.Context, dir, by string) (uint64, error) {
	now := d.now()
	return d.changeHold(ctx, dir, by, now, func(r *holdRecord) {
		r.Approved = now.Add(ApprovalFor).UnixMilli()
	})
}

// Extend moves the time until which the brake holds, and takes an approval back.
// ErrInvalid: until is past, or more than MaxExtension ahead.
func (d *Directory) Extend(ctx context.Context, dir, by string, until time.Time) (uint64, error) {
	now := d.now()
	if !until.After(now) || until.After(now.Add(MaxExtension)) {
		return 0, fmt.Errorf("%w: a hold ends within %d days from now", ErrInvalid, int(MaxExtension.Hours()/24))
	}
	return d.changeHold(ctx, dir, by, now, func(r *holdRecord) { r.Until, r.Approved = until.UnixMilli(), 0 })
}

func (d *Directory) changeHold(ctx context.Context, dir, by string, now time.Time, change func(*holdRecord)) (uint64, error) {
	if !validID(dir) || len(by) > maxGroupName {
		return 0, fmt.Errorf("%w: directory id or author", ErrInvalid)
	}
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		r, err := get[holdRecord](tx, holdKey(dir))
		if err != nil {
			return err
		}
		if !r.known() {
			return fmt.Errorf("%w: nothing is held", ErrNotFound)
		}
		change(&r)
		r.By = by
		if err := put(tx, holdKey(dir), r); err != nil {
			return err
		}
		wanted := dir
		if r.All {
			wanted = worldDirty
		}
		return put(tx, dirtyKey(wanted), dirtyRecord{V: version, At: now.UnixMilli(), Reason: "a hold was changed"})
	})
	if err != nil {
		return 0, fmt.Errorf("change hold: %w", err)
	}
	return rev, nil
}

// getHold reads the hold in force; nil if there is none. One that cannot be read
// is none: the next reading rules anew.
func getHold(g getter, dir string) (*holdRecord, error) {
	r, err := get[holdRecord](g, holdKey(dir))
	if errors.Is(err, ErrCorrupt) || err == nil && !r.known() {
		return nil, nil
	}
	return &r, err
}
