package standin

import (
	"net/http"
	"slices"
	"strings"
)

func (s *Server) routeOrganizations(mux *http.ServeMux) {
	mux.Handle("GET /organizations", s.api(s.listOrganizations))
	mux.Handle("POST /organizations", s.repeat.wrap(s.api(s.createOrganization)))
	mux.Handle("GET /organizations/{id}/{under}", s.api(s.underOrganization))
	mux.Handle("GET /organizations/{id}", s.api(s.getOrganization))
	mux.Handle("PUT /organizations/{id}", s.api(s.updateOrganization))
	mux.Handle("DELETE /organizations/{id}", s.api(s.deleteOrganization))
}

// listOrganizations filters by domains (repeated, or as domains[]) and search.
func (s *Server) listOrganizations(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	domains, search := append(q["domains"], q["domains[]"]...), lower(q.Get("search"))
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := paged(r, listing[Organization]{
		ids: s.st.organizations.ids,
		want: func(id string) bool {
			o := s.st.organizations.byID[id]
			inDomain := len(domains) == 0 || slices.ContainsFunc(o.Domains, func(d Domain) bool { return contains(domains, d.Domain) })
			return inDomain && strings.Contains(lower(o.Name), search)
		},
		show: func(id string) Organization { return s.st.organizations.byID[id].wire() },
	})
	return http.StatusOK, out, err
}

func (s *Server) getOrganization(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.st.organizations.byID[r.PathValue("id")]
	if !ok {
		return 0, nil, notFound("Organization", r.PathValue("id"))
	}
	return http.StatusOK, o.wire(), nil
}

// underOrganization tells /organizations/external_id/{x} from
// /organizations/{id}/roles, which http.ServeMux cannot.
func (s *Server) underOrganization(r *http.Request) (int, any, error) {
	switch id, under := r.PathValue("id"), r.PathValue("under"); {
	case id == "external_id":
		return s.getByExternalID(under)
	case under == "roles":
		return s.listRoles(r)
	}
	return 0, nil, &problem{status: http.StatusNotFound, Message: "Not Found"}
}

func (s *Server) getByExternalID(external string) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.st.organizations.all() {
		if string(o.ExternalID) == external {
			return http.StatusOK, o.wire(), nil
		}
	}
	return 0, nil, notFound("Organization", external)
}

func (s *Server) createOrganization(r *http.Request) (int, any, error) {
	// idempotency_key: the Go SDK v4 repeats its header there.
	body, err := readObject(r, "name", "allow_profiles_outside_organization", "domains", "domain_data", "metadata", "external_id", "idempotency_key")
	if err != nil {
		return 0, nil, err
	}
	var made Organization
	_, _, err = s.commit(terms{}, func(st *state, m moment) (change, error) {
		o := Organization{ID: m.id("org_"), CreatedAt: m.at}
		if err := st.write(&o, body, m); err != nil {
			return change{}, err
		}
		o.Slug = st.slugFor(o)
		made = o.filled()
		return change{name: "organization.created", payload: made.event(), apply: func() { st.putOrganization(made) }}, nil
	})
	return http.StatusCreated, made.wire(), err
}

func (s *Server) updateOrganization(r *http.Request) (int, any, error) {
	body, err := readObject(r, "name", "allow_profiles_outside_organization", "domains", "domain_data", "stripe_customer_id", "metadata", "external_id")
	if err != nil {
		return 0, nil, err
	}
	var written Organization
	_, _, err = s.commit(terms{}, func(st *state, m moment) (change, error) {
		o, ok := st.organizations.byID[r.PathValue("id")]
		if !ok {
			return change{}, notFound("Organization", r.PathValue("id"))
		}
		if err := st.write(&o, body, m); err != nil {
			return change{}, err
		}
		written = o.filled()
		return change{name: "organization.updated", payload: written.event(), apply: func() { st.putOrganization(written) }}, nil
	})
	return http.StatusOK, written.wire(), err
}

func (s *Server) deleteOrganization(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		o, ok := st.organizations.byID[r.PathValue("id")]
		if !ok {
			return change{}, notFound("Organization", r.PathValue("id"))
		}
		return change{name: "organization.deleted", payload: o.event(), apply: func() { st.dropOrganization(o.ID) }}, nil
	})
	return http.StatusAccepted, nil, err
}

// write lays a create or update body over an organization.
func (st *state) write(o *Organization, body object, m moment) error {
	o.UpdatedAt = m.at
	var external string
	for key, err := range map[string]error{
		"name":                                optional(body, "name", &o.Name),
		"allow_profiles_outside_organization": optional(body, "allow_profiles_outside_organization", &o.AllowProfilesOutside),
		"stripe_customer_id":                  optional(body, "stripe_customer_id", &o.StripeCustomerID),
		"external_id":                         optional(body, "external_id", &external),
	} {
		if err != nil {
			return invalid(fieldError{Code: key + " has the wrong type", Field: key})
		}
	}
	if strings.TrimSpace(o.Name) == "" {
		return invalid(fieldError{Code: "required", Field: "name"})
	}
	if body.has("external_id") {
		for _, other := range st.organizations.byID {
			if external != "" && string(other.ExternalID) == external && other.ID != o.ID {
				return &problem{status: http.StatusBadRequest, Code: "external_id_already_used", Message: "The external_id is already used."}
			}
		}
		o.ExternalID = Nullable(external)
	}
	if err := writeMetadata(o, body); err != nil {
		return err
	}
	if err := writeDomains(o, body, m); err != nil {
		return err
	}
	return st.ownedElsewhere(*o)
}

// writeMetadata merges: a null value removes the key. WorkOS allows 50 keys of
// up to 40 characters with values of up to 600.
func writeMetadata(o *Organization, body object) error {
	var patch map[string]*string
	if err := optional(body, "metadata", &patch); err != nil {
		return err
	}
	out := map[string]string{}
	for k, v := range o.Metadata {
		out[k] = v
	}
	for k, v := range patch {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = *v
		if len(k) > 40 || len(*v) > 600 {
			return &problem{status: http.StatusBadRequest, Code: "invalid_metadata", Message: "A metadata key or value is too long."}
		}
	}
	if len(out) > 50 {
		return &problem{status: http.StatusBadRequest, Code: "invalid_metadata", Message: "Metadata has more than 50 keys."}
	}
	o.Metadata = out
	return nil
}

// writeDomains replaces the domains where the body has some: domain_data with a
// state each, or the deprecated domains, which count as verified.
func writeDomains(o *Organization, body object, m moment) error {
	var data []struct{ Domain, State string }
	var names []string
	if err := optional(body, "domain_data", &data); err != nil {
		return err
	}
	if err := optional(body, "domains", &names); err != nil {
		return err
	}
	for _, n := range names {
		data = append(data, struct{ Domain, State string }{n, "verified"})
	}
	if data == nil {
		return nil
	}
	had := o.Domains
	o.Domains = nil
	for _, d := range data {
		d.Domain = lower(d.Domain)
		if !strings.Contains(d.Domain, ".") || strings.ContainsAny(d.Domain, " /:@\\?#") || d.State != "verified" && d.State != "pending" {
			return invalid(fieldError{Code: "domain or state is not valid", Field: "domain_data"})
		}
		made := Domain{ID: m.id("org_domain_"), Domain: d.Domain, CreatedAt: m.at}
		if i := slices.IndexFunc(had, func(h Domain) bool { return h.Domain == d.Domain }); i >= 0 {
			made = had[i]
		}
		made.State, made.UpdatedAt = d.State, m.at
		o.Domains = append(o.Domains, made)
	}
	return nil
}

// must is for encoding what cannot fail to encode.
func must(b []byte, _ error) []byte { return b }
