package directory

// sightings is what readings add to a register. It is behind a pointer because
// few objects have it: a reading writes only what differs, and says once, with
// the floor of its directory, that everything else is as it is known.
type sightings struct {
	// Made is the time of the latest fact that may create the object; zero: that
	// of the register's stamp. A removal that mentions an object moves the stamp
	// and not this one, so it never outweighs an absence.
	Made int64 `json:"made,omitempty"`
	// Absent is the watermark of the latest reading that did not see the object.
	// It is not a tombstone: what is made later is alive again.
	Absent int64 `json:"absent,omitempty"`
	// Again is the watermark of the reading that saw a deleted object.
	Again int64 `json:"again,omitempty"`
	// Undone is the delete that two readings took back. Late copies of it, and
	// older ones, are stale.
	Undone *stamp `json:"undone,omitempty"`
}

func (s *sightings) onlyUndone() *sightings {
	if s.Undone == nil {
		return nil
	}
	return &sightings{Undone: s.Undone}
}

// see gives the register sightings of its own to write: copies of a register
// share them.
func (r *register) see() *sightings {
	own := sightings{}
	if r.Read != nil {
		own = *r.Read
	}
	r.Read = &own
	return r.Read
}

// made is when something last said that the object exists, in Unix ms.
func (r register) made() int64 {
	switch {
	case !r.Seen:
		return 0
	case r.Read != nil && r.Read.Made != 0:
		return r.Read.Made
	}
	return r.Stamp.At
}

// madeAt keeps made, in the shortest form.
func (r *register) madeAt(ms int64) {
	switch {
	case r.Seen && ms != r.Stamp.At:
		r.see().Made = ms
	case r.Read != nil:
		if r.see().Made = 0; *r.Read == (sightings{}) {
			r.Read = nil
		}
	}
}

// absent reports whether the latest word on the object is that a complete
// reading did not see it. At equal times the event counts.
func (r register) absent() bool { return r.Read != nil && r.Read.Absent > r.made() }

// gone reports whether the object was deleted or is absent, and since when in
// Unix ms: a reading's watermark is the latest time at which it may have been
// there.
func (r register) gone() (at int64, gone bool) {
	switch {
	case r.deleted():
		return r.Deleted.Gone, true
	case r.known() && r.absent():
		return r.Read.Absent, true
	}
	return 0, false
}

// What a reading does to one object or edge.
const (
	opAdd      = "add"
	opUpdate   = "update"
	opRemove   = "remove"
	opUndelete = "undelete"
)

// verdict is what one fact of a reading came to. The zero value is nothing.
type verdict struct {
	op      string
	pending bool // wait for a second reading; only a mark was written
	take    bool // the attributes become those that were read
	write   bool
}

// sighted merges that a reading saw the object. same says that its attributes
// are those that are known. What is known already is not written again.
func (r *register) sighted(at moment, last int64, same bool) verdict {
	if r.Deleted != nil {
		return r.sightedDeleted(at, last)
	}
	alive := r.alive()
	if alive && (same || !r.Stamp.before(at.stamp)) {
		return verdict{}
	}
	op := opAdd
	if alive {
		op = opUpdate
	}
	take, _ := r.upsert(at, false, false, true)
	return verdict{op: op, take: take, write: true}
}

// sightedDeleted brings an object back that two complete readings in a row saw
// after its delete. WorkOS never reuses ids, so this is a delete that should not
// have been: rare, and worth a warning.
func (r *register) sightedDeleted(at moment, last int64) verdict {
	switch {
	case r.Deleted.Stamp.At >= at.At:
		return verdict{} // deleted after what was read
	case r.Read == nil || !seenTwice(r.Read.Again, last, at.At):
		mark := r.see()
		again := mark.Again
		mark.Again = at.At
		return verdict{op: opUndelete, pending: true, write: again != at.At}
	}
	undone := r.Deleted.Stamp
	r.Deleted, r.Read = nil, &sightings{Undone: &undone}
	r.upsert(at, false, false, true)
	return verdict{op: opUndelete, take: true, write: true}
}

// seenTwice: the mark is of another reading than this one, and none that was
// completed came between without seeing it.
func seenTwice(mark, last, watermark int64) bool {
	return mark != 0 && mark < watermark && mark >= last
}

// unsighted merges that a complete reading did not see the object.
func (r *register) unsighted(at moment) verdict {
	if !r.alive() || r.made() >= at.At {
		return verdict{}
	}
	r.see().Absent = at.At
	return verdict{op: opRemove, write: true}
}
