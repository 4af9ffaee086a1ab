package standin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Event is one thing that happened, as the Events API and webhooks tell it.
type Event struct {
	Object    string          `json:"object"`
	ID        string          `json:"id"`
	Name      string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	CreatedAt Time            `json:"created_at"`
	Context   json.RawMessage `json:"context,omitempty"`
}

// Body is the event as a webhook's body: compact JSON without HTML escapes.
func (e Event) Body() ([]byte, error) { return compact(e) }

// Sign makes the value of the WorkOS-Signature header for a webhook's body:
// `t=<ms>, v1=<hex>`, an HMAC-SHA256 over "<ms>.<body>". The space belongs to
// it: WorkOS's Go SDK finds no signature without.
func Sign(secret string, at time.Time, body []byte) string {
	ms := at.UnixMilli()
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%d.%s", ms, body)
	return fmt.Sprintf("t=%d, v1=%s", ms, hex.EncodeToString(mac.Sum(nil)))
}

// logged is an event in the stand-in's log: with what /events filters by.
type logged struct {
	Event          Event  `json:"event"`
	OrganizationID string `json:"organization_id"`
	SeenAt         Time   `json:"seen_at"` // when it happened here, whatever created_at says
}

// organizationOf finds whose event it is.
func organizationOf(name string, data json.RawMessage) string {
	var d struct {
		ID             string `json:"id"`
		OrganizationID string `json:"organization_id"`
		User           struct {
			OrganizationID string `json:"organization_id"`
		} `json:"user"`
		Connection struct {
			OrganizationID string `json:"organization_id"`
		} `json:"connection"`
	}
	if json.Unmarshal(data, &d) != nil {
		return ""
	}
	switch {
	case d.OrganizationID != "":
		return d.OrganizationID
	case strings.HasPrefix(name, "organization."):
		return d.ID
	case d.User.OrganizationID != "":
		return d.User.OrganizationID
	}
	return d.Connection.OrganizationID
}
