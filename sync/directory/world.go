package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// RemoteWorld is what the REST API lists above the people: organizations,
// connections and directories. A list that was not read to its end must not be
// called complete. What is known here and missing from a complete list is
// removed only if Gone has its id: the ids that WorkOS answered with 404 when
// they were asked for by themselves. CompareOrganizations says, as Pending,
// which are to be asked for.
type RemoteWorld struct {
	Watermark     time.Time // as in Reading
	Started       time.Time
	Organizations []RemoteOrganization
	Connections   []RemoteConnection
	Directories   []RemoteDirectory

	OrganizationsComplete, ConnectionsComplete, DirectoriesComplete bool

	Gone []string
}

// RemoteOrganization is an organization as the REST API tells it.
type RemoteOrganization struct {
	ID, Name string
	Domains  []string
}

// RemoteConnection is an SSO connection as the REST API tells it.
type RemoteConnection struct{ ID, OrganizationID, State, Type, Name string }

func (r *RemoteWorld) complete() bool {
	return r.OrganizationsComplete && r.ConnectionsComplete && r.DirectoriesComplete
}

func (r *RemoteWorld) started() int64 {
	one := Reading{Watermark: r.Watermark, Started: r.Started}
	return one.started()
}

// CompareOrganizations says what ApplyOrganizations would do, and changes
// nothing. Removals that wait for their own read are in Pending.
func (d *Directory) CompareOrganizations(r RemoteWorld) Difference {
	ctx, cancel := context.WithTimeout(context.Background(), dryRunLimit)
	defer cancel()
	a := &application{d: d, ctx: ctx, at: d.readingMoment(r.Watermark), id: worldDirty, dry: true}
	p, err := d.View().planWorld(&r)
	if err != nil {
		return Difference{}
	}
	var ruled worldRuling
	if ruled, err = a.ruleWorld(d.View(), p.removals); err == nil && a.run(ruled.now) == nil {
		_ = a.run(p.facts)
	}
	return Difference{Changes: a.changes, Held: changesOf(ruled.held), Pending: append(a.pending, p.waiting...)}
}

// ApplyOrganizations merges the lists as ApplyReading merges a directory: what
// is listed is so as of the watermark, what is confirmed as gone is absent as of
// then, and events of a later time win. An id whose delete an event brought is
// back only after two readings in a row. It is idempotent. Errors: ErrMalformed,
// ErrOldReading, ErrCorrupt, or the store's.
//
// The brake holds removals that together would take something from more than
// BrakeFloor people and memberships, even though their own reads confirmed them:
// with the API key of another environment WorkOS answers 404 to everything.
// Each is approved or extended under its own id.
func (d *Directory) ApplyOrganizations(ctx context.Context, r RemoteWorld) (Difference, error) {
	if _, err := d.View().planWorld(&r); err != nil {
		return Difference{}, err
	}
	a := &application{d: d, ctx: ctx, at: d.readingMoment(r.Watermark), id: worldDirty}
	var p worldPlan
	var ruled worldRuling
	err := a.passes(func(v *View) (err error) {
		if p, err = v.planWorld(&r); err == nil {
			ruled, err = a.ruleWorld(v, p.removals)
		}
		if err == nil {
			err = a.run(ruled.now)
		}
		if err == nil && r.complete() {
			err = a.keepWorldHolds(v, ruled)
		}
		if err == nil {
			err = a.run(p.facts)
		}
		return err
	})
	if err == nil {
		err = a.finish(r.started(), r.complete(), func(read *readRecord) {
			if r.complete() && a.confirmed(read) && len(p.waiting)+len(ruled.held) == 0 {
				read.Objects = max(read.Objects, a.at.At)
			}
		})
	}
	out := Difference{Changes: a.changes, Held: changesOf(ruled.held), Pending: append(a.pending, p.waiting...), Revision: a.rev}
	if err != nil {
		return out, fmt.Errorf("apply organizations: %w", err)
	}
	return out, nil
}

// worldPlan is the lists compared with a View.
type worldPlan struct {
	removals []fact // confirmed
	waiting  []Change
	facts    []fact
}

func (v *View) planWorld(r *RemoteWorld) (p worldPlan, err error) {
	if r.Watermark.UnixMilli() <= 0 {
		return p, malformed("the reading has no watermark")
	}
	p.removals, p.waiting = v.worldRemovals(r)
	for i := range r.Organizations {
		o := r.Organizations[i]
		o.Domains = lowered(o.Domains)
		if !validID(o.ID) || tooLong(o.Name) || tooLong(o.Domains...) || len(o.Domains) > maxDomains {
			return p, malformed("an organization is not usable")
		}
		p.facts = append(p.facts, fact{Change{Kind: kindOrganization, ID: o.ID, Name: o.Name},
			func(w *writer, last int64) (verdict, error) { return w.organizationSeen(&o, last) }})
	}
	if err = p.linked(connectionsAsDirectories(r.Connections), kindConnection, connectionKey); err == nil {
		err = p.linked(r.Directories, kindDirectory, directoryKey)
	}
	return p, err
}

func (p *worldPlan) linked(listed []RemoteDirectory, kind string, key func(string) string) error {
	for _, x := range listed {
		o := &linkedPayload{ID: x.ID, OrganizationID: x.OrganizationID, Name: x.Name, Type: x.Type, State: eventState(x.State)}
		if err := o.check(); err != nil {
			return err
		}
		p.facts = append(p.facts, fact{Change{Kind: kind, ID: o.ID, Name: o.Name},
			func(w *writer, last int64) (verdict, error) { return w.linkedSeen(key(o.ID), o, last) }})
	}
	return nil
}

// connectionsAsDirectories: the two have the same parts.
func connectionsAsDirectories(all []RemoteConnection) []RemoteDirectory {
	out := make([]RemoteDirectory, 0, len(all))
	for _, c := range all {
		out = append(out, RemoteDirectory(c))
	}
	return out
}

// worldRemovals is what is known and missing from a complete list: a removal if
// its own read confirmed it, and waiting for that otherwise.
func (v *View) worldRemovals(r *RemoteWorld) (facts []fact, waiting []Change) {
	missing := func(c Change, merge func(*writer) (verdict, error)) {
		if c.Op = opRemove; !slices.Contains(r.Gone, c.ID) {
			waiting = append(waiting, c)
			return
		}
		facts = append(facts, fact{c, func(w *writer, _ int64) (verdict, error) { return merge(w) }})
	}
	at := r.Watermark.UnixMilli()
	if r.OrganizationsComplete {
		seen := map[string]bool{}
		for _, o := range r.Organizations {
			seen[o.ID] = true
		}
		v.organizations.Root().Walk(func(_ []byte, o *organizationNode) bool {
			if o.alive() && !seen[o.id] && o.rec.made() < at {
				missing(Change{Kind: kindOrganization, ID: o.id, Name: o.rec.Name},
					func(w *writer) (verdict, error) { return w.organizationUnseen(o.id) })
			}
			return false
		})
	}
	linkedRemovals(r.ConnectionsComplete, at, connectionsAsDirectories(r.Connections), v.connections, kindConnection, connectionKey, missing)
	linkedRemovals(r.DirectoriesComplete, at, r.Directories, v.directories, kindDirectory, directoryKey, missing)
	return facts, waiting
}

func linkedRemovals(complete bool, at int64, listed []RemoteDirectory, known *iradix.Tree[*linkedNode],
	kind string, key func(string) string, missing func(Change, func(*writer) (verdict, error))) {
	if !complete {
		return
	}
	seen := map[string]bool{}
	for _, x := range listed {
		seen[x.ID] = true
	}
	known.Root().Walk(func(_ []byte, n *linkedNode) bool {
		if n.rec.alive() && !seen[n.id] && n.rec.made() < at {
			missing(Change{Kind: kind, ID: n.id, Name: n.rec.Name},
				func(w *writer) (verdict, error) { return w.linkedUnseen(key(n.id)) })
		}
		return false
	})
}

func lowered(domains []string) []string {
	var out []string
	for _, s := range domains {
		if s = strings.ToLower(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
