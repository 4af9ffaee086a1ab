package apps

import (
	"cmp"
	"maps"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"battery.app/gate/authz"
)

// View is all apps at one moment. It never changes, and neither do the apps in
// it. The zero View knows no host.
type View struct {
	hosts *iradix.Tree[*authz.App] // bare host name → app
	ids   *iradix.Tree[*authz.App]
	left  []LeftOut
}

// LeftOut is an app that exists and is not served, with the reason.
type LeftOut struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// App finds the app that owns a canonical host name without port. Whether the
// app is served at the request's port is for authz.App.HasAuthority to say.
func (v *View) App(host string) (*authz.App, bool) {
	if v.hosts == nil {
		return nil, false
	}
	return v.hosts.Get([]byte(host))
}

// ByID finds an app by its id.
func (v *View) ByID(id string) (*authz.App, bool) {
	if v.ids == nil {
		return nil, false
	}
	return v.ids.Get([]byte(id))
}

// List returns all apps, sorted by id.
func (v *View) List() []*authz.App {
	if v.ids == nil {
		return nil
	}
	list := make([]*authz.App, 0, v.ids.Len())
	v.ids.Root().Walk(func(_ []byte, app *authz.App) bool {
		list = append(list, app)
		return false
	})
	return list
}

// LeftOut returns the apps that exist and are not served, sorted by id.
func (v *View) LeftOut() []LeftOut { return slices.Clone(v.left) }

// builder makes the next view out of the current one, at a cost that grows
// with the change and hardly with the number of apps.
type builder struct {
	r     *Registry
	hosts *iradix.Txn[*authz.App]
	ids   *iradix.Txn[*authz.App]
	old   []LeftOut
	dirty bool // r.left differs from old
}

func (r *Registry) edit() *builder {
	v := r.View()
	return &builder{r: r, hosts: v.hosts.Txn(), ids: v.ids.Txn(), old: v.left}
}

// rebuild publishes a view of the configured apps and the stored ones given;
// unreadable are the ids of others in the store, with the reason.
func (r *Registry) rebuild(stored []*authz.App, unreadable map[string]string) {
	b := &builder{r: r, hosts: iradix.New[*authz.App]().Txn(), ids: iradix.New[*authz.App]().Txn(), dirty: true}
	if v := r.View(); v != nil {
		b.old = v.left
	}
	r.left = map[string]leftOut{}
	for _, id := range slices.Sorted(maps.Keys(r.configured)) {
		b.add(r.configured[id])
	}
	slices.SortFunc(stored, func(a, b *authz.App) int { return cmp.Compare(a.ID, b.ID) })
	for _, app := range stored {
		b.addStored(app)
	}
	for id, reason := range unreadable {
		b.leave(id, leftOut{reason: reason})
	}
	b.publish()
}

func (b *builder) publish() {
	left := b.old
	if b.dirty {
		left = make([]LeftOut, 0, len(b.r.left))
		for _, id := range slices.Sorted(maps.Keys(b.r.left)) {
			l := LeftOut{ID: id, Reason: b.r.left[id].reason}
			if !slices.Contains(b.old, l) {
				b.r.log.Error("app is left out: requests to its hosts are denied", "app_id", l.ID, "reason", l.Reason)
			}
			left = append(left, l)
		}
	}
	b.r.view.Store(&View{hosts: b.hosts.CommitOnly(), ids: b.ids.CommitOnly(), left: left})
}

// addStored adds an app of the store, unless the config file has that id.
func (b *builder) addStored(app *authz.App) {
	if b.r.Configured(app.ID) {
		b.r.log.Warn("the config file replaces the stored app of the same id", "app_id", app.ID)
		return
	}
	b.add(app)
}

// add puts an app into the view, or leaves it out and says why. Its id is not
// in the view.
func (b *builder) add(app *authz.App) {
	if reason := b.obstacle(app); reason != "" {
		b.leave(app.ID, leftOut{app: app, reason: reason})
		return
	}
	for _, h := range app.Hosts {
		b.hosts.Insert([]byte(bareName(h)), app)
	}
	b.ids.Insert([]byte(app.ID), app)
	if _, was := b.r.left[app.ID]; was {
		delete(b.r.left, app.ID)
		b.dirty = true
		b.r.log.Info("app is served again", "app_id", app.ID)
	}
}

// obstacle says why an app cannot be served, if so.
func (b *builder) obstacle(app *authz.App) string {
	if b.r.ownerGone != nil && b.r.ownerGone(app.OrganizationID) {
		return "its organization " + app.OrganizationID + " was deleted"
	}
	for _, h := range app.Hosts {
		name := bareName(h)
		if id, ok := b.r.configuredHosts[name]; ok && id != app.ID {
			return "the config file gives its host " + name + " to " + id
		}
		if other, ok := b.hosts.Get([]byte(name)); ok && other.ID != app.ID {
			return "its host " + name + " is owned by " + other.ID
		}
	}
	if err := b.r.checkSlugs(app, false); err != nil {
		return problem(err)
	}
	return ""
}

func (b *builder) leave(id string, l leftOut) {
	if b.r.Configured(id) && l.app != b.r.configured[id] {
		b.r.log.Warn("the config file replaces the stored app of the same id", "app_id", id)
		return
	}
	b.r.left[id] = l
	b.dirty = true
}

// removeStored takes an app of the store out of the view.
func (b *builder) removeStored(id string) {
	if b.r.Configured(id) {
		return
	}
	if _, was := b.r.left[id]; was {
		delete(b.r.left, id)
		b.dirty = true
	}
	app, ok := b.ids.Delete([]byte(id))
	if !ok {
		return
	}
	for _, h := range app.Hosts {
		b.hosts.Delete([]byte(bareName(h)))
	}
}

// retry looks again at the apps that were left out: what was in their way may
// be gone.
func (b *builder) retry() {
	for _, id := range slices.Sorted(maps.Keys(b.r.left)) {
		if app := b.r.left[id].app; app != nil {
			b.add(app)
		}
	}
}
