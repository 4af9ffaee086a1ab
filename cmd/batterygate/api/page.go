package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"sort"
	"strconv"

	"github.com/gin-gonic/gin"
)

// The page sizes of every list.
const (
	defaultLimit = 50
	maxLimit     = 500
	maxBody      = 1 << 20
)

// TotalHeader says how many there are on all pages of a list that is kept in
// memory: those of the audit and of decisions do not say.
const TotalHeader = "X-Total-Count"

// list is what every list answers.
type list[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

// limit reads ?limit=.
func limit(c *gin.Context) (int, error) {
	s := c.Query("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, problem(http.StatusBadRequest, "limit must be a number from 1 to "+strconv.Itoa(maxLimit)+".")
	}
	return n, nil
}

// page cuts a list that is sorted by key into the page that ?cursor= and
// ?limit= ask for. A cursor names the last key of the page before, so entries
// that come or go move no other entry.
func page[T any](c *gin.Context, all []T, key func(T) string) error {
	n, err := limit(c)
	if err != nil {
		return err
	}
	start := 0
	if cur := c.Query("cursor"); cur != "" {
		after, err := base64.RawURLEncoding.DecodeString(cur)
		if err != nil {
			return problem(http.StatusBadRequest, "cursor is not one that this server gave.")
		}
		start = sort.Search(len(all), func(i int) bool { return key(all[i]) > string(after) })
	}
	out := list[T]{Data: all[start:min(start+n, len(all))]}
	if len(out.Data) == 0 {
		out.Data = []T{}
	}
	if start+n < len(all) {
		next := base64.RawURLEncoding.EncodeToString([]byte(key(out.Data[len(out.Data)-1])))
		out.NextCursor = &next
	}
	c.Header(TotalHeader, strconv.Itoa(len(all)))
	c.JSON(http.StatusOK, out)
	return nil
}

// body decodes a request's JSON strictly: unknown members, trailing data and
// oversized bodies are the caller's faults, told as such.
func body[T any](c *gin.Context) (T, error) {
	var v T
	dec := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, problem(http.StatusBadRequest, "The body is not the JSON this needs: "+err.Error())
	}
	if _, err := dec.Token(); err != io.EOF {
		return v, problem(http.StatusBadRequest, "The body holds more than one JSON value.")
	}
	return v, nil
}

func sortBy[T any](all []T, key func(T) string) {
	sort.Slice(all, func(i, j int) bool { return key(all[i]) < key(all[j]) })
}
