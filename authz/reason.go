package authz

// Reason says why a decision is what it is: a stable code for machines and a
// sentence for people.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Reason codes of the engine and the doors. The shipped policy uses the first
// groups as well; an operator's policy may add its own.
const (
	CodePublic = "public"
	CodeRole   = "role"

	CodeCORSPreflight = "cors_preflight" // the app lets preflights pass; the policy was not asked

	CodeNoSession      = "no_session"
	CodeSessionExpired = "session_expired"
	CodeSessionRevoked = "session_revoked"

	CodeTokenInvalid  = "token_invalid"     // malformed, not ours, forged, revoked
	CodeTokenExpired  = "token_expired"     // it was good once
	CodeTokenAudience = "token_audience"    // good, but not for this app
	CodeTokenKey      = "token_key_unknown" // its issuer's keys, as we have them, lack the one it names

	CodeWrongOrganization = "wrong_organization"
	CodeUserUnknown       = "user_unknown"
	CodeUserInactive      = "user_inactive"
	CodeNoAllowedRole     = "no_allowed_role"
	CodeDirectoryStale    = "directory_stale"

	CodeUnknownHost      = "unknown_host"
	CodeAmbiguousPath    = "ambiguous_path"
	CodeReservedPath     = "reserved_path" // below /.battery/ on an app host, which policy never sees
	CodeMalformedRequest = "malformed_request"
	CodeUntrustedPeer    = "untrusted_peer"

	CodePolicyUndefined = "policy_undefined"
	CodePolicyError     = "policy_error"
	CodePolicyTimeout   = "policy_timeout"
)

// messages are the sentences for codes that Go gives; a policy brings its own.
var messages = map[string]string{
	CodeCORSPreflight:    "The app answers CORS preflight requests itself.",
	CodeNoSession:        "Nobody is signed in.",
	CodeSessionExpired:   "The session has expired.",
	CodeSessionRevoked:   "The session was ended.",
	CodeTokenInvalid:     "The access token is not valid.",
	CodeTokenExpired:     "The access token has expired.",
	CodeTokenAudience:    "The access token is not for this app.",
	CodeTokenKey:         "The key of the access token is not known.",
	CodeUnknownHost:      "No app is registered for this host.",
	CodeAmbiguousPath:    "The path can be read in more than one way.",
	CodeReservedPath:     "This path is reserved for signing in and out.",
	CodeMalformedRequest: "The gateway's question is malformed.",
	CodeUntrustedPeer:    "The asking peer is not a trusted gateway.",
	CodePolicyUndefined:  "The policy gives no answer to this request.",
	CodePolicyError:      "The policy could not be evaluated.",
	CodePolicyTimeout:    "The policy took longer than its time budget.",
}

// Because returns the Reason of a code with its standard sentence.
func Because(code string) Reason { return Reason{Code: code, Message: messages[code]} }
