package standin

import "time"

// sessionEvent is the payload of session.created and session.revoked: a session
// of WorkOS's own, which standalone SSO does not have. It can be told all the
// same, because a receiver must know what to do with it.
type sessionEvent struct {
	Object         string   `json:"object"`
	ID             string   `json:"id"`
	IPAddress      Nullable `json:"ip_address"`
	OrganizationID string   `json:"organization_id,omitempty"`
	UserAgent      Nullable `json:"user_agent"`
	UserID         string   `json:"user_id"`
	AuthMethod     string   `json:"auth_method"`
	Status         string   `json:"status"`
	ExpiresAt      Time     `json:"expires_at"`
	EndedAt        *Time    `json:"ended_at"`
	CreatedAt      Time     `json:"created_at"`
	UpdatedAt      Time     `json:"updated_at"`
}

// sessionTold completes session.created and session.revoked. data.user_id says
// whose session it is.
func (st *state) sessionTold(name string, data object, m moment) (change, error) {
	s := sessionEvent{
		Object: "session", ID: m.id("session_"), UserID: data.str("user_id"), AuthMethod: "sso", Status: "active",
		ExpiresAt: Time{m.at.Add(24 * time.Hour)}, CreatedAt: m.at, UpdatedAt: m.at,
	}
	if s.UserID == "" {
		return change{}, unprocessable("data.user_id is required")
	}
	o, named, err := st.namedOrganization(data)
	if err != nil {
		return change{}, err
	}
	if named {
		s.OrganizationID = o.ID
	}
	if name == "session.revoked" {
		s.Status, s.EndedAt = "revoked", &m.at
	}
	payload, err := overlay(s, data.without("organization"))
	return change{name: name, payload: payload}, err
}

// directoryToken is the payload of dsync.token.created and dsync.token.revoked.
type directoryToken struct {
	Object         string `json:"object"`
	ID             string `json:"id"`
	DirectoryID    string `json:"directory_id"`
	OrganizationID string `json:"organization_id"`
	Suffix         string `json:"token_suffix"`
	CreatedAt      Time   `json:"created_at"`
}

func (st *state) tokenTold(name string, data object, m moment) (change, error) {
	d, err := st.impliedDirectory(data, "")
	if err != nil {
		return change{}, err
	}
	payload, err := overlay(directoryToken{
		Object: "directory_token", ID: m.id("directory_token_"), DirectoryID: d.ID, OrganizationID: d.OrganizationID,
		Suffix: token()[:4], CreatedAt: m.at,
	}, fieldsOf(data))
	return change{name: name, payload: payload}, err
}

// certificateTold completes connection.saml_certificate_renewal_required and
// connection.saml_certificate_renewed.
func (st *state) certificateTold(name string, data object, m moment) (change, error) {
	c, err := st.aboutConnection(data)
	if err != nil {
		return change{}, err
	}
	expiry := Time{m.at.Add(30 * 24 * time.Hour)}
	certificate := map[string]any{"certificate_type": "ResponseSigning", "expiry_date": expiry}
	base := map[string]any{"connection": map[string]string{"id": c.ID, "organization_id": c.OrganizationID}, "certificate": certificate}
	if name == "connection.saml_certificate_renewed" {
		base["renewed_at"] = m.at
	} else {
		base["days_until_expiry"], certificate["is_expired"] = 30, false
	}
	payload, err := overlay(base, fieldsOf(data).without("id", "connection", "organization_id"))
	return change{name: name, payload: payload}, err
}
