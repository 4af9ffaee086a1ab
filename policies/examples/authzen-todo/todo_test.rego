package battery.authzen_todo_test

import data.battery.authzen

rick := "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"

morty := "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"

jerry := "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"

asked(subject, action, kind, owner) := {
	"subject": {"type": "user", "id": subject, "properties": {}},
	"action": {"name": action, "properties": {}},
	"resource": {"type": kind, "id": "1", "properties": owned(owner)},
	"context": {},
	"caller": {"id": "token_1", "organization_id": ""},
}

owned(owner) := {} if {
	owner == ""
} else := {"ownerID": owner}

cases := {
	"anybody known reads users": {"input": asked(jerry, "can_read_user", "user", ""), "decision": true},
	"anybody known reads todos": {"input": asked(jerry, "can_read_todos", "todo", ""), "decision": true},
	"a stranger reads no users": {"input": asked("nobody", "can_read_user", "user", ""), "decision": false},
	"a stranger reads no todos": {"input": asked("nobody", "can_read_todos", "todo", ""), "decision": false},
	"a viewer creates nothing": {"input": asked(jerry, "can_create_todo", "todo", ""), "decision": false},
	"an editor creates": {"input": asked(morty, "can_create_todo", "todo", ""), "decision": true},
	"an admin creates": {"input": asked(rick, "can_create_todo", "todo", ""), "decision": true},
	"an editor changes the own": {
		"input": asked(morty, "can_update_todo", "todo", "morty@the-citadel.com"),
		"decision": true,
	},
	"an editor deletes the own": {
		"input": asked(morty, "can_delete_todo", "todo", "morty@the-citadel.com"),
		"decision": true,
	},
	"an editor leaves others' alone": {
		"input": asked(morty, "can_update_todo", "todo", "rick@the-citadel.com"),
		"decision": false,
	},
	"an editor leaves nobody's alone": {"input": asked(morty, "can_delete_todo", "todo", ""), "decision": false},
	"a viewer does not even change the own": {
		"input": asked(jerry, "can_update_todo", "todo", "jerry@the-smiths.com"),
		"decision": false,
	},
	"an evil genius changes any": {
		"input": asked(rick, "can_update_todo", "todo", "morty@the-citadel.com"),
		"decision": true,
	},
	"an admin deletes any": {
		"input": asked(rick, "can_delete_todo", "todo", "morty@the-citadel.com"),
		"decision": true,
	},
	"an action that nobody has heard of": {"input": asked(rick, "can_fly", "todo", ""), "decision": false},
	"an action on another kind of thing": {"input": asked(rick, "can_read_todos", "user", ""), "decision": false},
}

test_cases[name] if {
	some name, case in cases
	got := authzen.decision with input as case.input
	got.decision == case.decision
}

test_what_is_no_todo_is_not_answered if {
	not authzen.decision with input as asked(rick, "can_read_todos", "route", "")
}
