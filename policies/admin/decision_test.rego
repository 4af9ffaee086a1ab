package battery.admin_test

import data.battery.admin

settings := {"operators_organization": "org_operators"}

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
