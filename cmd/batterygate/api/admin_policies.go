package api

import (
	"context"
	"errors"
	"mime"
	"net/http"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/adminpolicy"
)

// maxBundle is the largest bundle that may be pushed, in bytes.
const maxBundle = 512 << 10

// AdminPolicies keeps the versions of the admin policy. *adminpolicy.Service
// does.
type AdminPolicies interface {
	List(ctx context.Context) ([]adminpolicy.Version, error)
	Push(ctx context.Context, author engine.Actor, bundle []byte) (adminpolicy.Version, error)
	Activate(ctx context.Context, author engine.Actor, revision string) (adminpolicy.Version, uint64, error)
	Rollback(ctx context.Context, author engine.Actor) (adminpolicy.Version, uint64, error)
}

var _ AdminPolicies = (*adminpolicy.Service)(nil)

var errNoVersions = problem(http.StatusConflict, "The admin policy of this server is the one that is built in.")

func (a *API) listAdminPolicies(c *gin.Context) error {
	if a.AdminPolicies == nil {
		return errNoVersions
	}
	all, err := a.AdminPolicies.List(c.Request.Context())
	if err != nil {
		return err
	}
	revision := func(v adminpolicy.Version) string { return v.Revision }
	sortBy(all, revision)
	return page(c, all, revision)
}

// pushAdminPolicy takes a bundle, whole: the version replaces all of the policy
// once it is activated.
func (a *API) pushAdminPolicy(c *gin.Context) error {
	if a.AdminPolicies == nil {
		return errNoVersions
	}
	if kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type")); err != nil || kind != "application/gzip" {
		return problem(http.StatusUnsupportedMediaType, "A bundle is sent as application/gzip.")
	}
	bundle := sent(c)
	if len(bundle) > maxBundle {
		return problem(http.StatusRequestEntityTooLarge, "A bundle is at most 512 KiB.")
	}
	v, err := a.AdminPolicies.Push(c.Request.Context(), actor(c), bundle)
	if err != nil {
		return policyProblem(err)
	}
	made(c, v)
	c.JSON(http.StatusCreated, v)
	return nil
}

func (a *API) activateAdminPolicy(c *gin.Context) error {
	if a.AdminPolicies == nil {
		return errNoVersions
	}
	v, revision, err := a.AdminPolicies.Activate(c.Request.Context(), actor(c), c.Param("revision"))
	return a.policyChanged(c, v, revision, err)
}

func (a *API) rollBackAdminPolicy(c *gin.Context) error {
	if a.AdminPolicies == nil {
		return errNoVersions
	}
	v, revision, err := a.AdminPolicies.Rollback(c.Request.Context(), actor(c))
	return a.policyChanged(c, v, revision, err)
}

func (a *API) policyChanged(c *gin.Context, v adminpolicy.Version, revision uint64, err error) error {
	if err != nil {
		return policyProblem(err)
	}
	if err := a.inForce(c, revision); err != nil {
		return err
	}
	a.Log.WarnContext(c.Request.Context(), "admin policy changed", "revision", v.Revision, "actor", actorID(c))
	c.JSON(http.StatusOK, v)
	return nil
}

// adminPolicyState is the version in force, for the audit.
func (a *API) adminPolicyState(c *gin.Context) any {
	if a.AdminPolicies == nil {
		return nil
	}
	all, err := a.AdminPolicies.List(c.Request.Context())
	if err != nil {
		return map[string]string{"unreadable": err.Error()}
	}
	for _, v := range all {
		if v.Status == adminpolicy.StatusActive {
			return v
		}
	}
	return nil
}

// policyProblem is the one table from the errors of admin policies to statuses.
func policyProblem(err error) error {
	var rejected adminpolicy.Rejected
	switch {
	case errors.As(err, &rejected):
		p := problem(http.StatusUnprocessableEntity, "The policy is not one that could be activated.")
		p.Errors = rejected.Errors
		return p
	case errors.Is(err, adminpolicy.ErrLockOut), errors.Is(err, adminpolicy.ErrNothingToRollBack), errors.Is(err, adminpolicy.ErrChanged):
		return problem(http.StatusConflict, err.Error())
	case errors.Is(err, adminpolicy.ErrNoVersion):
		return problem(http.StatusNotFound, err.Error())
	}
	return err
}
