package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/gin-gonic/gin"

	"battery.app/gate/sync/workosapi"
)

// intents are what an Admin Portal link may be for (WorkOS's own words).
var intents = []string{"sso", "dsync", "domain_verification", "audit_logs", "log_streams", "certificate_renewal"}

type newPortalLink struct {
	Intent     string `json:"intent"`
	ReturnURL  string `json:"return_url"`
	SuccessURL string `json:"success_url"`
}

// createPortalLink makes a link with which a customer's IT admin sets up the
// connection or directory. Whoever holds it may: it lives five minutes at
// WorkOS and is never logged.
func (a *API) createPortalLink(c *gin.Context) error {
	in, err := body[newPortalLink](c)
	if err != nil {
		return err
	}
	o, err := a.findOrganization(c)
	if err != nil {
		return err
	}
	var faults []FieldError
	if !slices.Contains(intents, in.Intent) {
		faults = append(faults, FieldError{"intent", "is none of sso, dsync, domain_verification, audit_logs, log_streams, certificate_renewal"})
	}
	for field, u := range map[string]string{"return_url": in.ReturnURL, "success_url": in.SuccessURL} {
		if u != "" && !a.leadsBack(o.ID, u) {
			faults = append(faults, FieldError{field, "is neither on the public URL nor on an app of this organization"})
		}
	}
	if len(faults) > 0 {
		return invalid("The portal link is not valid.", faults)
	}
	link, err := a.Portal.PortalLink(c.Request.Context(), o.ID, in.Intent, in.ReturnURL, in.SuccessURL)
	switch {
	case errors.Is(err, workosapi.ErrNotFound):
		return problem(http.StatusNotFound, "WorkOS does not know this organization.")
	case errors.Is(err, workosapi.ErrUnavailable), errors.Is(err, workosapi.ErrRateLimited):
		p := problem(http.StatusBadGateway, "WorkOS does not answer. Try again.")
		p.cause = err
		return p
	case err != nil:
		return err
	}
	made(c, in) // and not the link: whoever holds it may use it
	a.Log.InfoContext(c.Request.Context(), "portal link created", "organization_id", o.ID, "intent", in.Intent, "actor", actorID(c))
	c.JSON(http.StatusCreated, map[string]string{"link": link})
	return nil
}

// leadsBack reports whether an address is one that people of an organization
// may be sent to from WorkOS: ours, or an app of theirs.
func (a *API) leadsBack(org, raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Opaque != "" || u.Host == "" {
		return false
	}
	if u.Scheme == a.PublicURL.Scheme && u.Host == a.PublicURL.Host {
		return true
	}
	app, ok := a.Apps.View().App(u.Hostname())
	return ok && app.OrganizationID == org && app.HasOrigin(u.Scheme, u.Hostname(), u.Port())
}
