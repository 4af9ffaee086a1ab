package decisionlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"battery.app/gate/authz"
)

// Input is the input of a recorded decision, in the shape policies see. Session
// and user are null where there was none, app where no app had the host.
type Input struct {
	Request InputRequest  `json:"request"`
	App     *InputApp     `json:"app"`
	Session *InputSession `json:"session"`
	User    *InputUser    `json:"user"`
	Sync    InputSync     `json:"sync"`

	// Exact: nothing was left out or changed when it was recorded, so
	// evaluating it again answers the same question.
	Exact bool `json:"-"`

	in authz.Input
}

// InputRequest is the request part of an Input.
type InputRequest struct {
	Method   string            `json:"method"`
	Scheme   string            `json:"scheme"`
	Host     string            `json:"host"` // without port
	Path     string            `json:"path"`
	Segments []string          `json:"segments"`
	Query    string            `json:"query,omitempty"` // raw; only where the policy read it
	Headers  map[string]string `json:"headers"`         // only those a policy may read
	ClientIP string            `json:"client_ip"`
	Gateway  string            `json:"gateway"`
}

// InputApp is the app part of an Input.
type InputApp struct {
	ID             string            `json:"id"`
	OrganizationID string            `json:"organization_id"`
	Host           string            `json:"host"`
	AllowedRoles   []string          `json:"allowed_roles"`
	Public         bool              `json:"public"`
	Labels         map[string]string `json:"labels"`
}

// InputSession is the session part of an Input.
type InputSession struct {
	ID             string         `json:"id"`
	UserID         string         `json:"user_id"`
	Email          string         `json:"email"`
	OrganizationID string         `json:"organization_id"`
	ConnectionID   string         `json:"connection_id"`
	Kind           string         `json:"kind"`
	IssuedAt       time.Time      `json:"issued_at"`
	ExpiresAt      time.Time      `json:"expires_at"`
	Claims         map[string]any `json:"claims"`
}

// InputUser is the user part of an Input.
type InputUser struct {
	ID          string         `json:"id"`
	DirectoryID string         `json:"directory_id"`
	State       string         `json:"state"`
	Groups      []authz.Group  `json:"groups"`
	Roles       []string       `json:"roles"`
	Attributes  map[string]any `json:"attributes"`
}

// InputSync says whether the directory's data was older than its bound.
type InputSync struct {
	Stale bool `json:"stale"`
}

// Authz returns the input as the engine takes it, with the request's time and
// gateway as they were. Callers must not change what it points to.
func (in *Input) Authz() *authz.Input {
	again := in.in
	return &again
}

// kept is what a row of the database holds beyond a Row.
type kept struct {
	door, scheme, query, headers, clientIP string
	app, session, user                     string // JSON, or empty
	stale, exact                           bool
}

// input puts the input together again.
func (k *kept) input(r *Row) (*Input, error) {
	headers := map[string]string{}
	if k.headers != "" {
		if err := json.Unmarshal([]byte(k.headers), &headers); err != nil {
			return nil, fmt.Errorf("decode headers: %w", err)
		}
	}
	host, port := splitHost(r.Host)
	req := &authz.Request{
		Dialect: authz.Dialect{Name: k.door}, Gateway: r.Gateway,
		Method: r.Method, Scheme: k.scheme, Host: host, Port: port, Path: r.Path, Ambiguous: authz.Ambiguous(r.Path),
		Query: k.query, Headers: headers, Time: r.Time.Time, TraceID: r.TraceID,
	}
	if k.clientIP != "" {
		ip, err := netip.ParseAddr(k.clientIP)
		if err != nil {
			return nil, fmt.Errorf("decode client address: %w", err)
		}
		req.ClientIP = ip
	}
	in := &Input{
		Request: InputRequest{
			Method: r.Method, Scheme: k.scheme, Host: host, Path: r.Path, Segments: list(authz.Segments(r.Path)),
			Query: k.query, Headers: headers, ClientIP: k.clientIP, Gateway: r.Gateway,
		},
		Sync: InputSync{Stale: k.stale}, Exact: k.exact,
		in: authz.Input{Request: req, Stale: k.stale},
	}
	if err := in.decode(k, host); err != nil {
		return nil, err
	}
	return in, nil
}

// decode fills app, session and user, typed and as policies see them: lists
// and objects are there even if empty, times are in UTC.
func (in *Input) decode(k *kept, host string) (err error) {
	if in.in.App, err = decodeFact[authz.App]("app", k.app); err != nil {
		return err
	}
	if in.in.Session, err = decodeFact[authz.Session]("session", k.session); err != nil {
		return err
	}
	if in.in.User, err = decodeFact[authz.User]("user", k.user); err != nil {
		return err
	}
	if a := in.in.App; a != nil {
		in.App = &InputApp{ID: a.ID, OrganizationID: a.OrganizationID, Host: host,
			AllowedRoles: list(a.AllowedRoles), Public: a.Public, Labels: object(a.Labels)}
	}
	if s := in.in.Session; s != nil {
		in.Session = &InputSession{ID: s.ID, UserID: s.UserID, Email: s.Email,
			OrganizationID: s.OrganizationID, ConnectionID: s.ConnectionID, Kind: s.Kind,
			IssuedAt: s.IssuedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(), Claims: object(s.Claims)}
	}
	if u := in.in.User; u != nil {
		in.User = &InputUser{ID: u.ID, DirectoryID: u.DirectoryID, State: u.State,
			Groups: list(u.Groups), Roles: list(u.Roles), Attributes: object(u.Attributes)}
	}
	return nil
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func object[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// decodeFact keeps numbers as they were written: a large id in a claim must
// not lose digits on the way through a float.
func decodeFact[T any](kind, content string) (*T, error) {
	if content == "" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(content)))
	d.UseNumber()
	v := new(T)
	if err := d.Decode(v); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return v, nil
}

// splitHost takes host[:port] apart; an IPv6 address has a port only after a
// bracket.
func splitHost(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") || (strings.Count(authority, ":") > 1 && authority[0] != '[') {
		return authority, ""
	}
	return authority[:i], authority[i+1:]
}
