package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
)

// CatchUp is what keeps the directory true beside the webhooks.
type CatchUp interface {
	// Reconcile reads WorkOS in full, one directory or (empty) all, and applies
	// what differs; dry only tells.
	Reconcile(ctx context.Context, dir string, dry bool) ([]directory.Difference, error)
	Status() feed.Status
}

// reconcileTime is how long a request may wait for a full read: WorkOS allows
// a few requests a second, so large directories take minutes.
const reconcileTime = 30 * time.Minute

// syncBody is GET /sync. Without catching up the directories are listed all the
// same: webhooks bring events.
type syncBody struct {
	CatchUp bool `json:"catch_up"` // false: webhooks alone
	feed.Status
}

func (a *API) getSync(c *gin.Context) error {
	out := syncBody{CatchUp: a.CatchUp != nil}
	if a.CatchUp != nil {
		out.Status = a.CatchUp.Status()
	} else {
		out.Reconciling, out.Directories = []feed.Progress{}, feed.DirectoriesOf(a.Directory.View())
	}
	c.JSON(http.StatusOK, out)
	return nil
}

type reconcileRequest struct {
	DryRun bool `json:"dry_run"`
}

type changeBody struct {
	Kind    string `json:"kind"`
	Op      string `json:"op"`
	ID      string `json:"id,omitempty"`
	UserID  string `json:"user_id,omitempty"`
	GroupID string `json:"group_id,omitempty"`
	Name    string `json:"name,omitempty"`
}

type differenceBody struct {
	Directory string       `json:"directory_id"`
	Changes   []changeBody `json:"changes"`
	Held      []changeBody `json:"held"`    // removals that wait for an operator
	Pending   []changeBody `json:"pending"` // what waits for a second read
}

func shownChanges(in []directory.Change) []changeBody {
	out := make([]changeBody, 0, len(in))
	for _, x := range in {
		out = append(out, changeBody{Kind: x.Kind, Op: x.Op, ID: x.ID, UserID: x.UserID, GroupID: x.GroupID, Name: x.Name})
	}
	return out
}

// reconcileAll is POST /sync/reconcile.
func (a *API) reconcileAll(c *gin.Context) error {
	return a.reconcile(c, "")
}

// reconcileOne is POST /directories/{id}/reconcile.
func (a *API) reconcileOne(c *gin.Context) error {
	d, err := a.findDirectory(c)
	if err != nil {
		return err
	}
	return a.reconcile(c, d.ID)
}

func (a *API) reconcile(c *gin.Context, dir string) error {
	if a.CatchUp == nil {
		return problem(http.StatusConflict, "Catching up is turned off (sync.catch_up); directories follow webhooks alone.")
	}
	in := reconcileRequest{}
	if c.Request.ContentLength != 0 {
		var err error
		if in, err = body[reconcileRequest](c); err != nil {
			return err
		}
	}
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(reconcileTime))
	ctx, cancel := context.WithTimeout(c.Request.Context(), reconcileTime)
	defer cancel()
	all, err := a.CatchUp.Reconcile(ctx, dir, in.DryRun)
	made(c, counted(all, in.DryRun))
	out := struct {
		DryRun      bool             `json:"dry_run"`
		Differences []differenceBody `json:"differences"`
		Errors      []string         `json:"errors,omitempty"`
	}{DryRun: in.DryRun, Differences: []differenceBody{}}
	for _, d := range all {
		out.Differences = append(out.Differences, differenceBody{
			Directory: d.Directory, Changes: shownChanges(d.Changes), Held: shownChanges(d.Held), Pending: shownChanges(d.Pending),
		})
	}
	if err != nil {
		a.Log.ErrorContext(c.Request.Context(), "reconcile on demand", "directory_id", dir, "dry_run", in.DryRun, "error", err)
		if len(all) == 0 {
			if errors.Is(err, feed.ErrNotLinked) {
				return problem(http.StatusConflict, "The directory is not linked at WorkOS, so there is nothing to read.")
			}
			p := problem(http.StatusBadGateway, "WorkOS could not be read to the end, so nothing was changed; the log says why.")
			p.cause = err
			return p
		}
		out.Errors = []string{"Not every directory could be read to the end; those that could not are unchanged. The log says why."}
	}
	for _, d := range all {
		if d.Revision > 0 {
			if err := a.inForce(c, d.Revision); err != nil {
				return err
			}
		}
	}
	c.JSON(http.StatusOK, out)
	return nil
}

// counted is what the audit shows of a reconcile: how much, not what. The
// directory's own records say that.
func counted(all []directory.Difference, dry bool) any {
	type count struct {
		Directory string `json:"directory_id"`
		Changes   int    `json:"changes"`
		Held      int    `json:"held"`
		Pending   int    `json:"pending"`
	}
	out := struct {
		DryRun      bool    `json:"dry_run"`
		Directories []count `json:"directories"`
	}{DryRun: dry, Directories: []count{}}
	for _, d := range all {
		out.Directories = append(out.Directories, count{d.Directory, len(d.Changes), len(d.Held), len(d.Pending)})
	}
	return out
}

// directoryState is what the audit shows of a directory that a path names.
func (a *API) directoryState(c *gin.Context) any {
	view, id := a.Directory.View(), c.Param("id")
	if _, ok := view.Directory(id); !ok {
		return nil
	}
	by, _, paused := view.Paused(id)
	out := map[string]any{"paused": paused, "paused_by": by}
	if h, ok := view.Hold(id); ok {
		h.Listed = nil
		out["hold"] = h
	}
	return out
}

// approveBrake lets the held removals of a directory happen.
func (a *API) approveBrake(c *gin.Context) error {
	d, err := a.findDirectory(c)
	if err != nil {
		return err
	}
	revision, err := a.Directory.Approve(c.Request.Context(), d.ID, actorID(c))
	if err != nil {
		return directoryProblem(err)
	}
	return a.brakeDone(c, d, revision, "held removals approved")
}

type extendRequest struct {
	Until time.Time `json:"until"`
}

// extendBrake keeps the held removals of a directory waiting for longer.
func (a *API) extendBrake(c *gin.Context) error {
	in, err := body[extendRequest](c)
	if err != nil {
		return err
	}
	d, err := a.findDirectory(c)
	if err != nil {
		return err
	}
	revision, err := a.Directory.Extend(c.Request.Context(), d.ID, actorID(c), in.Until)
	if err != nil {
		return directoryProblem(err)
	}
	return a.brakeDone(c, d, revision, "hold extended")
}

type pauseRequest struct {
	Paused *bool `json:"paused"` // said, one way or the other: a slip must not bring roles back
}

// pauseDirectory takes a directory's roles out of force, or puts them back.
func (a *API) pauseDirectory(c *gin.Context) error {
	in, err := body[pauseRequest](c)
	if err != nil {
		return err
	}
	if in.Paused == nil {
		return invalid("Nothing was said.", []FieldError{{"paused", "is true or false"}})
	}
	d, err := a.findDirectory(c)
	if err != nil {
		return err
	}
	revision, err := a.Directory.Pause(c.Request.Context(), d.ID, actorID(c), *in.Paused)
	if err != nil {
		return directoryProblem(err)
	}
	what := "directory resumed"
	if *in.Paused {
		what = "directory paused"
	}
	return a.brakeDone(c, d, revision, what)
}

func (a *API) brakeDone(c *gin.Context, d directory.Info, revision uint64, what string) error {
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "sync act", "act", what, "directory_id", d.ID, "organization_id", d.OrganizationID, "actor", actorID(c))
	c.Status(http.StatusNoContent)
	return nil
}
