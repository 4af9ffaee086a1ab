package forward

import (
	"errors"
	"fmt"
	"strings"
)

// checkPrefix: identity headers must be ones that every gateway relays and that
// mean nothing else.
func checkPrefix(prefix string) error {
	switch {
	case !headerName(prefix) || !strings.HasSuffix(prefix, "-"):
		return fmt.Errorf("header prefix %q is not letters, digits and dashes that end in a dash", prefix)
	case credential(prefix) || forwarding(prefix) || controlsAnswer(prefix):
		return fmt.Errorf("header prefix %q has another meaning", prefix)
	}
	return nil
}

// checkPolicyHeaders: a policy must not be able to set identity, cookies,
// redirects or what gateways and apps take the request from.
func checkPolicyHeaders(prefix string, names []string) error {
	var faults []error
	seen := map[string]bool{}
	for _, n := range names {
		lower := strings.ToLower(n)
		switch {
		case !headerName(n):
			faults = append(faults, fmt.Errorf("policy header %q is not letters, digits and dashes", n))
		case seen[lower]:
			faults = append(faults, fmt.Errorf("policy header %q is declared twice", n))
		case strings.HasPrefix(lower, strings.ToLower(prefix)) || strings.HasPrefix(lower, "x-battery-"):
			faults = append(faults, fmt.Errorf("policy header %q is an identity header", n))
		case credential(n) || forwarding(n) || controlsAnswer(n):
			faults = append(faults, fmt.Errorf("policy header %q is a credential or decides how the request travels", n))
		}
		seen[lower] = true
	}
	return errors.Join(faults...)
}

// checkRequestHeaders: what a policy reads is recorded, so no credential may be
// among it; and how the request came to the gateway is never policy input.
func checkRequestHeaders(names []string) error {
	var faults []error
	for _, n := range names {
		switch {
		case !headerName(n) || n != strings.ToLower(n):
			faults = append(faults, fmt.Errorf("request header %q is not lower-case letters, digits and dashes", n))
		case credential(n) || forwarding(n) || strings.EqualFold(n, SecretHeader):
			faults = append(faults, fmt.Errorf("request header %q is a credential or says only how the request travelled", n))
		}
	}
	return errors.Join(faults...)
}

func headerName(n string) bool { return n != "" && all(n, plain) }

func credential(n string) bool {
	switch strings.ToLower(n) {
	case "cookie", "set-cookie", "authorization", "www-authenticate":
		return true
	}
	return strings.HasPrefix(strings.ToLower(n), "proxy-")
}

// forwarding: headers from which gateways and apps take the request's address.
func forwarding(n string) bool {
	n = strings.ToLower(n)
	switch n {
	case "host", "forwarded", "x-real-ip", "x-http-method", "x-http-method-override", "x-method-override":
		return true
	}
	return hasAnyPrefix(n, "x-forwarded-", "x-original-", "x-rewrite-", "x-envoy-")
}

// controlsAnswer: headers that mean something to the gateway that reads the
// answer, or to the connection.
func controlsAnswer(n string) bool {
	n = strings.ToLower(n)
	switch n {
	case "location", "refresh", "connection", "upgrade", "te", "trailer", "transfer-encoding", "keep-alive",
		"cache-control", "date", "vary", "allow", "server":
		return true
	}
	return hasAnyPrefix(n, "content-", "sec-", "access-control-")
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
