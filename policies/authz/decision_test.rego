package battery.authz_test

import data.battery.authz

crm := {
	"id": "crm.acme",
	"organization_id": "org_acme",
	"host": "crm.acme.battery.localhost",
	"allowed_roles": ["admin", "editor"],
	"public": false,
	"labels": {},
}

session := {
	"id": "session_1",
	"user_id": "prof_1",
	"email": "ada@acme.test",
	"organization_id": "org_acme",
	"connection_id": "conn_1",
	"kind": "sso",
	"issued_at": "2020-01-01T00:00:00Z",
	"expires_at": "2020-01-02T00:00:00Z",
	"claims": {},
}

user := {
	"id": "directory_user_1",
	"directory_id": "directory_1",
	"state": "active",
	"groups": [{"id": "directory_group_1", "name": "Engineering"}],
	"roles": ["editor", "member"],
	"attributes": {},
}

machine := object.union(session, {
	"id": "token_1", "user_id": "ci@acme", "email": "", "connection_id": "", "kind": "jwt",
	"claims": {"iss": "https://issuer.acme.test", "roles": ["editor"]},
})

request := {
	"method": "GET",
	"scheme": "https",
	"host": "crm.acme.battery.localhost",
	"path": "/a/b",
	"segments": ["a", "b"],
	"headers": {},
	"client_ip": "",
	"gateway": "127.0.0.1",
}

good := {
	"request": request,
	"app": crm,
	"session": session,
	"user": user,
	"sync": {"stale": false},
}

public_app := object.union(crm, {"id": "status.acme", "public": true, "allowed_roles": []})

# Each case changes the good input in the parts it names.
cases := {
	"a role of the app admits": {
		"change": {},
		"allow": true, "code": "role", "roles": ["editor", "member"],
		"message": "The user has a role that this app admits.",
	},
	"two roles of the app admit once": {
		"change": {"user": object.union(user, {"roles": ["admin", "editor"]})},
		"allow": true, "code": "role", "roles": ["admin", "editor"],
		"message": "The user has a role that this app admits.",
	},
	"nobody reaches a public app": {
		"change": {"app": public_app, "session": null, "user": null},
		"allow": true, "code": "public", "roles": [],
		"message": "This app is open to everyone.",
	},
	"an inactive user of another organization reaches a public app": {
		"change": {
			"app": public_app,
			"session": object.union(session, {"organization_id": "org_globex"}),
			"user": object.union(user, {"state": "inactive"}),
		},
		"allow": true, "code": "public", "roles": ["editor", "member"],
		"message": "This app is open to everyone.",
	},
	"a public app says public to those who have a role, too": {
		"change": {"app": object.union(public_app, {"allowed_roles": ["editor"]})},
		"allow": true, "code": "public", "roles": ["editor", "member"],
		"message": "This app is open to everyone.",
	},
	"no session": {
		"change": {"session": null, "user": null},
		"allow": false, "code": "no_session", "roles": [],
		"message": "Nobody is signed in.",
	},
	"no session, whatever user comes with it": {
		"change": {"session": null},
		"allow": false, "code": "no_session", "roles": [],
		"message": "Nobody is signed in.",
	},
	"a session of another organization, with the role": {
		"change": {"session": object.union(session, {"organization_id": "org_globex", "email": "gil@globex.test"})},
		"allow": false, "code": "wrong_organization", "roles": ["editor", "member"],
		"message": "gil@globex.test is signed in to another organization than the one crm.acme belongs to.",
	},
	"a session of another organization, user unknown": {
		"change": {"session": object.union(session, {"organization_id": "org_globex"}), "user": null},
		"allow": false, "code": "wrong_organization", "roles": [],
		"message": "ada@acme.test is signed in to another organization than the one crm.acme belongs to.",
	},
	"a user the directory does not know": {
		"change": {"user": null},
		"allow": false, "code": "user_unknown", "roles": [],
		"message": "ada@acme.test is signed in, but the organization's directory does not list this user.",
	},
	"a session without an e-mail address": {
		"change": {"user": null, "session": object.union(session, {"email": ""})},
		"allow": false, "code": "user_unknown", "roles": [],
		"message": "The user is signed in, but the organization's directory does not list this user.",
	},
	"an inactive user with the role": {
		"change": {"user": object.union(user, {"state": "inactive"})},
		"allow": false, "code": "user_inactive", "roles": ["editor", "member"],
		"message": "ada@acme.test is inactive in the organization's directory; only active users are admitted.",
	},
	"a state that nobody has heard of": {
		"change": {"user": object.union(user, {"state": "Active"})},
		"allow": false, "code": "user_inactive", "roles": ["editor", "member"],
		"message": "ada@acme.test is Active in the organization's directory; only active users are admitted.",
	},
	"the wrong role": {
		"change": {"user": object.union(user, {"roles": ["member"]})},
		"allow": false, "code": "no_allowed_role", "roles": ["member"],
		"message": "ada@acme.test has the role member; crm.acme admits admin, editor.",
	},
	"two wrong roles": {
		"change": {"user": object.union(user, {"roles": ["member", "viewer"]})},
		"allow": false, "code": "no_allowed_role", "roles": ["member", "viewer"],
		"message": "ada@acme.test has the roles member, viewer; crm.acme admits admin, editor.",
	},
	"no role at all": {
		"change": {"user": object.union(user, {"roles": []})},
		"allow": false, "code": "no_allowed_role", "roles": [],
		"message": "ada@acme.test has no roles; crm.acme admits admin, editor.",
	},
	"an app that admits no role admits nobody": {
		"change": {"app": object.union(crm, {"allowed_roles": []})},
		"allow": false, "code": "no_allowed_role", "roles": ["editor", "member"],
		"message": "ada@acme.test has the roles editor, member; crm.acme admits nobody.",
	},
	"no role and an app that admits none do not meet": {
		"change": {"app": object.union(crm, {"allowed_roles": []}), "user": object.union(user, {"roles": []})},
		"allow": false, "code": "no_allowed_role", "roles": [],
		"message": "ada@acme.test has no roles; crm.acme admits nobody.",
	},
	"a role that only looks like one of the app's": {
		"change": {"user": object.union(user, {"roles": ["Editor", "edit", "editors"]})},
		"allow": false, "code": "no_allowed_role", "roles": ["Editor", "edit", "editors"],
		"message": "ada@acme.test has the roles Editor, edit, editors; crm.acme admits admin, editor.",
	},
	"the group's name is no role": {
		"change": {"app": object.union(crm, {"allowed_roles": ["Engineering", "directory_group_1"]})},
		"allow": false, "code": "no_allowed_role", "roles": ["editor", "member"],
		"message": "ada@acme.test has the roles editor, member; crm.acme admits Engineering, directory_group_1.",
	},
	"a machine with a role of the app": {
		"change": {"session": machine, "user": null},
		"allow": true, "code": "role", "roles": ["editor"],
		"message": "The machine's token has a role that this app admits.",
	},
	"a service token with a role of the app": {
		"change": {"session": object.union(machine, {"kind": "service_token"}), "user": null},
		"allow": true, "code": "role", "roles": ["editor"],
		"message": "The machine's token has a role that this app admits.",
	},
	"a machine without roles": {
		"change": {"session": claiming([]), "user": null},
		"allow": false, "code": "no_allowed_role", "roles": [],
		"message": "The machine ci@acme has no roles; crm.acme admits admin, editor.",
	},
	"a machine with the wrong role": {
		"change": {"session": claiming(["member"]), "user": null},
		"allow": false, "code": "no_allowed_role", "roles": ["member"],
		"message": "The machine ci@acme has the role member; crm.acme admits admin, editor.",
	},
	"a machine at an app that admits nobody": {
		"change": {"session": machine, "user": null, "app": object.union(crm, {"allowed_roles": []})},
		"allow": false, "code": "no_allowed_role", "roles": ["editor"],
		"message": "The machine ci@acme has the role editor; crm.acme admits nobody.",
	},
	"a machine of another organization, with the role": {
		"change": {"session": object.union(machine, {"organization_id": "org_globex"}), "user": null},
		"allow": false, "code": "wrong_organization", "roles": ["editor"],
		"message": "The machine ci@acme is signed in to another organization than the one crm.acme belongs to.",
	},
	"a machine reaches a public app": {
		"change": {"app": public_app, "session": claiming([]), "user": null},
		"allow": true, "code": "public", "roles": [],
		"message": "This app is open to everyone.",
	},
	"a person whose claims say roles has none by them": {
		"change": {"session": object.union(session, {"claims": {"roles": ["editor"]}}), "user": null},
		"allow": false, "code": "user_unknown", "roles": [],
		"message": "ada@acme.test is signed in, but the organization's directory does not list this user.",
	},
	"a kind that nobody has heard of is no machine": {
		"change": {"session": object.union(machine, {"kind": "JWT"}), "user": null},
		"allow": false, "code": "user_unknown", "roles": [],
		"message": "The user is signed in, but the organization's directory does not list this user.",
	},
	"stale data does not deny by itself": {
		"change": {"sync": {"stale": true}},
		"allow": true, "code": "role", "roles": ["editor", "member"],
		"message": "The user has a role that this app admits.",
	},
}

claiming(roles) := object.union(machine, {"claims": {"roles": roles}})

# Whole replacement of the parts named: object.union would merge an app's labels.
changed(change) := {part: object.get(change, part, value) | some part, value in good}

test_ladder[name] if {
	some name, case in cases
	got := authz.decision with input as changed(case.change)
	got == {
		"allow": case.allow,
		"reasons": [{"code": case.code, "message": case.message}],
		"roles": case.roles,
		"headers": {},
	}
}

# With deny_when_stale, stale data closes all but public apps.
stale_cases := {
	"the right role": {"change": {}, "code": "directory_stale", "roles": ["editor", "member"]},
	"the wrong role": {
		"change": {"user": object.union(user, {"roles": ["member"]})},
		"code": "directory_stale", "roles": ["member"],
	},
	"no user": {"change": {"user": null}, "code": "directory_stale", "roles": []},
	"no session": {"change": {"session": null, "user": null}, "code": "no_session", "roles": []},
	"another organization": {
		"change": {"session": object.union(session, {"organization_id": "org_globex"}), "user": null},
		"code": "wrong_organization", "roles": [],
	},
}

test_stale_denies_where_the_operator_says_so[name] if {
	some name, case in stale_cases
	got := authz.decision with input as object.union(changed(case.change), {"sync": {"stale": true}})
		with data.battery.settings as {"deny_when_stale": true}
	got.allow == false
	[reason.code | some reason in got.reasons] == [case.code]
	got.roles == case.roles
}

test_stale_says_nothing_about_machines if {
	got := authz.decision with input as changed({"session": machine, "user": null, "sync": {"stale": true}})
		with data.battery.settings as {"deny_when_stale": true}
	got.allow == true
	got.reasons[0].code == "role"
}

test_a_machine_without_a_list_of_roles_is_denied if {
	every claims in [{}, {"roles": []}, {"roles": [["editor"]]}, {"role": ["editor"]}] {
		got := authz.decision with input as changed({"session": object.remove(machine, ["claims"]), "user": null})
			with input.session.claims as claims
		got.allow == false
	}
}

test_stale_leaves_public_apps_open if {
	got := authz.decision with input as changed({"app": public_app, "session": null, "user": null, "sync": {"stale": true}})
		with data.battery.settings as {"deny_when_stale": true}
	got.allow == true
	got.reasons[0].code == "public"
}

test_fresh_data_is_not_stale if {
	got := authz.decision with input as good with data.battery.settings as {"deny_when_stale": true}
	got.allow == true
}

test_stale_does_not_deny_where_the_operator_says_no if {
	got := authz.decision with input as changed({"sync": {"stale": true}})
		with data.battery.settings as {"deny_when_stale": false}
	got.allow == true
}

# An input that breaks its schema is denied, never admitted.
broken := [
	{},
	{"app": {}, "session": {}, "user": {}},
	{"app": {"public": "true"}},
	{"app": {"public": 1}},
	object.remove(good, ["app"]),
	object.remove(good, ["session"]),
	object.remove(good, ["user"]),
	object.union(good, {"session": {"organization_id": null}}),
	object.union(good, {"user": {"state": null}}),
	{"app": object.remove(crm, ["organization_id"]), "session": object.remove(session, ["organization_id"]), "user": user},
]

test_broken_input_is_denied if {
	count(broken) == 10
	every value in broken {
		got := authz.decision with input as value
		got.allow == false
		count(got.reasons) == 1
	}
}

test_nothing_at_all_is_denied_by_default if {
	got := authz.decision with input as {}
	got == {
		"allow": false,
		"reasons": [{"code": "policy_undefined", "message": "The policy gives no answer to this request."}],
		"roles": [],
		"headers": {},
	}
}
