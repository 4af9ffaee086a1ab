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
#   carries scopes, or a "session", a person who signed in, who carries roles.
#   An action is named resource.verb ("decisions.list"). Reads are the actions
#   that end in ".read" or ".list". People of the operators' organization are
#   operators and auditors by battery:* roles alone; people of any other
#   organization are its IT admins or nobody. A break-glass token never comes
#   here.
# entrypoint: true
# custom:
#   reason_codes:
#     - operator
#     - auditor
#     - it_admin
#     - scope
#     - other_organization
#     - not_an_operator
#     - missing_scope
#     - missing_role
#     - not_grantable
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
	is_open_read
} else := admitted("scope", sprintf("The token has a scope for %s.", [input.action])) if {
	input.actor.kind == "token"
	some scope in input.actor.scopes
	covers(scope, input.action)
} else := refused("missing_scope", sprintf("The token has no scope for %s.", [input.action])) if {
	input.actor.kind == "token"
} else := admitted("operator", "The user is an operator.") if {
	input.actor.kind == "session"
	is_of_operators
	"battery:operator" in input.actor.roles
} else := admitted("auditor", "The user is an auditor.") if {
	input.actor.kind == "session"
	is_of_operators
	"battery:auditor" in input.actor.roles
	is_read
	not is_guarded
} else := refused("missing_role", sprintf("The user has no role for %s.", [input.action])) if {
	input.actor.kind == "session"
	is_of_operators
} else := refused(
	"not_an_operator",
	"Only operators and the IT admins of an organization may do this.",
) if {
	input.actor.kind == "session"
	not is_it_admin
} else := refused("other_organization", "IT admins act on their own organization alone.") if {
	input.actor.kind == "session"
	input.actor.organization_id != input.resource.organization_id
} else := admitted("it_admin", "The user is an IT admin of this organization.") if {
	input.actor.kind == "session"
	input.action in it_admin_actions
} else := admitted("it_admin", "IT admins may map groups to this role.") if {
	input.actor.kind == "session"
	input.action == "role-mappings.grant"
	is_grantable
} else := refused(
	"not_grantable",
	sprintf("IT admins may not map groups to the role %s: it is not one that the operators marked as grantable.", [input.resource.id]),
) if {
	input.actor.kind == "session"
	input.action == "role-mappings.grant"
} else := refused("missing_role", sprintf("IT admins may not do %s.", [input.action])) if {
	input.actor.kind == "session"
}

# METADATA
# title: What IT admins may do in their own organization
# description: >-
#   Who writes role mappings is asked once for the whole, role-mappings.update,
#   and once for each role that changes, role-mappings.grant.
it_admin_actions := {
	"settings.read",
	"organizations.read",
	"directories.read",
	"role-mappings.read",
	"role-mappings.update",
	"portal-links.create",
}

# METADATA
# title: The actor is an IT admin of an organization
# description: >-
#   Never one of the operators' organization: who may open the Admin Portal
#   there could sign in as an operator. A battery:* role never makes one.
is_it_admin if {
	input.actor.organization_id != ""
	not is_of_operators
	some role in input.actor.roles
	not is_ours(role)
	role in data.battery.settings.it_admin_roles
}

# METADATA
# title: The role may be mapped by IT admins
# description: Never one that makes IT admins; they could make more of themselves.
is_grantable if {
	input.resource.type == "role"
	not is_ours(input.resource.id)
	not input.resource.id in data.battery.settings.it_admin_roles
	input.resource.id in data.battery.settings.grantable_roles
}

# METADATA
# title: The role is one of Battery Gate's own
is_ours(role) if startswith(lower(role), "battery:")

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
# title: The action is about who rules here
# description: >-
#   Keys and the admin policy itself. Whoever may change them may become
#   anything, so a scope must name the action in full, and of people only
#   operators come near.
is_guarded if startswith(input.action, "keys.")

is_guarded if startswith(input.action, "admin-policies.")

# METADATA
# title: The scope "read" covers the action
is_open_read if {
	is_read
	not is_guarded
}

is_open_read if {
	is_guarded
	endswith(input.action, ".list")
}

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
	not is_guarded
	endswith(scope, ".*")
	prefix := trim_suffix(scope, "*")
	prefix != "."
	startswith(action, prefix)
}

admitted(code, message) := {"allow": true, "reasons": [{"code": code, "message": message}]}

refused(code, message) := {"allow": false, "reasons": [{"code": code, "message": message}]}
