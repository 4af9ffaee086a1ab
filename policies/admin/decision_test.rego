package battery.admin_test

import data.battery.admin

settings := {
	"operators_organization": "org_operators",
	"it_admin_roles": ["it-admin", "battery:operator"],
	"grantable_roles": ["it-admin", "editor", "member", "battery:auditor", "Battery:Operator"],
}

token(scopes) := {"kind": "token", "id": "token_1", "organization_id": "", "roles": [], "scopes": scopes}

bound(organization, scopes) := object.union(token(scopes), {"organization_id": organization})

person(organization, roles) := {
	"kind": "session", "id": "session_1",
	"organization_id": organization, "roles": roles, "scopes": [],
}

of(organization) := {"type": "apps", "id": "crm.acme", "organization_id": organization}

cases := {
	"an operator token does everything": {
		"actor": token(["operator"]), "action": "policies.activate",
		"allow": true, "code": "operator",
	},
	"an operator token with other scopes still does": {
		"actor": token(["decisions.list", "operator"]), "action": "tokens.create",
		"allow": true, "code": "operator",
	},
	"a read token lists": {"actor": token(["read"]), "action": "decisions.list", "allow": true, "code": "scope"},
	"a read token reads": {"actor": token(["read"]), "action": "decisions.read", "allow": true, "code": "scope"},
	"a read token does not write": {
		"actor": token(["read"]), "action": "apps.create",
		"allow": false, "code": "missing_scope",
	},
	"an action that only contains the word is no read": {
		"actor": token(["read"]), "action": "apps.list.delete",
		"allow": false, "code": "missing_scope",
	},
	"a verb that only ends in the letters is no read": {
		"actor": token(["read"]), "action": "apps.blacklist",
		"allow": false, "code": "missing_scope",
	},
	"a scope names its action": {
		"actor": token(["decisions.list"]), "action": "decisions.list",
		"allow": true, "code": "scope",
	},
	"a scope is not a prefix of another action": {
		"actor": token(["decisions.list"]), "action": "decisions.lists",
		"allow": false, "code": "missing_scope",
	},
	"a starred scope covers what is below": {
		"actor": token(["decisions.*"]), "action": "decisions.explain",
		"allow": true, "code": "scope",
	},
	"a starred scope ends at its dot": {
		"actor": token(["decisions.*"]), "action": "decisions2.list",
		"allow": false, "code": "missing_scope",
	},
	"a bare star covers nothing": {"actor": token(["*"]), "action": "apps.list", "allow": false, "code": "missing_scope"},
	"a dot and a star cover nothing": {"actor": token([".*"]), "action": ".list", "allow": false, "code": "missing_scope"},
	"an empty scope covers nothing": {"actor": token([""]), "action": "", "allow": false, "code": "missing_scope"},
	"a word without a verb is no action": {"actor": token(["apps"]), "action": "apps", "allow": false, "code": "missing_scope"},
	"no scopes, no access": {"actor": token([]), "action": "apps.list", "allow": false, "code": "missing_scope"},
	"a token's roles count for nothing": {
		"actor": object.union(token([]), {"roles": ["battery:operator"]}), "action": "apps.list",
		"allow": false, "code": "missing_scope",
	},
	"a bound token acts in its organization": {
		"actor": bound("org_acme", ["apps.*"]), "action": "apps.update",
		"allow": true, "code": "scope",
	},
	"a bound token does not act in another": {
		"actor": bound("org_globex", ["apps.*"]), "action": "apps.update",
		"allow": false, "code": "other_organization",
	},
	"a bound operator token does not act in another": {
		"actor": bound("org_globex", ["operator"]), "action": "apps.update",
		"allow": false, "code": "other_organization",
	},
	"a token of the operators' organization acts everywhere": {
		"actor": bound("org_operators", ["operator"]), "action": "apps.update",
		"allow": true, "code": "operator",
	},
	"an operator does everything": {
		"actor": person("org_operators", ["battery:operator"]), "action": "policies.activate",
		"allow": true, "code": "operator",
	},
	"an auditor reads": {
		"actor": person("org_operators", ["battery:auditor"]), "action": "audit.list",
		"allow": true, "code": "auditor",
	},
	"an auditor does not write": {
		"actor": person("org_operators", ["battery:auditor"]), "action": "policies.activate",
		"allow": false, "code": "missing_role",
	},
	"an operator's colleague without the role": {
		"actor": person("org_operators", ["member"]), "action": "apps.list",
		"allow": false, "code": "missing_role",
	},
	"a customer who carries the operators' role": {
		"actor": person("org_acme", ["battery:operator"]), "action": "apps.list",
		"allow": false, "code": "not_an_operator",
	},
	"a customer who carries it does not act in the own organization either": {
		"actor": person("org_acme", ["battery:auditor"]), "action": "apps.read",
		"allow": false, "code": "not_an_operator",
	},
	"a person's scopes count for nothing": {
		"actor": object.union(person("org_operators", []), {"scopes": ["operator"]}), "action": "apps.list",
		"allow": false, "code": "missing_role",
	},
	"another kind of actor": {
		"actor": object.union(token(["operator"]), {"kind": "gateway"}), "action": "apps.list",
		"allow": false, "code": "unknown_actor",
	},
	"no kind of actor": {
		"actor": object.union(token(["operator"]), {"kind": ""}), "action": "apps.list",
		"allow": false, "code": "unknown_actor",
	},
}

test_cases[name] if {
	some name, case in cases
	got := admin.decision with input as {
		"actor": case.actor,
		"action": case.action,
		"resource": of("org_acme"),
	}
		with data.battery.settings as settings
	got.allow == case.allow
	[reason.code | some reason in got.reasons] == [case.code]
	every reason in got.reasons { reason.message != "" }
}

# Without an operators' organization nobody is an operator, whatever the actor's
# organization is.
test_no_operators_organization_no_operators if {
	every organization in ["", "org_acme", "org_operators"] {
		every value in [{}, {"operators_organization": ""}] {
			got := admin.decision with input as {
				"actor": person(organization, ["battery:operator"]),
				"action": "apps.list",
				"resource": of("org_acme"),
			}
				with data.battery.settings as value
			got.allow == false
			got.reasons[0].code == "not_an_operator"
		}
	}
}

test_bound_token_does_not_act_on_what_belongs_to_nobody if {
	got := admin.decision with input as {
		"actor": bound("org_acme", ["operator"]),
		"action": "organizations.list",
		"resource": of(""),
	}
		with data.battery.settings as settings
	got.allow == false
	got.reasons[0].code == "other_organization"
}

test_broken_input_is_denied if {
	every value in [{}, {"actor": null}, {"actor": {"kind": "token"}}, {"actor": {"kind": "session"}}] {
		got := admin.decision with input as value
		got.allow == false
	}
}

# Keys and the admin policy itself: a scope names the action in full, and of
# people only operators come near.
guarded := {
	"an operator token": {"actor": token(["operator"]), "allow": {"list", "create", "activate", "read"}},
	"a reading token": {"actor": token(["read"]), "allow": {"list"}},
	"a token with exactly this scope": {"actor": token(["keys.create", "admin-policies.create"]), "allow": {"create"}},
	"a token with a starred scope": {"actor": token(["keys.*", "admin-policies.*"]), "allow": set()},
	"a bound operator token": {"actor": bound("org_acme", ["operator"]), "allow": set()},
	"a bound token with the scope": {"actor": bound("org_acme", ["keys.create", "admin-policies.create"]), "allow": set()},
	"an operator": {"actor": person("org_operators", ["battery:operator"]), "allow": {"list", "create", "activate", "read"}},
	"an auditor": {"actor": person("org_operators", ["battery:auditor"]), "allow": set()},
	"an IT admin": {"actor": person("org_acme", ["it-admin"]), "allow": set()},
	"a customer who calls itself operator": {"actor": person("org_acme", ["battery:operator"]), "allow": set()},
	"break-glass": {"actor": object.union(token(["operator"]), {"kind": "break-glass"}), "allow": set()},
}

test_guarded[name] if {
	some name, case in guarded
	every resource in ["keys", "admin-policies"] {
		every verb in ["list", "create", "activate", "read"] {
			got := admin.decision with input as {
				"actor": case.actor,
				"action": sprintf("%s.%s", [resource, verb]),
				"resource": {"type": resource, "id": "", "organization_id": ""},
			}
				with data.battery.settings as settings
			got.allow == (verb in case.allow)
		}
	}
}

it_admin := person("org_acme", ["it-admin"])

it_cases := {
	"sees its settings": {"action": "settings.read", "allow": true, "code": "it_admin"},
	"sees its organization": {"action": "organizations.read", "allow": true, "code": "it_admin"},
	"sees its directories": {"action": "directories.read", "allow": true, "code": "it_admin"},
	"sees its role mappings": {"action": "role-mappings.read", "allow": true, "code": "it_admin"},
	"writes its role mappings": {"action": "role-mappings.update", "allow": true, "code": "it_admin"},
	"opens the Admin Portal": {"action": "portal-links.create", "allow": true, "code": "it_admin"},
	"does not list organizations": {"action": "organizations.list", "allow": false, "code": "missing_role"},
	"does not read decisions": {"action": "decisions.list", "allow": false, "code": "missing_role"},
	"does not change its organization": {"action": "organizations.update", "allow": false, "code": "missing_role"},
	"does not change its apps": {"action": "apps.update", "allow": false, "code": "missing_role"},
	"does not make tokens": {"action": "service-tokens.create", "allow": false, "code": "missing_role"},
	"does nothing of no name": {"action": "", "allow": false, "code": "missing_role"},
	"does not grant what is no role": {"action": "role-mappings.grant", "allow": false, "code": "not_grantable"},
	"not in another organization": {
		"action": "role-mappings.update", "organization": "org_globex",
		"allow": false, "code": "other_organization",
	},
	"not in the operators' organization": {
		"action": "portal-links.create", "organization": "org_operators",
		"allow": false, "code": "other_organization",
	},
	"not in none": {"action": "settings.read", "organization": "", "allow": false, "code": "other_organization"},
	"of no organization is none": {
		"actor": person("", ["it-admin"]), "organization": "", "action": "settings.read",
		"allow": false, "code": "not_an_operator",
	},
	"a colleague without the role": {
		"actor": person("org_acme", ["member"]), "action": "settings.read",
		"allow": false, "code": "not_an_operator",
	},
	"a battery role makes no IT admin, even where the setting says so": {
		"actor": person("org_acme", ["battery:operator"]), "action": "settings.read",
		"allow": false, "code": "not_an_operator",
	},
	"nor adds to one": {
		"actor": person("org_acme", ["it-admin", "battery:operator"]), "action": "apps.update",
		"allow": false, "code": "missing_role",
	},
	"a user of the operators' organization is none elsewhere": {
		"actor": person("org_operators", ["it-admin"]), "action": "role-mappings.update",
		"allow": false, "code": "missing_role",
	},
	"nor at home": {
		"actor": person("org_operators", ["it-admin"]), "organization": "org_operators", "action": "portal-links.create",
		"allow": false, "code": "missing_role",
	},
	"a token is none": {
		"actor": object.union(bound("org_acme", []), {"roles": ["it-admin"]}), "action": "settings.read",
		"allow": false, "code": "missing_scope",
	},
}

test_it_admin[name] if {
	some name, case in it_cases
	got := admin.decision with input as {
		"actor": object.get(case, "actor", it_admin),
		"action": case.action,
		"resource": {"type": "organization", "id": "", "organization_id": object.get(case, "organization", "org_acme")},
	}
		with data.battery.settings as settings
	got.allow == case.allow
	[reason.code | some reason in got.reasons] == [case.code]
	every reason in got.reasons { reason.message != "" }
}

grants := {
	"a role marked grantable": {"role": "editor", "allow": true},
	"a role that is not": {"role": "admin", "allow": false},
	"a battery role, though it is marked": {"role": "battery:auditor", "allow": false},
	"a battery role in other letters": {"role": "Battery:Operator", "allow": false},
	"the role that makes IT admins, though it is marked": {"role": "it-admin", "allow": false},
	"no role": {"role": "", "allow": false},
	"a role of another organization": {"role": "editor", "organization": "org_globex", "allow": false},
	"something that only has a role's name": {"role": "editor", "type": "group", "allow": false},
	"another act upon a grantable role": {"role": "editor", "action": "roles.delete", "allow": false},
	"a colleague grants nothing": {"role": "editor", "actor": person("org_acme", ["member"]), "allow": false},
	"an operator grants anything": {"role": "battery:auditor", "actor": person("org_operators", ["battery:operator"]), "allow": true},
}

test_grant[name] if {
	some name, case in grants
	got := admin.decision with input as {
		"actor": object.get(case, "actor", it_admin),
		"action": object.get(case, "action", "role-mappings.grant"),
		"resource": {
			"type": object.get(case, "type", "role"), "id": case.role,
			"organization_id": object.get(case, "organization", "org_acme"),
		},
	}
		with data.battery.settings as settings
	got.allow == case.allow
}

# Settings that are not there make nobody an IT admin and nothing grantable.
test_no_settings_no_it_admins if {
	every value in [{}, {"it_admin_roles": []}, {"it_admin_roles": ["it-admin"], "grantable_roles": []}] {
		got := admin.decision with input as {
			"actor": it_admin,
			"action": "role-mappings.grant",
			"resource": {"type": "role", "id": "editor", "organization_id": "org_acme"},
		}
			with data.battery.settings as value
		got.allow == false
	}
}
