package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

func (a *API) listTokens(c *gin.Context) error {
	all, err := a.Tokens.List(c.Request.Context())
	if err != nil {
		return err
	}
	return page(c, all, func(t Token) string { return t.ID })
}

type newToken struct {
	Name           string   `json:"name"`
	Scopes         []string `json:"scopes"`
	TTL            string   `json:"ttl"`             // a Go duration such as 720h; empty: never expires
	OrganizationID string   `json:"organization_id"` // empty: bound to none
}

func (a *API) createToken(c *gin.Context) error {
	in, err := body[newToken](c)
	if err != nil {
		return err
	}
	var ttl time.Duration
	if in.TTL != "" {
		if ttl, err = time.ParseDuration(in.TTL); err != nil || ttl <= 0 {
			return problem(http.StatusUnprocessableEntity, "ttl must be a duration such as 720h.")
		}
	}
	if err := a.mayMake(c, in, ttl); err != nil {
		return err
	}
	if in.OrganizationID != "" {
		if _, ok := a.Directory.View().Organization(in.OrganizationID); !ok {
			return invalid("The token is not valid.", []FieldError{{Field: "organization_id", Message: "is not an organization here"}})
		}
	}
	token, secret, err := a.Tokens.CreateBound(c.Request.Context(), in.OrganizationID, in.Name, in.Scopes, ttl)
	if errors.Is(err, ErrInvalidToken) {
		return problem(http.StatusUnprocessableEntity, err.Error())
	}
	if err != nil {
		return err
	}
	made(c, token) // and not its secret
	a.Log.InfoContext(c.Request.Context(), "token created", "token_id", token.ID, "scopes", token.Scopes, "actor", actorID(c))
	c.JSON(http.StatusCreated, struct {
		Token
		Secret string `json:"token"`
	}{token, secret})
	return nil
}

// tokenState is what the audit shows of the token that a path names.
func (a *API) tokenState(c *gin.Context) any {
	t, err := a.Tokens.Get(c.Request.Context(), c.Param("id"))
	if err != nil {
		return nil
	}
	return t
}

func (a *API) revokeToken(c *gin.Context) error {
	id := c.Param("id")
	if err := a.Tokens.Revoke(c.Request.Context(), id); err != nil {
		if errors.Is(err, ErrUnknownToken) {
			return problem(http.StatusNotFound, "No token has this id.")
		}
		return err
	}
	a.Log.InfoContext(c.Request.Context(), "token revoked", "token_id", id)
	c.Status(http.StatusNoContent)
	return nil
}
