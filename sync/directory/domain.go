package directory

import (
	"slices"
	"strings"
)

// The domains and roles that WorkOS tells of one by one.
const (
	typeDomainCreated  = "organization_domain.created"
	typeDomainUpdated  = "organization_domain.updated"
	typeDomainVerified = "organization_domain.verified"
	typeDomainFailed   = "organization_domain.verification_failed"
	typeDomainDeleted  = "organization_domain.deleted"
	typeRoleCreated    = "role.created"
	typeRoleUpdated    = "role.updated"
	typeRoleDeleted    = "role.deleted"
	typeOrgRoleCreated = "organization_role.created"
	typeOrgRoleUpdated = "organization_role.updated"
	typeOrgRoleDeleted = "organization_role.deleted"
)

// everywhere stands in keys for the organization of a role that is the
// environment's.
const everywhere = "-"

type (
	domainRecord struct {
		register
		OrganizationID string `json:"organization_id"`
		Domain         string `json:"domain,omitempty"`
		State          string `json:"state,omitempty"`
	}
	// roleRecord is an edge between an organization and a slug. A slug may be
	// deleted and made again, so its removal is not final.
	roleRecord struct {
		V       int   `json:"v"`
		Stamp   stamp `json:"stamp"`
		Present bool  `json:"present"`
	}
)

func (r roleRecord) known() bool { return r.V == version }

// Domain is one that an organization claims. Only WorkOS's word "verified"
// means that it proved it, and no decision rests on it.
type Domain struct {
	ID     string `json:"id"`
	Domain string `json:"domain"`
	State  string `json:"state"`
}

type domainPayload struct {
	ID             string         `json:"id"`
	OrganizationID string         `json:"organization_id"`
	Domain         string         `json:"domain"`
	State          string         `json:"state"`
	Inner          *domainPayload `json:"organization_domain"` // of verification_failed
}

func (p *domainPayload) check() error {
	if p.Inner != nil {
		*p = *p.Inner
		p.Inner = nil
	}
	if !validID(p.ID) || !validID(p.OrganizationID) || p.Domain == "" || tooLong(p.Domain, p.State) {
		return malformed("the domain lacks a usable id, organization or name")
	}
	p.Domain = strings.ToLower(p.Domain)
	return nil
}

type rolePayload struct {
	OrganizationID string `json:"organization_id"`
	Slug           string `json:"slug"`
}

func (p *rolePayload) check() error {
	if p.Slug == "" || tooLong(p.Slug) || (p.OrganizationID != "" && !validID(p.OrganizationID)) {
		return malformed("the role has no usable slug")
	}
	return nil
}

func planDomain(ev *Event, how intent) (func(*writer) (outcome, error), error) {
	p, err := read[domainPayload](ev)
	if err != nil {
		return nil, err
	}
	return func(w *writer) (outcome, error) {
		r, err := get[domainRecord](w.tx, domainKey(p.ID))
		if err != nil {
			return stale, err
		}
		if r.known() && r.OrganizationID != p.OrganizationID {
			return stale, malformed("a domain cannot change its organization")
		}
		var take bool
		var o outcome
		if how == remove {
			take, o = r.bury(w.at)
		} else {
			take, o = r.upsert(w.at, false, false, true)
		}
		if take {
			r.OrganizationID, r.Domain, r.State = p.OrganizationID, p.Domain, p.State
		}
		if !o.writes() {
			return o, nil
		}
		return o, put(w.tx, domainKey(p.ID), r)
	}, nil
}

// planRole keeps which role slugs WorkOS deleted: where an organization's roles
// are WorkOS's, those grant nothing any more, even while a user still carries
// them. A slug that could not be one of our roles anyhow is only counted.
func (d *Directory) planRole(ev *Event, present bool) (func(*writer) (outcome, error), error) {
	p, err := read[rolePayload](ev)
	if err != nil {
		return nil, err
	}
	if !validRole(p.Slug) {
		return d.planCount(ev, applied), nil
	}
	org := p.OrganizationID
	if strings.HasPrefix(ev.Type, "role.") {
		org = everywhere
	} else if org == "" {
		return nil, malformed("the organization's role names no organization")
	}
	return func(w *writer) (outcome, error) {
		r, err := get[roleRecord](w.tx, roleKey(org, p.Slug))
		switch {
		case err != nil:
			return stale, err
		case r.known() && r.Stamp == w.at.stamp:
			return duplicate, nil
		case r.known() && !beats(w.at.stamp, !present, r.Stamp, !r.Present):
			return stale, nil
		}
		return applied, put(w.tx, roleKey(org, p.Slug), roleRecord{V: version, Stamp: w.at.stamp, Present: present})
	}, nil
}

// Domains are an organization's, by id, as WorkOS's domain events tell them.
func (v *View) Domains(org string) []Domain {
	out := []Domain{}
	if o, ok := v.organizations.Get([]byte(org)); ok && o.alive() {
		for _, n := range o.domains {
			if n.rec.alive() {
				out = append(out, Domain{n.id, n.rec.Domain, n.rec.State})
			}
		}
	}
	return out
}

// claimed are the domains of an organization: those of its own record, as later
// events of single domains changed them.
func (o *organizationNode) claimed() []string {
	out := slices.Clone(o.rec.Domains)
	for _, n := range o.domains {
		if !o.rec.Stamp.before(n.rec.Stamp) {
			continue
		}
		at := slices.Index(out, n.rec.Domain)
		switch alive := n.rec.alive(); {
		case alive && at < 0:
			out = append(out, n.rec.Domain)
		case !alive && at >= 0:
			out = slices.Delete(out, at, at+1)
		}
	}
	return append([]string{}, out...)
}
