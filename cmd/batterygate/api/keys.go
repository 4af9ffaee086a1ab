package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/sso"
)

// purposes are what keys are rotated for.
var purposes = []string{"assertions", "sessions", "tickets"}

// KeyRotator rotates the keys that sign.
type KeyRotator interface {
	// Rotate makes a new key for a purpose. What the old one made stays good for
	// as long as it may live.
	Rotate(ctx context.Context, purpose string) error
	KeyInfo(ctx context.Context) ([]KeyInfo, error)
}

// KeyInfo is what may be told of a key.
type KeyInfo struct {
	Purpose   string     `json:"purpose"`
	ID        string     `json:"id"`
	State     string     `json:"state"` // next, signing or verifying
	Created   time.Time  `json:"created"`
	SignsFrom *time.Time `json:"signs_from"`
	RetiresAt *time.Time `json:"retires_at"`
}

func (k KeyInfo) key() string { return k.Purpose + "/" + k.ID }

var errNoRotation = problem(http.StatusConflict, "The keys of this server are not rotated through the API.")

func (a *API) listKeys(c *gin.Context) error {
	if a.Keys == nil {
		return errNoRotation
	}
	all, err := a.Keys.KeyInfo(c.Request.Context())
	if err != nil {
		return err
	}
	sortBy(all, KeyInfo.key)
	return page(c, all, KeyInfo.key)
}

func (a *API) rotateKey(c *gin.Context) error {
	if a.Keys == nil {
		return errNoRotation
	}
	purpose := c.Param("purpose")
	if !slices.Contains(purposes, purpose) {
		return problem(http.StatusNotFound, "Keys are for assertions, sessions or tickets.")
	}
	err := a.Keys.Rotate(c.Request.Context(), purpose)
	if errors.Is(err, sso.ErrRotating) {
		return problem(http.StatusConflict, "A new key was made a moment ago and does not sign yet; wait until it does.")
	}
	if err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// keyState is what the audit shows of the keys of a purpose: ids, never keys.
func (a *API) keyState(c *gin.Context) any {
	if a.Keys == nil {
		return nil
	}
	all, err := a.Keys.KeyInfo(c.Request.Context())
	if err != nil {
		return map[string]string{"unreadable": err.Error()}
	}
	return slices.DeleteFunc(all, func(k KeyInfo) bool { return k.Purpose != c.Param("purpose") })
}
