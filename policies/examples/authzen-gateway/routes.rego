# METADATA
# title: May this subject call this route?
# description: >-
#   The API gateway scenario of the AuthZEN interoperability tests: a gateway
#   asks about a method (the action) and a route (the resource), knows nothing
#   about what lies behind the route, and leaves finer questions to the app.
#   Copy this directory's files into a policy directory, beside battery.authz.
# scope: package
# schemas:
#   - input: schema.authzen_input
package battery.authzen.routes

# METADATA
# title: The decision about a route
# description: >-
#   An object {decision, context}. It is undefined, and so a deny, for whatever
#   is no route.
decision := {"decision": true} if {
	is_route
	may_call
} else := {
	"decision": false,
	"context": {"reason": sprintf("%s %s is not for this subject.", [input.action.name, input.resource.id])},
} if {
	is_route
}

is_route if {
	input.subject.type == "identity"
	input.resource.type == "route"
}

# METADATA
# title: One of the subject's roles may call the route
may_call if {
	some role in subjects[input.subject.id]
	role in routes[input.resource.id][input.action.name]
}

# METADATA
# title: Which roles may call what
# description: Method by route. What is not listed is for nobody.
routes := {
	"/users/{userId}": {"GET": ["viewer", "editor", "admin", "evil_genius"]},
	"/todos": {
		"GET": ["viewer", "editor", "admin", "evil_genius"],
		"POST": ["editor", "admin"],
	},
	"/todos/{todoId}": {
		"PUT": ["editor", "evil_genius"],
		"DELETE": ["editor", "admin"],
	},
}

# METADATA
# title: The scenario's people
# description: >-
#   Subject to roles. A real policy would read them from a data file, or from
#   data.battery.role_mappings.
subjects := {
	"CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ["admin", "evil_genius"],
	"CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ["editor"],
	"CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ["editor"],
	"CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ["viewer"],
	"CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ["viewer"],
}
