package settings

import (
	"fmt"
	"time"

	"battery.app/gate/cmd/batterygate/words"
)

// short is a role that somebody may have made up.
func short(role string) string {
	if len(role) > 64 {
		role = role[:64]
	}
	return words.Quoted(role)
}

// moment is a time as people say it and as it is.
type moment struct {
	Known   bool
	Ago     string // "12 minutes ago"
	At      string // "1 March 2026, 12:00 UTC"
	Machine string // RFC 3339
}

func momentOf(t, now time.Time) moment {
	if t.IsZero() || t.Unix() <= 0 {
		return moment{}
	}
	t = t.UTC()
	return moment{Known: true, Ago: ago(now.Sub(t)), At: t.Format("2 January 2006, 15:04 UTC"), Machine: t.Format(time.RFC3339)}
}

func ago(d time.Duration) string {
	switch {
	case d < -time.Minute:
		return "in " + words.Lasting(-d)
	case d < time.Minute:
		return "less than a minute ago"
	}
	return words.Lasting(d) + " ago"
}

// typeNames are WorkOS's names of connection and directory types, as people know
// them. Others are shown as WorkOS writes them.
var typeNames = map[string]string{
	"OktaSAML": "Okta (SAML)", "AzureSAML": "Microsoft Entra ID (SAML)", "EntraIdSAML": "Microsoft Entra ID (SAML)", "ADFSSAML": "AD FS (SAML)",
	"GoogleSAML": "Google Workspace (SAML)", "OneLoginSAML": "OneLogin (SAML)", "JumpCloudSAML": "JumpCloud (SAML)", "PingFederateSAML": "PingFederate (SAML)",
	"PingOneSAML": "PingOne (SAML)", "GenericSAML": "SAML", "GenericOIDC": "OpenID Connect", "GoogleOAuth": "Google", "MicrosoftOAuth": "Microsoft",
	"okta scim v2.0": "Okta (SCIM)", "azure scim v2.0": "Microsoft Entra ID (SCIM)", "generic scim v2.0": "SCIM", "generic scim v1.1": "SCIM",
	"onelogin scim v2.0": "OneLogin (SCIM)", "jump cloud scim v2.0": "JumpCloud (SCIM)", "gsuite directory": "Google Workspace", "workday": "Workday",
}

func typeName(s string) string {
	if n, ok := typeNames[s]; ok {
		return n
	}
	return words.Shown(s)
}

// status is a state in words, and how it looks; the look never says more than
// the words do.
type status struct {
	Text string
	Look string // "good", "warn", "bad" or nothing
}

// connectionState is a connection's state in words (WorkOS's vocabulary, of
// events and of the REST API).
func connectionState(s string) status {
	switch s {
	case "active":
		return status{"Working", "good"}
	case "draft", "validating":
		return status{"Being set up: nobody can sign in through it yet", "warn"}
	case "inactive":
		return status{"Switched off: nobody can sign in through it", "bad"}
	case "deleting":
		return status{"Being deleted", "bad"}
	}
	return status{fmt.Sprintf("Unknown (%s)", words.Shown(s)), "warn"}
}

func directoryState(s string, linked bool) status {
	switch {
	case linked:
		return status{"Connected", "good"}
	case s == "validating", s == "requires_type":
		return status{"Being set up: its people and groups do not count yet", "warn"}
	case s == "invalid_credentials":
		return status{"Not connected: its credentials do not work any more", "bad"}
	case s == "inactive", s == "unlinked":
		return status{"Not connected: its people and groups do not count", "bad"}
	case s == "deleting":
		return status{"Being deleted", "bad"}
	}
	return status{fmt.Sprintf("Unknown (%s): its people and groups do not count", words.Shown(s)), "warn"}
}

func domainState(s string) status {
	switch s {
	case "verified", "legacy_verified":
		return status{"Verified", "good"}
	case "pending":
		return status{"Not verified yet", "warn"}
	case "failed":
		return status{"Verification failed", "bad"}
	}
	return status{fmt.Sprintf("Unknown (%s)", words.Shown(s)), "warn"}
}
