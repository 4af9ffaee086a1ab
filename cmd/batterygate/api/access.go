package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

func (a *API) listTokens(c *gin.Context) error {
	if err := a.allow(c, "tokens.list", resource("token", "", "")); err != nil {
		return err
	}
	all, err := a.Tokens.List(c.Request.Context())
	if err != nil {
		return err
	}
	return page(c, all, func(t Token) string { return t.ID })
}

type newToken struct {
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
	TTL    string   `json:"ttl"` // a Go duration such as 720h; empty: never expires
}

func (a *API) createToken(c *gin.Context) error {
	if err := a.allow(c, "tokens.create", resource("token", "", "")); err != nil {
		return err
	}
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
	token, secret, err := a.Tokens.Create(c.Request.Context(), in.Name, in.Scopes, ttl)
	if err != nil {
		return invalidToken(err)
	}
	a.Log.InfoContext(c.Request.Context(), "token created", "token_id", token.ID, "scopes", token.Scopes)
	c.JSON(http.StatusCreated, struct {
		Token
		Secret string `json:"token"`
	}{token, secret})
	return nil
}

// invalidToken: what Create refuses before it reaches the store is the
// caller's fault.
func invalidToken(err error) error {
	if errors.Unwrap(err) == nil {
		return problem(http.StatusUnprocessableEntity, err.Error())
	}
	return err
}

func (a *API) revokeToken(c *gin.Context) error {
	id := c.Param("id")
	if err := a.allow(c, "tokens.revoke", resource("token", id, "")); err != nil {
		return err
	}
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
