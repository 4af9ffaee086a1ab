package feed

import (
	"context"
	"errors"
	"fmt"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

// worldRead is what a read of everything above the users found.
type worldRead struct {
	diff        directory.Difference
	directories []workosapi.Directory
	gone        map[string]bool // ids that WorkOS itself says it does not know
}

// world reconciles organizations, connections and directories: reads all three
// lists, asks for each that is missing by its id, and only then changes
// anything.
func (r *reconciler) world(ctx context.Context, dry bool) (out worldRead, err error) {
	t, end, err := r.begin(ctx, "", dry)
	if err != nil {
		return out, err
	}
	defer end()
	t.start()
	t.phase(phaseWorld)
	calls := t.watch(ctx)
	w, err := r.readWorld(calls, &out)
	if err != nil {
		return out, err
	}
	t.phase(phaseConfirm)
	missing := removals(r.o.Directory.CompareOrganizations(w))
	t.more(len(missing))
	out.gone = map[string]bool{}
	for _, ch := range missing {
		gone, err := r.confirmGone(calls, ch, &w, &out)
		if err != nil {
			return out, fmt.Errorf("confirm that %s is gone: %w", ch.ID, err)
		}
		if gone && !out.gone[ch.ID] {
			out.gone[ch.ID] = true
			w.Gone = append(w.Gone, ch.ID)
		}
	}
	t.phase(phaseApply)
	if dry {
		out.diff = r.o.Directory.CompareOrganizations(w)
		return out, nil
	}
	out.diff, err = r.o.Directory.ApplyOrganizations(ctx, w)
	if err != nil && !errors.Is(err, directory.ErrOldReading) {
		return out, err
	}
	r.o.publishedWithin(ctx, out.diff.Revision)
	return out, nil // an old reading: another replica read later, and was faster
}

func (r *reconciler) readWorld(ctx context.Context, out *worldRead) (directory.RemoteWorld, error) {
	w := directory.RemoteWorld{Started: r.o.Now()}
	now, err := r.o.serverNow(ctx)
	if err != nil {
		return w, err
	}
	w.Watermark = now.Add(-directory.WatermarkMargin)
	organizations, err := r.o.WorkOS.ListOrganizations(ctx)
	if err != nil {
		return w, err
	}
	connections, err := r.o.WorkOS.ListConnections(ctx, "")
	if err != nil {
		return w, err
	}
	if out.directories, err = r.o.WorkOS.ListDirectories(ctx, ""); err != nil {
		return w, err
	}
	for _, o := range organizations {
		w.Organizations = append(w.Organizations, remoteOrganization(o))
	}
	for _, c := range connections {
		w.Connections = append(w.Connections, remoteConnection(c))
	}
	for _, d := range out.directories {
		w.Directories = append(w.Directories, remoteDirectory(d))
	}
	w.OrganizationsComplete, w.ConnectionsComplete, w.DirectoriesComplete = true, true, true
	return w, nil
}

func remoteOrganization(o workosapi.Organization) directory.RemoteOrganization {
	return directory.RemoteOrganization{ID: o.ID, Name: o.Name, Domains: o.Domains}
}

func remoteConnection(c workosapi.Connection) directory.RemoteConnection {
	return directory.RemoteConnection{ID: c.ID, OrganizationID: c.OrganizationID, State: c.State, Type: c.Type, Name: c.Name}
}

func remoteDirectory(d workosapi.Directory) directory.RemoteDirectory {
	return directory.RemoteDirectory{ID: d.ID, OrganizationID: d.OrganizationID, State: d.State, Type: d.Type, Name: d.Name}
}

// confirmGone asks for one object that a list does not name. Only a 404 to its
// own id makes it gone; one that is there after all joins the list.
func (r *reconciler) confirmGone(ctx context.Context, ch directory.Change, w *directory.RemoteWorld, out *worldRead) (bool, error) {
	if err := r.other.Wait(ctx); err != nil {
		return false, err
	}
	var err error
	switch ch.Kind {
	case "organization":
		var o workosapi.Organization
		if o, err = r.o.WorkOS.GetOrganization(ctx, ch.ID); err == nil {
			w.Organizations = append(w.Organizations, remoteOrganization(o))
		}
	case "connection":
		var c workosapi.Connection
		if c, err = r.o.WorkOS.GetConnection(ctx, ch.ID); err == nil {
			w.Connections = append(w.Connections, remoteConnection(c))
		}
	case "directory":
		var d workosapi.Directory
		if d, err = r.o.WorkOS.GetDirectory(ctx, ch.ID); err == nil {
			w.Directories = append(w.Directories, remoteDirectory(d))
			out.directories = append(out.directories, d)
		}
	default:
		return false, nil
	}
	if errors.Is(err, workosapi.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// removals are all of a difference, whether they would happen now, are held or
// wait for something.
func removals(d directory.Difference) []directory.Change {
	var out []directory.Change
	for _, list := range [][]directory.Change{d.Changes, d.Held, d.Pending} {
		for _, ch := range list {
			if ch.Op == "remove" {
				out = append(out, ch)
			}
		}
	}
	return out
}
