package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/probe"
)

type newProbe struct {
	AppID string `json:"app_id"`
	TTL   string `json:"ttl"` // a Go duration, at most 30m; empty: 10m
}

// theNewProbe: who may send probes through an app's gateway is asked of the app's
// organization.
func (a *API) theNewProbe(c *gin.Context) (engine.Resource, error) {
	in, org := peek[newProbe](c), ""
	if app, ok := a.Apps.View().ByID(in.AppID); ok {
		org = app.OrganizationID
	}
	return resource("probe", "", org), nil
}

func (a *API) theProbe(c *gin.Context) (engine.Resource, error) {
	org := ""
	if p, ok := a.probe(c); ok {
		org = p.OrganizationID
	}
	return resource("probe", c.Param("id"), org), nil
}

func (a *API) probe(c *gin.Context) (probe.Probe, bool) {
	if a.Probes == nil {
		return probe.Probe{}, false
	}
	return a.Probes.Get(c.Param("id"))
}

func (a *API) createProbe(c *gin.Context) error {
	in, err := body[newProbe](c)
	if err != nil {
		return err
	}
	ttl := probe.DefaultTTL
	if in.TTL != "" {
		if ttl, err = time.ParseDuration(in.TTL); err != nil || ttl <= 0 || ttl > probe.MaxTTL {
			return invalid("The probe is not valid.", []FieldError{{"ttl", "must be a duration such as 10m, at most 30m"}})
		}
	}
	app, ok := a.Apps.View().ByID(in.AppID)
	if !ok {
		return invalid("The probe is not valid.", []FieldError{{"app_id", "is not an app"}})
	}
	if a.Probes == nil {
		return problem(http.StatusServiceUnavailable, "There are no probes here.")
	}
	p, token, revision, err := a.Probes.Create(c.Request.Context(), app, ttl)
	if errors.Is(err, probe.ErrTooMany) {
		return problem(http.StatusConflict, "As many probes live as may; end one, or wait for its end.")
	}
	if err != nil {
		return err
	}
	made(c, p) // and not its token
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "probe created", "probe_id", p.ID, "app_id", p.AppID, "expires_at", p.ExpiresAt, "actor", actorID(c))
	c.JSON(http.StatusCreated, struct {
		probe.Probe
		Token string `json:"token"`
	}{p, token})
	return nil
}

var errNoProbe = problem(http.StatusNotFound, "No living probe has this id.")

func (a *API) getProbe(c *gin.Context) error {
	p, ok := a.probe(c)
	if !ok {
		return errNoProbe
	}
	seen, dropped := a.Probes.Seen(p.ID)
	if seen == nil {
		seen = []probe.Observation{}
	}
	c.JSON(http.StatusOK, struct {
		probe.Probe
		Observations []probe.Observation `json:"observations"`
		Dropped      int                 `json:"dropped"`
	}{p, seen, dropped})
	return nil
}

// probeState is what the audit shows of the probe that a path names.
func (a *API) probeState(c *gin.Context) any {
	if p, ok := a.probe(c); ok {
		return p
	}
	return nil
}

func (a *API) deleteProbe(c *gin.Context) error {
	if _, ok := a.probe(c); !ok {
		return errNoProbe
	}
	revision, ok, err := a.Probes.Delete(c.Request.Context(), c.Param("id"))
	switch {
	case err != nil:
		return err
	case !ok:
		return errNoProbe
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "probe ended", "probe_id", c.Param("id"), "actor", actorID(c))
	c.Status(http.StatusNoContent)
	return nil
}
