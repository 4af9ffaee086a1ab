package standin

import (
	"net/http"
	"strings"

	"golang.org/x/time/rate"
)

func (s *Server) routeDirectories(mux *http.ServeMux) {
	mux.Handle("GET /directories", s.api(s.listDirectories))
	mux.Handle("GET /directories/{id}", s.api(s.getDirectory))
	mux.Handle("DELETE /directories/{id}", s.api(s.deleteDirectory))
	mux.Handle("GET /directory_users", s.api(s.listUsers))
	mux.Handle("GET /directory_users/{id}", s.api(s.getUser))
	mux.Handle("GET /directory_groups", s.api(s.listGroups))
	mux.Handle("GET /directory_groups/{id}", s.api(s.getGroup))
}

func (st *state) restDirectory(d Directory) restDirectory {
	out := restDirectory{Object: "directory", Directory: d}
	for _, id := range st.usersIn.of(d.ID) {
		if st.users.byID[id].State == "active" {
			out.Metadata.Users.Active++
		} else {
			out.Metadata.Users.Inactive++
		}
	}
	out.Metadata.Groups = len(st.groupsIn.of(d.ID))
	return out
}

func (s *Server) listDirectories(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := paged(r, listing[restDirectory]{
		ids: s.st.directories.ids,
		want: func(id string) bool {
			d := s.st.directories.byID[id]
			return matches(q.Get("organization_id"), d.OrganizationID) && matches(q.Get("domain"), d.Domain) &&
				strings.Contains(lower(d.Name), lower(q.Get("search")))
		},
		show: func(id string) restDirectory { return s.st.restDirectory(s.st.directories.byID[id]) },
	})
	return http.StatusOK, out, err
}

func (s *Server) getDirectory(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.st.directories.byID[r.PathValue("id")]
	if !ok {
		return 0, nil, notFound("Directory", r.PathValue("id"))
	}
	return http.StatusOK, s.st.restDirectory(d), nil
}

func (s *Server) deleteDirectory(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		d, ok := st.directories.byID[r.PathValue("id")]
		if !ok {
			return change{}, notFound("Directory", r.PathValue("id"))
		}
		return change{name: "dsync.deleted", payload: d.deletedEvent(), apply: func() { st.dropDirectory(d.ID) }}, nil
	})
	return http.StatusAccepted, nil, err
}

// usersPerSecond is WorkOS's limit on /directory_users, per directory.
const usersPerSecond = 4

// limited says whether the directory was asked for its users too often. WorkOS
// answers 429 with a bare JSON string.
func (s *Server) limited(directory string) bool {
	s.limits.Lock()
	defer s.limits.Unlock()
	l := s.limits.byDirectory[directory]
	if l == nil {
		l = rate.NewLimiter(usersPerSecond, usersPerSecond)
		s.limits.byDirectory[directory] = l
	}
	return !l.AllowN(s.opt.Now(), 1)
}

func (s *Server) listUsers(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	directory, group := q.Get("directory"), q.Get("group")
	if (directory == "") == (group == "") {
		return 0, nil, invalid(fieldError{Code: "one of directory and group is required", Field: "directory"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if group != "" {
		g, ok := s.st.groups.byID[group]
		if !ok {
			return 0, nil, notFound("Directory Group", group)
		}
		directory = g.DirectoryID
	}
	if _, ok := s.st.directories.byID[directory]; !ok {
		return 0, nil, notFound("Directory", directory)
	}
	if s.limited(directory) {
		return http.StatusTooManyRequests, "Ratelimited", nil
	}
	ids := s.st.usersIn.of(directory)
	if group != "" {
		ids = s.st.members.of(group)
	}
	out, err := paged(r, listing[restUser]{
		ids: ids,
		want: func(id string) bool {
			u, ok := s.st.users.byID[id]
			return ok && (q.Get("email") == "" || strings.EqualFold(string(u.Email), q.Get("email"))) && matches(q.Get("idp_id"), u.IdpID)
		},
		show: func(id string) restUser { return restUser{User: s.st.users.byID[id], Groups: []Group{}} },
	})
	return http.StatusOK, out, err
}

func (s *Server) getUser(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.st.users.byID[r.PathValue("id")]
	if !ok {
		return 0, nil, notFound("Directory User", r.PathValue("id"))
	}
	return http.StatusOK, restUser{User: u, Groups: []Group{}}, nil
}

func (s *Server) listGroups(r *http.Request) (int, any, error) {
	directory, user := r.URL.Query().Get("directory"), r.URL.Query().Get("user")
	if (directory == "") == (user == "") {
		return 0, nil, invalid(fieldError{Code: "one of directory and user is required", Field: "directory"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids ordered
	if user != "" {
		if _, ok := s.st.users.byID[user]; !ok {
			return 0, nil, notFound("Directory User", user)
		}
		ids = s.st.groupsWith.of(user)
	} else {
		if _, ok := s.st.directories.byID[directory]; !ok {
			return 0, nil, notFound("Directory", directory)
		}
		ids = s.st.groupsIn.of(directory)
	}
	out, err := paged(r, listing[Group]{
		ids:  ids,
		want: func(id string) bool { _, ok := s.st.groups.byID[id]; return ok },
		show: func(id string) Group { return s.st.groups.byID[id] },
	})
	return http.StatusOK, out, err
}

func (s *Server) getGroup(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.st.groups.byID[r.PathValue("id")]
	if !ok {
		return 0, nil, notFound("Directory Group", r.PathValue("id"))
	}
	return http.StatusOK, g, nil
}
