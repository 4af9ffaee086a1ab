package workosapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Organization is a customer.
type Organization struct {
	ID         string
	Name       string
	ExternalID string
	Domains    []string             // the names of Claims
	Claims     []OrganizationDomain // its domains with their state
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// NewOrganization is what CreateOrganization takes. Domains begin unverified:
// who owns one is for WorkOS to find out, not for us to claim.
type NewOrganization struct {
	Name       string
	Domains    []string
	ExternalID string // optional; unique
}

// CreateOrganization makes an organization. It is not retried, because WorkOS
// promises no idempotency for it. Raw: the SDK sends null lists and an empty
// Idempotency-Key.
func (c *Client) CreateOrganization(ctx context.Context, n NewOrganization) (Organization, error) {
	const op = "create organization"
	if n.Name == "" {
		return Organization{}, fmt.Errorf("%s: %w: it needs a name", op, ErrInvalid)
	}
	body := struct {
		Name       string       `json:"name"`
		DomainData []domainData `json:"domain_data,omitempty"`
		ExternalID string       `json:"external_id,omitempty"`
	}{Name: n.Name, ExternalID: n.ExternalID}
	for _, d := range n.Domains {
		body.DomainData = append(body.DomainData, domainData{d, DomainPending})
	}
	var got wireOrganization
	if err := c.raw(ctx, http.MethodPost, "/organizations", body, &got); err != nil {
		return Organization{}, fail(op, err)
	}
	if err := checkID(prefixOrganization, got.ID); err != nil {
		return Organization{}, fmt.Errorf("%s: %w: the answer names no organization", op, ErrUnavailable)
	}
	return got.value(), nil
}

// GetOrganization returns one organization, or ErrNotFound.
func (c *Client) GetOrganization(ctx context.Context, id string) (Organization, error) {
	return getOne[wireOrganization](ctx, c, "get organization", "/organizations", prefixOrganization, id)
}

// ListOrganizations returns every organization of the environment.
func (c *Client) ListOrganizations(ctx context.Context) ([]Organization, error) {
	return listAll[wireOrganization](ctx, c, "list organizations", "/organizations", prefixOrganization, url.Values{})
}

type wireOrganization struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	ExternalID string       `json:"external_id"`
	Domains    []wireDomain `json:"domains"`
	CreatedAt  string       `json:"created_at"`
	UpdatedAt  string       `json:"updated_at"`
}

func (w wireOrganization) key() string { return w.ID }

func (w wireOrganization) value() Organization {
	o := Organization{ID: w.ID, Name: w.Name, ExternalID: w.ExternalID,
		CreatedAt: parseTime(w.CreatedAt), UpdatedAt: parseTime(w.UpdatedAt)}
	for _, d := range w.Domains {
		o.Domains = append(o.Domains, d.Domain)
		o.Claims = append(o.Claims, d.value())
	}
	return o
}

// Intents of Admin Portal links.
const (
	IntentSSO                = "sso"
	IntentDirectorySync      = "dsync"
	IntentAuditLogs          = "audit_logs"
	IntentLogStreams         = "log_streams"
	IntentCertificateRenewal = "certificate_renewal"
	IntentDomainVerification = "domain_verification"
)

// PortalLink makes an Admin Portal link for a customer's IT admin. It lives
// five minutes, works for whoever holds it and cannot be revoked: hand it out
// at once and never log it. returnURL and successURL may be empty. Raw: the
// SDK sends empty URLs where none are given.
func (c *Client) PortalLink(ctx context.Context, organizationID, intent, returnURL, successURL string) (string, error) {
	const op = "make portal link"
	if err := checkID(prefixOrganization, organizationID); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	switch intent {
	case IntentSSO, IntentDirectorySync, IntentAuditLogs, IntentLogStreams, IntentCertificateRenewal, IntentDomainVerification:
	default:
		return "", fmt.Errorf("%s: %w: unknown intent %.40q", op, ErrInvalid, intent)
	}
	for _, s := range []string{returnURL, successURL} {
		if u, err := url.Parse(s); err != nil || (s != "" && (!u.IsAbs() || u.Host == "")) {
			return "", fmt.Errorf("%s: %w: return and success URL must be absolute", op, ErrInvalid)
		}
	}
	body := struct {
		Organization string `json:"organization"`
		Intent       string `json:"intent"`
		ReturnURL    string `json:"return_url,omitempty"`
		SuccessURL   string `json:"success_url,omitempty"`
	}{organizationID, intent, returnURL, successURL}
	var got struct {
		Link string `json:"link"`
	}
	if err := c.raw(ctx, http.MethodPost, "/portal/generate_link", body, &got); err != nil {
		return "", fail(op, err)
	}
	if u, err := url.Parse(got.Link); err != nil || !u.IsAbs() || u.Host == "" {
		return "", fmt.Errorf("%s: %w: the answer holds no link", op, ErrUnavailable)
	}
	return got.Link, nil
}
