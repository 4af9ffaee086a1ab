# METADATA
# title: May this actor do this to Battery Gate itself?
# description: >-
#   The admin API and the console ask before every act. This policy is compiled
#   apart from the one that guards apps, so that whoever may write the one
#   cannot write the other.
# scope: package
# schemas:
#   - input: schema.admin_input
#   - data.battery.settings: schema.settings
package battery.admin

# METADATA
# title: The decision
# description: >-
#   An object {allow, reasons: [{code, message}]}. An actor is a "token", which
#   carries scopes, or a "session", a person signed in to the console, who
#   carries roles. An action is named resource.verb ("decisions.list"). Reads
#   are the actions that end in ".read" or ".list".
# entrypoint: true
# custom:
#   reason_codes:
#     - operator
#     - auditor
#     - scope
#     - other_organization
#     - not_an_operator
#     - missing_scope
#     - missing_role
#     - unknown_actor
default decision := {
	"allow": false,
	"reasons": [{"code": "unknown_actor", "message": "Only tokens and signed-in operators may use the admin API."}],
}

decision := refused("other_organization", sprintf(
	"This token is bound to organization %s and may not act outside it.",
	[input.actor.organization_id],
)) if {
	input.actor.kind == "token"
	not within_its_organization
} else := admitted("operator", "The token is an operator's.") if {
	input.actor.kind == "token"
	"operator" in input.actor.scopes
} else := admitted("scope", "The token may read.") if {
	input.actor.kind == "token"
	"read" in input.actor.scopes
	is_read
} else := admitted("scope", sprintf("The token has a scope for %s.", [input.action])) if {
	input.actor.kind == "token"
	some scope in input.actor.scopes
	covers(scope, input.action)
} else := refused("missing_scope", sprintf("The token has no scope for %s.", [input.action])) if {
	input.actor.kind == "token"
} else := refused(
	"not_an_operator",
	"Only users of the operators' organization may use the admin API.",
) if {
	input.actor.kind == "session"
	not is_of_operators
} else := admitted("operator", "The user is an operator.") if {
	input.actor.kind == "session"
	"battery:operator" in input.actor.roles
} else := admitted("auditor", "The user is an auditor.") if {
	input.actor.kind == "session"
	"battery:auditor" in input.actor.roles
	is_read
} else := refused("missing_role", sprintf("The user has no role for %s.", [input.action])) if {
	input.actor.kind == "session"
}

# METADATA
# title: A token bound to an organization stays in it
# description: >-
#   A token without an organization, and one of the operators' organization,
#   are bound to none.
within_its_organization if input.actor.organization_id == ""

within_its_organization if is_of_operators

within_its_organization if input.actor.organization_id == input.resource.organization_id

# METADATA
# title: The actor belongs to the operators' organization
# description: >-
#   Not where none is configured: an empty setting must not meet an empty
#   organization.
is_of_operators if {
	data.battery.settings.operators_organization != ""
	input.actor.organization_id == data.battery.settings.operators_organization
}

# METADATA
# title: The action changes nothing
is_read if endswith(input.action, ".read")

is_read if endswith(input.action, ".list")

# METADATA
# title: A scope covers an action
# description: >-
#   It names the action, or it ends in ".*" and names what comes before. A bare
#   "*" covers nothing: everything is the scope "operator".
covers(scope, action) if {
	scope == action
	contains(action, ".")
}

covers(scope, action) if {
	endswith(scope, ".*")
	prefix := trim_suffix(scope, "*")
	prefix != "."
	startswith(action, prefix)
}

admitted(code, message) := {"allow": true, "reasons": [{"code": code, "message": message}]}

refused(code, message) := {"allow": false, "reasons": [{"code": code, "message": message}]}
