package directory

import "fmt"

// belongs refuses an object whose organization is not its directory's, and
// looks up what the directory's last complete reading tells of.
func (w *writer) belongs(directory, organization string) error {
	if err := w.floors(directory); err != nil {
		return err
	}
	r, err := get[linkedRecord](w.tx, directoryKey(directory))
	if err != nil {
		return err
	}
	if r.known() && r.OrganizationID != "" && r.OrganizationID != organization {
		return malformed("the organization is not the directory's")
	}
	return nil
}

// floors looks up what the last complete reading of a directory, or of the list
// of organizations, tells of.
func (w *writer) floors(id string) error {
	read, err := getRead(w.tx, id)
	if err != nil {
		return err
	}
	w.at.floor, w.edges = read.Objects, read.Edges
	if w.at.At < read.Begun && !read.Disturbed {
		// A reading is being merged that may have been compared with what was
		// known before this event: it must not call all of it confirmed.
		read.Disturbed = true
		return put(w.tx, readKey(id), read)
	}
	return nil
}

// linked merges a connection or a directory. Its organization, once known,
// stays.
func (w *writer) linked(key string, p *linkedPayload, how intent) (outcome, error) {
	if err := w.floors(worldDirty); err != nil {
		return stale, err
	}
	r, err := get[linkedRecord](w.tx, key)
	if err != nil {
		return stale, err
	}
	learned := r.OrganizationID == "" && p.OrganizationID != ""
	switch {
	case learned:
		r.OrganizationID = p.OrganizationID
	case p.OrganizationID == "":
		p.OrganizationID = r.OrganizationID
	case p.OrganizationID != r.OrganizationID:
		return stale, malformed("a connection or directory cannot change its organization")
	}
	var take bool
	var o outcome
	if how == remove {
		take, o = r.bury(w.at)
	} else {
		take, o = r.upsert(w.at, !linked(r.State), !linked(p.State), true)
	}
	if take {
		r.Name, r.Type, r.State = p.Name, p.Type, p.State
	}
	if learned {
		o = applied
	}
	if !o.writes() {
		return o, nil
	}
	return o, put(w.tx, key, r)
}

// user merges a user and returns its register as it is now.
func (w *writer) user(p *userPayload, how intent) (userRecord, outcome, error) {
	key := userKey(p.ID)
	r, err := get[userRecord](w.tx, key)
	if err != nil {
		return r, stale, err
	}
	if r.known() && (r.DirectoryID != p.DirectoryID || r.OrganizationID != p.OrganizationID) {
		return r, stale, malformed("a user cannot move to another directory or organization")
	}
	var take bool
	var o outcome
	if how == remove {
		if take, o = r.bury(w.at); take {
			r = userRecord{register: r.register, DirectoryID: p.DirectoryID, OrganizationID: p.OrganizationID,
				IdpID: p.IdpID, Email: p.Email}
		}
	} else if take, o = r.upsert(w.at, r.State != active, p.State != active, how == create); take {
		p.into(&r)
	}
	if !o.writes() {
		return r, o, nil
	}
	return r, o, put(w.tx, key, r)
}

// group merges a group and returns its register as it is now. A group that gets
// or loses a name may be what a mapping by name waits for.
func (w *writer) group(p *groupPayload, how intent) (groupRecord, outcome, error) {
	key := groupKey(p.ID)
	r, err := get[groupRecord](w.tx, key)
	if err != nil {
		return r, stale, err
	}
	if r.known() && (r.DirectoryID != p.DirectoryID || r.OrganizationID != p.OrganizationID) {
		return r, stale, malformed("a group cannot move to another directory or organization")
	}
	before := r
	var take bool
	var o outcome
	if how == remove {
		take, o = r.bury(w.at)
	} else {
		take, o = r.upsert(w.at, false, false, how == create)
	}
	if take {
		r = groupRecord{register: r.register, DirectoryID: p.DirectoryID, OrganizationID: p.OrganizationID,
			IdpID: p.IdpID, Name: p.Name}
	}
	if !o.writes() {
		return r, o, nil
	}
	if err := put(w.tx, key, r); err != nil {
		return r, o, err
	}
	return r, o, w.renamed(p.ID, &before, &r)
}

// membership merges user_added and user_removed: the user and the group they
// carry, and the edge. The edge of a user or group that is gone for good is
// not kept.
func (w *writer) membership(p *membershipPayload, how intent) (outcome, error) {
	if err := w.belongs(p.DirectoryID, p.User.OrganizationID); err != nil {
		return stale, err
	}
	u, uo, err := w.user(&p.User, how)
	if err != nil {
		return stale, err
	}
	g, gO, err := w.group(&p.Group, how)
	if err != nil {
		return stale, err
	}
	if u.deleted() || g.deleted() {
		return max(uo, gO), nil
	}
	eo, err := w.edge(p.DirectoryID, p.User.ID, p.Group.ID, how == create)
	if uo == applied || gO == applied {
		eo = applied
	}
	return eo, err
}

func (w *writer) edge(dir, user, group string, present bool) (outcome, error) {
	key := edgeKey(user, group)
	r, err := get[edgeRecord](w.tx, key)
	if err != nil {
		return stale, err
	}
	if r.known() && r.Stamp.At == w.at.At && r.Present != present && r.Stamp.ID != w.at.ID {
		// Which of the two was last, only WorkOS knows: a reading will tell.
		if err := w.soil(dir, "opposite events of one time"); err != nil {
			return stale, err
		}
	}
	switch {
	case r.known() && r.Stamp == w.at.stamp:
		return duplicate, nil
	case w.at.At < w.edges:
		return stale, nil // a later, complete reading said what is so
	case r.known() && !beats(w.at.stamp, !present, r.Stamp, !r.Present):
		return stale, nil
	}
	return applied, put(w.tx, key, edgeRecord{V: version, Stamp: w.at.stamp, Present: present, Source: w.source})
}

// organization merges an organization's event. Its slug is ours and no event
// changes it.
func (w *writer) organization(p *organizationPayload, how intent) (outcome, error) {
	if err := w.floors(worldDirty); err != nil {
		return stale, err
	}
	key := organizationKey(p.ID)
	r, err := get[organizationRecord](w.tx, key)
	if err != nil {
		return stale, err
	}
	var take bool
	var o outcome
	if how == remove {
		take, o = r.bury(w.at)
	} else {
		take, o = r.upsert(w.at, false, false, true)
	}
	if take {
		r.Name, r.Domains = p.Name, p.domains()
	}
	if !o.writes() {
		return o, nil
	}
	if err := put(w.tx, key, r); err != nil {
		return o, fmt.Errorf("keep organization: %w", err)
	}
	return o, nil
}
