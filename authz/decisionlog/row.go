package decisionlog

import (
	"time"

	"battery.app/gate/authz"
)

// Row is one recorded decision, as the API shows it. Strings are empty when
// unknown; lists are never null.
type Row struct {
	ID             string         `json:"id"` // UUIDv7
	Time           Timestamp      `json:"time"`
	Result         string         `json:"result"` // allow, deny or challenge
	Status         int            `json:"status"` // the HTTP status of the answer
	Reasons        []authz.Reason `json:"reasons"`
	Roles          []string       `json:"roles"`
	OrganizationID string         `json:"organization_id"`
	AppID          string         `json:"app_id"`
	UserID         string         `json:"user_id"` // WorkOS profile id
	Email          string         `json:"email"`
	SessionID      string         `json:"session_id"`
	Gateway        string         `json:"gateway"`
	Method         string         `json:"method"`
	Host           string         `json:"host"` // host[:port]
	Path           string         `json:"path"`
	Reading        string         `json:"reading,omitempty"` // the reading of path that the policy did not allow, where it allowed path itself
	PolicyRevision string         `json:"policy_revision"`
	DataRevision   uint64         `json:"data_revision"`
	DurationUS     int64          `json:"duration_us"`
	Cached         bool           `json:"cached"`
	TraceID        string         `json:"trace_id"`

	// Input is what the policy saw. Only Log.Decision fills it.
	Input *Input `json:"input,omitempty"`
}

// Timestamp is a time in UTC, to the microsecond, and written so in JSON: RFC
// 3339 always with six decimals, so that rows sort as text.
type Timestamp struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000000Z"`), nil
}

func timestamp(micros int64) Timestamp { return Timestamp{time.UnixMicro(micros).UTC()} }
