package workosapi

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The prefixes of WorkOS ids.
const (
	prefixOrganization = "org_"
	prefixConnection   = "conn_"
	prefixDirectory    = "directory_"
	prefixGroup        = "directory_group_"
	prefixUser         = "directory_user_"
	prefixDomain       = "org_domain_"
)

// checkID refuses what is not an id of the kind. The SDK puts ids into paths
// unescaped, so a "/" or "?" in one would call another endpoint with our key.
// WorkOS's are ULIDs after the prefix; test environments and stand-ins use
// other letters, so any short run of letters, digits, "_" and "-" passes.
func checkID(prefix, id string) error {
	rest, ok := strings.CutPrefix(id, prefix)
	if !ok || rest == "" || len(rest) > 64 {
		return fmt.Errorf("%w: %.80q is not a WorkOS id that starts with %s", ErrInvalid, id, prefix)
	}
	for i := range len(rest) {
		c := rest[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return fmt.Errorf("%w: %.80q is not a WorkOS id that starts with %s", ErrInvalid, id, prefix)
		}
	}
	return nil
}

// parseTime reads WorkOS's timestamps. One that cannot be read is the zero
// time, which loses to every other: its sample pages show a form without zone.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// loopback reports whether a host name can only be this machine.
func loopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
