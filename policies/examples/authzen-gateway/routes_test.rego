package battery.authzen_gateway_test

import data.battery.authzen

rick := "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"

morty := "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"

jerry := "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"

asked(subject, method, route) := {
	"subject": {"type": "identity", "id": subject, "properties": {}},
	"action": {"name": method, "properties": {}},
	"resource": {"type": "route", "id": route, "properties": {}},
	"context": {},
	"caller": {"id": "token_1", "organization_id": ""},
}

cases := {
	"a viewer reads": {"input": asked(jerry, "GET", "/todos"), "decision": true},
	"a viewer reads a user": {"input": asked(jerry, "GET", "/users/{userId}"), "decision": true},
	"a viewer creates nothing": {"input": asked(jerry, "POST", "/todos"), "decision": false},
	"an editor creates": {"input": asked(morty, "POST", "/todos"), "decision": true},
	"an editor changes and deletes": {"input": asked(morty, "PUT", "/todos/{todoId}"), "decision": true},
	"an evil genius changes": {"input": asked(rick, "PUT", "/todos/{todoId}"), "decision": true},
	"an admin deletes": {"input": asked(rick, "DELETE", "/todos/{todoId}"), "decision": true},
	"a stranger reads nothing": {"input": asked("nobody", "GET", "/todos"), "decision": false},
	"a route that is not listed": {"input": asked(rick, "GET", "/admin"), "decision": false},
	"a method that is not listed": {"input": asked(rick, "PATCH", "/todos"), "decision": false},
	"a method in lower case": {"input": asked(rick, "get", "/todos"), "decision": false},
}

test_cases[name] if {
	some name, case in cases
	got := authzen.decision with input as case.input
	got.decision == case.decision
}

test_what_is_no_route_is_not_answered if {
	not authzen.decision with input as object.union(asked(rick, "GET", "/todos"), {"resource": {"type": "todo"}})
}

test_what_is_no_identity_is_not_answered if {
	not authzen.decision with input as object.union(asked(rick, "GET", "/todos"), {"subject": {"type": "user"}})
}
