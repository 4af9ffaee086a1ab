package forward

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
)

// TestSealed holds the writer to its one promise with handlers that no door
// has: whatever they write, no 2xx leaves without a Decision that allows.
func TestSealed(t *testing.T) {
	for name, h := range map[string]gin.HandlerFunc{
		"silence":                func(*gin.Context) {},
		"gin's status":           func(c *gin.Context) { c.Status(200) },
		"text":                   func(c *gin.Context) { c.String(200, "ok") },
		"201":                    func(c *gin.Context) { c.Writer.WriteHeader(201); c.Writer.WriteHeaderNow() },
		"204":                    func(c *gin.Context) { c.AbortWithStatus(204) },
		"switching protocols":    func(c *gin.Context) { c.AbortWithStatus(101) },
		"500":                    func(c *gin.Context) { c.AbortWithStatus(500) },
		"a flush":                func(c *gin.Context) { c.Writer.Flush() },
		"a panic":                func(*gin.Context) { panic("boom") },
		"identity, then a panic": func(c *gin.Context) { c.Header("X-Battery-User-Id", "root"); panic("boom") },
		"identity, then silence": func(c *gin.Context) { c.Header("Set-Cookie", "a=b"); c.Header("X-Battery-User-Id", "root") },
		"an empty decision": func(c *gin.Context) {
			s := c.Writer.(interface{ Unwrap() http.ResponseWriter }).Unwrap().(*sealed)
			s.decision = &authz.Decision{}
			s.WriteHeader(200)
		},
	} {
		t.Run(name+" is an empty 403", func(t *testing.T) {
			e := gin.New()
			e.GET("/", h)
			rec := httptest.NewRecorder()
			func() {
				s := &sealed{w: rec}
				defer s.close()
				defer func() { _ = recover() }()
				e.ServeHTTP(s, httptest.NewRequest("GET", "/", nil))
			}()
			res := rec.Result()
			if res.StatusCode != 403 || rec.Body.Len() != 0 || res.Header.Get("X-Battery-User-Id") != "" || res.Header.Get("Set-Cookie") != "" {
				t.Errorf("%d %v %q", res.StatusCode, res.Header, rec.Body)
			}
		})
	}
}

// The same over gRPC: an answer that does not allow has no way to become one that
// Envoy reads so, whatever its status, and no 5xx leaves.
func TestNoAnswerButAnAllowIsOK(t *testing.T) {
	for _, status := range []int{0, 100, 200, 204, 299, 500, 503, 999} {
		out := checkResponse(answer{status: status, identity: []string{"root"}})
		if out.GetOkResponse() != nil || out.GetStatus().GetCode() == 0 || out.GetDeniedResponse().GetStatus().GetCode() != 403 {
			t.Errorf("%d became %v", status, out)
		}
	}
}
