# METADATA
# title: May this user do this to a todo?
# description: >-
#   The todo scenario of the AuthZEN interoperability tests: an app asks about
#   one todo and says who owns it. Viewers read; editors also create todos, and
#   change and delete their own; admins delete any, evil geniuses change any.
#   Copy this directory's files into a policy directory, beside battery.authz.
# scope: package
# schemas:
#   - input: schema.authzen_input
package battery.authzen.todo

# METADATA
# title: The decision about a todo or its owner
# description: >-
#   An object {decision, context}. It is undefined, and so a deny, for whatever
#   is neither a todo nor a user.
decision := {"decision": true} if {
	is_about_todos
	permitted
} else := {"decision": false, "context": {"reason": sprintf("The user lacks %s.", [input.action.name])}} if {
	is_about_todos
}

is_about_todos if {
	input.subject.type == "user"
	input.resource.type in {"todo", "user"}
}

user := users[input.subject.id]

# METADATA
# title: The user has the permission
permitted if {
	input.resource.type == "user"
	input.action.name == "can_read_user"
	user
}

permitted if {
	input.resource.type == "todo"
	input.action.name == "can_read_todos"
	user
}

permitted if {
	input.resource.type == "todo"
	input.action.name == "can_create_todo"
	some role in user.roles
	role in {"editor", "admin"}
}

permitted if {
	input.resource.type == "todo"
	input.action.name in {"can_update_todo", "can_delete_todo"}
	"editor" in user.roles
	input.resource.properties.ownerID == user.email
}

permitted if {
	input.resource.type == "todo"
	input.action.name == "can_update_todo"
	"evil_genius" in user.roles
}

permitted if {
	input.resource.type == "todo"
	input.action.name == "can_delete_todo"
	"admin" in user.roles
}

# METADATA
# title: The scenario's people
# description: A real policy would read them from a data file.
users := {
	"CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {
		"email": "rick@the-citadel.com",
		"roles": ["admin", "evil_genius"],
	},
	"CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {
		"email": "morty@the-citadel.com",
		"roles": ["editor"],
	},
	"CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {
		"email": "summer@the-smiths.com",
		"roles": ["editor"],
	},
	"CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {
		"email": "beth@the-smiths.com",
		"roles": ["viewer"],
	},
	"CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {
		"email": "jerry@the-smiths.com",
		"roles": ["viewer"],
	},
}
