# METADATA
# title: May this request reach this app?
# description: >-
#   The question that gateways ask. A ladder: the first rung whose conditions
#   hold gives the answer. It admits a request to a public app, an active user
#   of the app's organization who has a role the app admits, and a machine of
#   that organization whose token was given such a role. Every other rung denies
#   and says why, in words that the person on the denial page can act on.
# scope: package
# schemas:
#   - input: schema.input
#   - data.battery.settings: schema.settings
# custom:
#   messages: shown to people; they name the roles the user has and those the app admits
package battery.authz

# METADATA
# title: Default deny
# description: >-
#   No rung below holds only if the input is not what the schema says. Nothing
#   is admitted then.
# custom:
#   reason_codes: [policy_undefined]
default decision := {
	"allow": false,
	"reasons": [{"code": "policy_undefined", "message": "The policy gives no answer to this request."}],
	"roles": [],
	"headers": {},
}

# METADATA
# title: The decision
# description: >-
#   An object {allow, reasons: [{code, message}], roles, headers}. `roles` are
#   all the user's or machine's roles, on a deny too, so that the record tells
#   what there was. The rungs that deny never bear on a public app.
# entrypoint: true
# custom:
#   order: >-
#     `public` stays first: below `role`, a public app would answer "role" to
#     those who are signed in. `role` comes before the rungs that deny because
#     most questions end there; only staleness has to be asked before it.
#   reason_codes:
#     - public
#     - directory_stale
#     - role
#     - no_session
#     - wrong_organization
#     - user_unknown
#     - user_inactive
#     - no_allowed_role
decision := {
	"allow": true,
	"reasons": [{"code": "public", "message": "This app is open to everyone."}],
	"roles": roles,
	"headers": {},
} if {
	input.app.public == true
} else := {
	"allow": false,
	"reasons": [{"code": "directory_stale", "message": sprintf(
		"What is known of the directory of %s's organization is too old to admit anyone.",
		[input.app.id],
	)}],
	"roles": roles,
	"headers": {},
} if {
	# Off unless the operator asks for it: a directory that WorkOS cannot
	# deliver for an hour should not close every app by itself.
	input.sync.stale == true
	data.battery.settings.deny_when_stale
	input.session.organization_id == input.app.organization_id
	not is_machine # its roles are configured; no directory has them
} else := {
	"allow": true,
	"reasons": [{"code": "role", "message": "The user has a role that this app admits."}],
	"roles": input.user.roles,
	"headers": {},
} if {
	input.session.organization_id == input.app.organization_id
	input.user.state == "active"
	some role in input.user.roles
	role in input.app.allowed_roles
} else := {
	"allow": true,
	"reasons": [{"code": "role", "message": "The machine's token has a role that this app admits."}],
	"roles": roles,
	"headers": {},
} if {
	is_machine
	input.session.organization_id == input.app.organization_id
	some role in input.session.claims.roles
	role in input.app.allowed_roles
} else := {
	"allow": false,
	"reasons": [{"code": "no_session", "message": "Nobody is signed in."}],
	"roles": [],
	"headers": {},
} if {
	is_null(input.session)
} else := {
	"allow": false,
	"reasons": [{"code": "wrong_organization", "message": sprintf(
		"%s is signed in to another organization than the one %s belongs to.",
		[who, input.app.id],
	)}],
	"roles": roles,
	"headers": {},
} if {
	input.session.organization_id != input.app.organization_id
} else := {
	"allow": false,
	"reasons": [{"code": "no_allowed_role", "message": sprintf("%s has %s; %s admits %s.", [
		who,
		held(roles),
		input.app.id,
		listed(input.app.allowed_roles),
	])}],
	"roles": roles,
	"headers": {},
} if {
	is_machine
} else := {
	"allow": false,
	"reasons": [{"code": "user_unknown", "message": sprintf(
		"%s is signed in, but the organization's directory does not list this user.",
		[who],
	)}],
	"roles": [],
	"headers": {},
} if {
	is_null(input.user)
} else := {
	"allow": false,
	"reasons": [{"code": "user_inactive", "message": sprintf(
		"%s is %s in the organization's directory; only active users are admitted.",
		[who, input.user.state],
	)}],
	"roles": roles,
	"headers": {},
} if {
	input.user.state != "active"
} else := {
	"allow": false,
	"reasons": [{"code": "no_allowed_role", "message": sprintf("%s has %s; %s admits %s.", [
		who,
		held(roles),
		input.app.id,
		listed(input.app.allowed_roles),
	])}],
	"roles": roles,
	"headers": {},
} if {
	# No condition is left: the user is active and in the right organization.
	# The message needs all of the input, so a broken input ends at the default.
	input.user.state == "active"
}

# METADATA
# title: A program asks, not a person
# description: >-
#   The session is what a bearer token stands for. No directory knows a machine;
#   its roles are those that the token's or its issuer's configuration gives.
is_machine if input.session.kind in {"jwt", "service_token"}

# METADATA
# title: All the roles of who asks
# description: >-
#   Sorted: a machine's, or the user's as the directory gives them; none where
#   there is neither.
default roles := []

roles := input.session.claims.roles if {
	is_machine
} else := input.user.roles

# METADATA
# title: What to call who asks
default who := "The user"

who := sprintf("The machine %s", [input.session.user_id]) if {
	is_machine
} else := input.session.email if {
	input.session.email != ""
}

# METADATA
# title: The roles that somebody has, in words
held(names) := "no roles" if {
	count(names) == 0
} else := sprintf("the role %s", [names[0]]) if {
	count(names) == 1
} else := sprintf("the roles %s", [concat(", ", names)])

# METADATA
# title: The roles that an app admits, in words
# description: An app that lists no role admits nobody.
listed(names) := "nobody" if {
	count(names) == 0
} else := concat(", ", names)
