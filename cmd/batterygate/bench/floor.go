package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/cmd/batterygate/listen"
)

// allowHeaders is what an allow carries: as many headers, as long, as a user
// with two roles gets.
var allowHeaders = [][2]string{
	{"X-Battery-User-Id", "prof_01DXF6DT00000000000000000A"}, {"X-Battery-Org-Id", "org_01DXF6DT00000000000000000A"},
	{"X-Battery-User-Email", "user0000@acme.test"}, {"X-Battery-Roles", "editor,member"}, {"X-Battery-App-Id", "app00.acme"},
	{"X-Battery-Decision-Id", "0190f3c2-7b1e-7cc3-98c4-dc0c0c07398f"}, {"X-Battery-Groups", ""}, {"X-Battery-Assertion", ""},
}

// serveFloor answers 200 to everything, with the first n headers of an allow.
func serveFloor(ctx context.Context, addr string, n int) error {
	gin.SetMode(gin.ReleaseMode)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	r := gin.New()
	r.Use(gin.CustomRecovery(func(c *gin.Context, _ any) { c.AbortWithStatus(http.StatusForbidden) }))
	answer := func(c *gin.Context) {
		h := c.Writer.Header()
		for _, kv := range allowHeaders[:n] {
			h[kv[0]] = []string{kv[1]}
		}
		c.Writer.WriteHeader(http.StatusOK)
		c.Writer.WriteHeaderNow()
	}
	r.Any("/authz/forward-auth", answer)
	r.POST("/webhooks/workos", func(c *gin.Context) {
		if _, err := io.ReadAll(c.Request.Body); err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		answer(c)
	})
	r.NoRoute(func(c *gin.Context) {
		c.String(http.StatusNotFound, strings.ToLower(http.StatusText(http.StatusNotFound)))
	})
	return listen.Serve(ctx, listen.Server(r, slog.New(slog.DiscardHandler)), l, time.Second)
}
