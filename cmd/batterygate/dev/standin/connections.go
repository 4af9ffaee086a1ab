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
	out, err := paged(r, listing[wireConnection]{
		ids: s.st.connections.ids,
		want: func(id string) bool {
			c := s.st.connections.byID[id]
			return matches(q.Get("organization_id"), c.OrganizationID) && matches(q.Get("connection_type"), c.Type) &&
				inDomain(q.Get("domain"), s.st.organizations.byID[c.OrganizationID]) && strings.Contains(lower(c.Name), lower(q.Get("search")))
		},
		show: func(id string) wireConnection {
			c := s.st.connections.byID[id]
			return c.rest(s.st.organizations.byID[c.OrganizationID])
		},
	})
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
	c, ok := s.st.connections.byID[r.PathValue("id")]
	if !ok {
		return 0, nil, notFound("Connection", r.PathValue("id"))
	}
	return http.StatusOK, c.rest(s.st.organizations.byID[c.OrganizationID]), nil
}

func (s *Server) deleteConnection(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		c, ok := st.connections.byID[r.PathValue("id")]
		if !ok {
			return change{}, notFound("Connection", r.PathValue("id"))
		}
		return change{name: "connection.deleted", payload: c.deletedEvent(), apply: func() { st.dropConnection(c.ID) }}, nil
	})
	return http.StatusNoContent, nil, err
}
