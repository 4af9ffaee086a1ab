package standin

import (
	"net/http"
	"slices"
	"strings"
)

func (s *Server) routeConnections(mux *http.ServeMux) {
	mux.Handle("GET /connections", s.api(s.listConnections))
	mux.Handle("GET /connections/{id}", s.api(s.getConnection))
	mux.Handle("DELETE /connections/{id}", s.api(s.deleteConnection))
}

func (s *Server) listConnections(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []wireConnection
	for _, c := range sorted(s.st.connections) {
		o := s.st.organizations[c.OrganizationID]
		if matches(q.Get("organization_id"), c.OrganizationID) && matches(q.Get("connection_type"), c.Type) &&
			inDomain(q.Get("domain"), o) && strings.Contains(lower(c.Name), lower(q.Get("search"))) {
			all = append(all, c.rest(o))
		}
	}
	out, err := paged(r, all, func(c wireConnection) string { return c.ID })
	return http.StatusOK, out, err
}

// matches says whether a filter, if there is one, admits the value.
func matches(filter, value string) bool { return filter == "" || filter == value }

func inDomain(filter string, o Organization) bool {
	return filter == "" || slices.ContainsFunc(o.Domains, func(d Domain) bool { return strings.EqualFold(d.Domain, filter) })
}

func (s *Server) getConnection(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.st.connections[r.PathValue("id")]
	if !ok {
		return 0, nil, notFound("Connection", r.PathValue("id"))
	}
	return http.StatusOK, c.rest(s.st.organizations[c.OrganizationID]), nil
}

func (s *Server) deleteConnection(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		c, ok := st.connections[r.PathValue("id")]
		if !ok {
			return change{}, notFound("Connection", r.PathValue("id"))
		}
		return change{name: "connection.deleted", payload: c.deletedEvent(), apply: func() { delete(st.connections, c.ID) }}, nil
	})
	return http.StatusNoContent, nil, err
}
