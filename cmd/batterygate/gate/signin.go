package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
	"battery.app/gate/sync/workosapi"
)

// openSignIn wires WorkOS, the sign-in service and what links a profile to its
// directory user.
func (g *Gate) openSignIn(ctx context.Context) (err error) {
	g.workos, err = workosapi.New(workosapi.Options{
		APIKey: g.cfg.APIKey(), ClientID: g.cfg.WorkOS.ClientID, Endpoint: g.cfg.WorkOS.Endpoint, Log: g.Log,
	})
	if err != nil {
		return fmt.Errorf("workos: %w", err)
	}
	if g.cfg.Sync.CatchUp {
		g.catchUp, err = feed.NewCatchUp(feed.CatchUpOptions{
			WorkOS: g.workos, Directory: g.Directory, Published: g.Published, PollEvery: g.cfg.Sync.Poll, ReconcileEvery: g.cfg.Sync.Reconcile,
			Now: g.Now, Log: g.Log, Meter: g.telemetry.Meter,
		})
		if err != nil {
			return err
		}
	}
	providers, err := g.providers()
	if err != nil {
		return err
	}
	o := sso.Options{
		PublicURL: g.publicURL(), Apps: func() sso.AppView { return g.Apps.View() }, WorkOS: g.workos, Directory: &links{g},
		Store: g.store, Keys: g.keys, Sessions: g.sessions, Now: g.Now, Log: g.Log, Meter: g.telemetry.Meter,
		Providers: providers,
		Find:      sso.Finder{Domain: g.organizations().ByDomain, Connection: g.connectionOwner, FrontApp: g.frontApp},
	}
	if r := g.cfg.Limits; r.LoginsPerSecond > 0 {
		o.ClientIP = func(r *http.Request) netip.Addr { return clientIP(g.cfg.Trusted(), r) }
		o.Limits.Login = sso.Rate{PerSecond: r.LoginsPerSecond, Burst: max(1, r.LoginsBurst)}
	}
	g.sso, err = sso.New(ctx, o)
	return err
}

// links is what sign-in asks of the directory.
type links struct{ g *Gate }

// Linked pins the profile of a new session to the directory user it resolves
// to, so that a changed or reassigned e-mail cannot move a person later.
func (l *links) Linked(ctx context.Context, s *authz.Session) error {
	view := l.g.Directory.View()
	if view.Pinned(s) {
		return nil
	}
	user, ok := view.ResolveLink(s)
	if !ok {
		return nil
	}
	_, err := l.g.Directory.PinLink(ctx, s.OrganizationID, s.UserID, user)
	if errors.Is(err, directory.ErrNotFound) {
		return nil // gone in between; the next decision sees that
	}
	return err
}

// Ended reports whether what the session stood on is gone.
func (l *links) Ended(s *authz.Session) bool {
	_, ended := l.g.Directory.View().User(s)
	return ended
}

// MayOpen reports whether the brake lets this person open a new session.
func (l *links) MayOpen(s *authz.Session) bool { return l.g.Directory.View().MayOpen(s) }

// organizations is the service that makes customers, over the directory.
func (g *Gate) organizations() *sso.Organizations {
	return &sso.Organizations{WorkOS: g.workos, Records: &records{g}, Operators: g.cfg.Operators.Organization}
}

type records struct{ g *Gate }

func (r *records) Organizations() []sso.Organization {
	all := r.g.Directory.View().Organizations()
	out := make([]sso.Organization, 0, len(all))
	for _, o := range all {
		out = append(out, sso.Organization(o))
	}
	return out
}

func (r *records) Organization(id string) (sso.Organization, bool) {
	o, ok := r.g.Directory.View().Organization(id)
	return sso.Organization(o), ok
}

func (r *records) SlugFree(ctx context.Context, slug string) (bool, error) {
	return r.g.Directory.SlugFree(ctx, slug)
}

func (r *records) Put(ctx context.Context, o sso.Organization) error {
	return r.published(ctx)(r.g.Directory.PutOrganization(ctx, directory.Organization(o)))
}

func (r *records) SlugOwner(slug string) (string, bool) {
	id, _, ok := r.g.Directory.View().SlugOwner(slug)
	return id, ok
}

// AppsUnder names an organization's apps with hosts under {slug}.{domain}, and
// that name itself.
func (r *records) AppsUnder(organization, slug string) []string {
	base := slug + "." + strings.ToLower(r.g.cfg.Domain)
	var out []string
	for _, a := range r.g.Apps.View().List() {
		if a.OrganizationID == organization && slices.ContainsFunc(a.Hosts, func(h string) bool {
			name, _, _ := strings.Cut(h, ":")
			return r.g.cfg.Domain != "" && (name == base || strings.HasSuffix(name, "."+base))
		}) {
			out = append(out, a.ID)
		}
	}
	return out
}

func (r *records) Change(ctx context.Context, id string, c sso.OrganizationChange) error {
	change := directory.OrganizationChange{Slug: c.Slug}
	if c.Details != nil {
		change.Details = &directory.OrganizationDetails{Name: c.Details.Name, Domains: c.Details.Domains}
	}
	return r.published(ctx)(r.g.Directory.ChangeOrganization(ctx, id, change))
}

func (r *records) Remove(ctx context.Context, id string) error {
	return r.published(ctx)(r.g.Directory.RemoveOrganization(ctx, id))
}

// published returns what waits until a write of the directory is in force, and
// has its errors in the words of sign-in.
func (r *records) published(ctx context.Context) func(revision uint64, err error) error {
	return func(revision uint64, err error) error {
		for theirs, ours := range map[error]error{
			directory.ErrSlugTaken: sso.ErrSlugTaken, directory.ErrNotFound: sso.ErrNoOrganization, directory.ErrInvalid: sso.ErrInvalidOrganization,
		} {
			if errors.Is(err, theirs) {
				return fmt.Errorf("%w: %w", ours, err)
			}
		}
		if err != nil {
			return err
		}
		return r.g.Published(ctx, revision)
	}
}
