package apps

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"battery.app/gate/authz"
	"battery.app/gate/store"
)

// Options of a Registry. Scheme is required.
type Options struct {
	Configured []authz.App // of the config file: read-only through the API, and first
	Scheme     string      // of all origins: "https", or "http" on loopback
	Ports      []string    // ports, beside the scheme's default, at which gateways serve apps
	Domain     string      // {app}.{slug}.{Domain} belongs to the organization with that slug; empty: no such rule
	Reserved   []string    // host names, with or without port, that are never an app's: the public host …

	// SlugOwner tells which organization has a slug. It is called from any
	// goroutine. nil: slugs are not checked. What it says may change: call
	// Recheck then.
	SlugOwner func(slug string) (organizationID string, ok bool)
	// OwnerGone tells whether an organization was deleted. Its apps are not
	// served then, those that ask for no session included. It is called and may
	// change as SlugOwner. nil: none is.
	OwnerGone func(organizationID string) bool

	Log *slog.Logger // nil: silent
}

// Registry holds all apps. Load, Apply and Recheck are for one goroutine;
// everything else is safe for concurrent use.
type Registry struct {
	store     store.Store
	log       *slog.Logger
	scheme    string
	ports     []string
	domain    string
	reserved  map[string]bool
	slugOwner func(string) (string, bool)
	ownerGone func(string) bool

	configured      map[string]*authz.App
	configuredHosts map[string]string // bare name → id

	view atomic.Pointer[View]
	left map[string]leftOut // stored and configured apps that are not in the view, by id
}

// leftOut is an app that is not served. app is nil if it could not be read.
type leftOut struct {
	app    *authz.App
	reason string
}

// New makes a registry of the configured apps; Load adds those of st. Its error
// says everything that is wrong with the options.
func New(st store.Store, o Options) (*Registry, error) {
	r := &Registry{
		store: st, log: o.Log,
		scheme: o.Scheme, ports: slices.Clone(o.Ports), domain: strings.ToLower(o.Domain),
		reserved: map[string]bool{}, slugOwner: o.SlugOwner, ownerGone: o.OwnerGone,
		configured: map[string]*authz.App{}, configuredHosts: map[string]string{},
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(r.checkOptions(o), r.configure(o.Configured)); err != nil {
		return nil, err
	}
	r.rebuild(nil, nil)
	return r, nil
}

func (r *Registry) checkOptions(o Options) error {
	var errs []error
	if r.scheme != "https" && r.scheme != "http" {
		errs = append(errs, fmt.Errorf("apps: scheme %q must be https or http", r.scheme))
	}
	for _, p := range r.ports {
		if err := checkPort(p, r.scheme); err != nil {
			errs = append(errs, fmt.Errorf("apps: port %q: %w", p, err))
		}
	}
	if r.domain != "" {
		if _, err := canonicalName(r.domain); err != nil {
			errs = append(errs, fmt.Errorf("apps: domain %q: %w", o.Domain, err))
		}
	}
	for _, h := range o.Reserved {
		name, _, err := splitHost(h, "") // its port does not matter, not even the default one
		if err != nil {
			errs = append(errs, fmt.Errorf("apps: reserved host %q: %w", h, err))
			continue
		}
		r.reserved[name] = true
	}
	return errors.Join(errs...)
}

// configure takes in the apps of the config file and says all that is wrong.
func (r *Registry) configure(configured []authz.App) error {
	var errs []error
	for i, in := range configured {
		where := fmt.Sprintf("apps[%d] %q", i, in.ID)
		app, err := r.canonical(in)
		if v := (*ValidationError)(nil); errors.As(err, &v) {
			for _, f := range v.Faults {
				errs = append(errs, fmt.Errorf("%s: %s: %s", where, f.Field, f.Message))
			}
			continue
		}
		if r.configured[app.ID] != nil {
			errs = append(errs, fmt.Errorf("%s: another app has the same id", where))
			continue
		}
		r.configured[app.ID] = app
		for _, h := range app.Hosts {
			name := bareName(h)
			if other, taken := r.configuredHosts[name]; taken && other != app.ID {
				errs = append(errs, fmt.Errorf("%s: host %s is owned by %s too", where, name, other))
				continue
			}
			r.configuredHosts[name] = app.ID
		}
	}
	return errors.Join(errs...)
}

// Configured reports whether the app comes from the config file, so that the
// API cannot change it.
func (r *Registry) Configured(id string) bool { return r.configured[id] != nil }

// View is what is served now. It never returns nil.
func (r *Registry) View() *View { return r.view.Load() }

// Load replaces all stored apps by those among entries, which are all of
// Prefix; entries of other prefixes are ignored.
func (r *Registry) Load(entries []store.Entry) {
	var stored []*authz.App
	unreadable := map[string]string{} // id → why
	for _, e := range entries {
		id, ok := appID(e.Key)
		if !ok || e.Deleted {
			continue
		}
		app, err := r.decodeApp(id, e.Value)
		if err != nil {
			unreadable[id] = problem(err)
			continue
		}
		stored = append(stored, app)
	}
	r.rebuild(stored, unreadable)
}

// Apply takes in one change of the store. Changes come in order; entries of
// other prefixes are ignored.
func (r *Registry) Apply(c store.Change) {
	var b *builder
	each := func(do func(id string, e store.Entry)) {
		for _, e := range c.Entries {
			if id, ok := appID(e.Key); ok {
				do(id, e)
			}
		}
	}
	// What goes goes first: a host may move from one app to another.
	each(func(id string, e store.Entry) {
		if b == nil {
			b = r.edit()
		}
		b.removeStored(id)
	})
	each(func(id string, e store.Entry) {
		if e.Deleted {
			return
		}
		app, err := r.decodeApp(id, e.Value)
		if err != nil {
			b.leave(id, leftOut{reason: problem(err)})
			return
		}
		b.addStored(app)
	})
	if b != nil {
		b.retry()
		b.publish()
	}
}

// Recheck looks at all apps again after SlugOwner's or OwnerGone's answers
// changed, because an organization got or lost its slug, or was deleted.
func (r *Registry) Recheck() {
	var stored []*authz.App
	for _, app := range r.View().List() {
		if !r.Configured(app.ID) {
			stored = append(stored, app)
		}
	}
	unreadable := map[string]string{}
	for id, l := range r.left {
		switch {
		case l.app == nil:
			unreadable[id] = l.reason
		case !r.Configured(id):
			stored = append(stored, l.app)
		}
	}
	r.rebuild(stored, unreadable)
}
