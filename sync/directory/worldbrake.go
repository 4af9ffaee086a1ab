package directory

// worldRuling is the brake's word on organizations, connections and directories
// that are gone by their own word.
type worldRuling struct {
	now   []fact
	held  []fact
	holds map[string]holdRecord // by id: those in force afterwards
}

// ruleWorld decides which of them happen now.
func (a *application) ruleWorld(v *View, removals []fact) (worldRuling, error) {
	out := worldRuling{holds: map[string]holdRecord{}}
	now := a.at.received
	loss, most := map[string]int{}, 0
	for _, f := range removals {
		loss[f.change.Kind] += v.weight(f.change)
		most = max(most, loss[f.change.Kind])
	}
	for _, f := range removals {
		id := f.change.ID
		old, err := getHold(reader{a.ctx, a.d.store}, id)
		if err != nil {
			return out, err
		}
		weight := v.weight(f.change)
		whole := old != nil && old.All
		if weight == 0 || most <= BrakeFloor || whole && (now >= old.Until || now < old.Approved) {
			out.now = append(out.now, f)
			continue
		}
		h := holdRecord{V: version, Since: now, Until: now + HoldFor.Milliseconds()}
		if whole {
			h = *old
		}
		h.All, h.Watermark, h.Count, h.Listed = true, a.at.At, weight, []Change{f.change}
		out.held, out.holds[id] = append(out.held, f), h
	}
	return out, nil
}

// weight is how many live people and memberships a removal takes something from.
func (v *View) weight(c Change) int {
	switch c.Kind {
	case kindDirectory:
		return v.population(c.ID)
	case kindConnection:
		n, ok := v.connections.Get([]byte(c.ID))
		if !ok {
			return 0
		}
		c.ID = n.rec.OrganizationID
	}
	o, ok := v.organizations.Get([]byte(c.ID))
	if !ok {
		return 0
	}
	total := 0
	for _, dir := range o.directories {
		if dir.rec.live() {
			total += v.population(dir.id)
		}
	}
	return total
}

func (v *View) population(dir string) int {
	total := 0
	v.walk(dir, memberUser, "", func(id string) bool {
		if n, _ := v.users.Get([]byte(id)); n != nil && n.rec != nil && n.rec.alive() {
			total += 1 + len(n.groups)
		}
		return true
	})
	return total
}

// keepWorldHolds writes the holds that are in force, and takes those away whose
// reason is gone: the object was seen again, or removed.
func (a *application) keepWorldHolds(v *View, r worldRuling) error {
	var ids []string
	for id, h := range r.holds {
		ids = append(ids, id)
		a.d.log.Warn("a removal of a reading is held", "kind", h.Listed[0].Kind, "id", id, "until", instant(h.Until))
	}
	v.braked.Root().Walk(func(id []byte, h *holdRecord) bool {
		if _, still := r.holds[string(id)]; h.All && !still {
			ids = append(ids, string(id))
		}
		return false
	})
	if len(ids) == 0 {
		return nil
	}
	rev, err := a.d.inParts(a.ctx, len(ids), func(l *layer, i int) error {
		next, still := r.holds[ids[i]]
		if !still {
			return l.Delete(holdKey(ids[i]))
		}
		now, err := getHold(l, ids[i])
		if err == nil && now != nil && now.All { // what an operator said meanwhile stays
			next.Since, next.Until, next.Approved, next.By = now.Since, now.Until, now.Approved, now.By
		}
		if err != nil {
			return err
		}
		return put(l, holdKey(ids[i]), next)
	}, nil)
	a.rev = max(a.rev, rev)
	return err
}
