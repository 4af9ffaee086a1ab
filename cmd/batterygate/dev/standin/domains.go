package standin

import (
	"net/http"
	"slices"
	"strings"
)

func (s *Server) routeDomains(mux *http.ServeMux) {
	mux.Handle("POST /organization_domains", s.repeat.wrap(s.api(s.createDomain)))
	mux.Handle("GET /organization_domains/{id}", s.api(s.getDomain))
	mux.Handle("DELETE /organization_domains/{id}", s.api(s.deleteDomain))
	mux.Handle("POST /organization_domains/{id}/verify", s.api(s.verifyDomain))
}

// domain finds a domain by id, with its organization.
func (st *state) domain(id string) (Domain, Organization, bool) {
	for _, o := range st.organizations.all() {
		for _, d := range o.Domains {
			if d.ID == id && id != "" {
				return d, o, true
			}
		}
	}
	return Domain{}, Organization{}, false
}

// setDomain puts a domain in the place of the one with its id, or at the end.
func (st *state) setDomain(o Organization, d Domain) {
	o.Domains = slices.DeleteFunc(slices.Clone(o.Domains), func(had Domain) bool { return had.ID == d.ID })
	o.Domains = append(o.Domains, d)
	st.putOrganization(o)
}

func (st *state) unsetDomain(o Organization, id string) {
	o.Domains = slices.DeleteFunc(slices.Clone(o.Domains), func(had Domain) bool { return had.ID == id })
	st.putOrganization(o)
}

// newDomain is one whose owner must still prove it, by a DNS record.
func newDomain(o Organization, domain string, m moment) Domain {
	return Domain{
		Object: "organization_domain", ID: m.id("org_domain_"), OrganizationID: o.ID, Domain: lower(domain), State: "pending", Strategy: "dns",
		Prefix: "battery-domain-verification-" + lower(token()[:6]), Token: token(), CreatedAt: m.at, UpdatedAt: m.at,
	}
}

func soundDomain(domain string) bool {
	return strings.Contains(domain, ".") && !strings.ContainsAny(domain, " /:@\\?#")
}

func (s *Server) createDomain(r *http.Request) (int, any, error) {
	body, err := readObject(r, "domain", "organization_id")
	if err != nil {
		return 0, nil, err
	}
	var made Domain
	_, _, err = s.commit(terms{}, func(st *state, m moment) (change, error) {
		o, ok := st.organizations.byID[body.str("organization_id")]
		if !ok {
			return change{}, notFound("Organization", body.str("organization_id"))
		}
		if !soundDomain(body.str("domain")) {
			return change{}, invalid(fieldError{Code: "domain is not valid", Field: "domain"})
		}
		if _, taken := st.organizationWithDomain(body.str("domain")); taken {
			return change{}, &problem{status: http.StatusConflict, Message: "The domain exists already.", Code: "domain_already_exists"}
		}
		made = newDomain(o, body.str("domain"), m)
		return change{name: "organization_domain.created", payload: made, apply: func() { st.setDomain(o, made) }}, nil
	})
	return http.StatusCreated, made, err
}

func (s *Server) getDomain(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, _, ok := s.st.domain(r.PathValue("id"))
	if !ok {
		return 0, nil, notFound("Organization Domain", r.PathValue("id"))
	}
	return http.StatusOK, d, nil
}

func (s *Server) deleteDomain(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		d, o, ok := st.domain(r.PathValue("id"))
		if !ok {
			return change{}, notFound("Organization Domain", r.PathValue("id"))
		}
		return change{name: "organization_domain.deleted", payload: d, apply: func() { st.unsetDomain(o, d.ID) }}, nil
	})
	return http.StatusNoContent, nil, err
}

// verifyDomain finds the record at once: there is no DNS here.
func (s *Server) verifyDomain(r *http.Request) (int, any, error) {
	var written Domain
	_, _, err := s.commit(terms{}, func(st *state, m moment) (change, error) {
		d, o, ok := st.domain(r.PathValue("id"))
		if !ok {
			return change{}, notFound("Organization Domain", r.PathValue("id"))
		}
		if d.State == "verified" {
			return change{}, &problem{status: http.StatusBadRequest, Message: "The domain is verified already.", Code: "domain_already_verified"}
		}
		d.State, d.UpdatedAt = "verified", m.at
		written = d
		return change{name: "organization_domain.verified", payload: d, apply: func() { st.setDomain(o, d) }}, nil
	})
	return http.StatusCreated, written, err
}

// domainTold completes organization_domain.*: the domain is named by id, or by
// domain. verification_failed wraps the domain and adds a reason.
func (st *state) domainTold(name, what string, data object, m moment) (change, error) {
	about, reason := data, ""
	if what == "verification_failed" {
		if reason = data.str("reason"); reason == "" {
			reason = "domain_verification_period_expired"
		}
		if inner := data.sub("organization_domain"); inner != nil {
			about = inner
		}
	}
	d, o, err := st.namedDomain(what, about, m)
	if err != nil {
		return change{}, err
	}
	if state, ok := map[string]string{"verified": "verified", "verification_failed": "failed"}[what]; ok {
		d.State = state
	}
	if what != "deleted" {
		d.UpdatedAt = m.at
	}
	fields := fieldsOf(about).without("reason")
	if d, err = merged(d, fields); err != nil {
		return change{}, err
	}
	payload, err := overlay(d, fields)
	if err != nil {
		return change{}, err
	}
	c := change{name: name, payload: payload, apply: func() { st.setDomain(o, d) }}
	if what == "deleted" {
		c.apply = func() { st.unsetDomain(o, d.ID) }
	}
	if reason != "" {
		c.payload = map[string]any{"reason": reason, "organization_domain": payload}
	}
	return c, nil
}

// namedDomain finds the domain; organization_domain.created may be about one
// that is new.
func (st *state) namedDomain(what string, data object, m moment) (Domain, Organization, error) {
	if d, o, ok := st.domain(data.str("id")); ok {
		return d, o, nil
	}
	name := data.str("domain")
	if o, ok := st.organizationWithDomain(name); ok && what != "created" {
		i := slices.IndexFunc(o.Domains, func(d Domain) bool { return strings.EqualFold(d.Domain, name) })
		return o.Domains[i], o, nil
	} else if ok {
		return Domain{}, o, unprocessable("organization %q has the domain %q already", o.ID, name)
	}
	if what != "created" {
		return Domain{}, Organization{}, unprocessable("unknown domain: name it by id or domain")
	}
	o, named, err := st.namedOrganization(data)
	if err != nil {
		return Domain{}, o, err
	}
	if !named || !soundDomain(name) {
		return Domain{}, o, unprocessable("data.domain and data.organization_id are required")
	}
	return newDomain(o, name, m), o, nil
}
