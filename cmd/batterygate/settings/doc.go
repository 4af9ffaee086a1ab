// Package settings is /orgs/{slug}/settings on the public listener: the page on
// which a customer's IT admins see how their sign-in and directory are, say what
// their groups may do, and open WorkOS's Admin Portal. It is for people who set
// up SSO and directory sync, not for engineers, so it speaks in plain words.
//
//	GET  /orgs/{slug}/settings                the page
//	POST /orgs/{slug}/settings/role-mappings  the table of groups and roles, or a search in it
//	POST /orgs/{slug}/settings/portal         303 to a link of WorkOS's Admin Portal
//	GET  /orgs/{slug}/settings/sign-in        a fresh login, and back; for who has an older one
//	POST /orgs/{slug}/settings/sign-in        from a work e-mail to the organization's sign-in
//
// Who may do what is the admin policy's word alone: settings.read to see the
// page, role-mappings.update and role-mappings.grant for every role given or
// taken away, portal-links.create for a link. What is asked about is the user as
// the directory has it now, so somebody who lost the role, is suspended or is
// gone is refused at the next request.
//
// What each piece defends against:
//
//   - Whoever has no session of the organization gets one page, the same for
//     every slug, existing or not, so nobody learns who the customers are by
//     trying names. It asks for a work e-mail and leads on only if its domain is
//     one that the organization claims. That tells no more than the picker at
//     /login does. Who is signed in to an app of the organization never sees it,
//     and is led on from a slug that it bore before.
//   - A POST counts only from this very page: same origin (a customer's app is
//     same-site, so that is not enough) and with a token for this session and
//     this action.
//   - A form says which roles are ticked, never which are allowed. Roles that
//     this person may not grant are not in the form, stay as they are, and every
//     difference from what is in force is put to the policy.
//   - A form is good for the table it was made from; if somebody changed that in
//     between, nothing is written and what was typed is shown again.
//   - What an identity provider names (groups, connections) is text: escaped,
//     kept apart from the direction of what stands around it, and cut.
//   - A portal link opens a customer's SSO configuration for whoever holds it, so
//     it needs a login at most ten minutes old, goes into the Location header
//     alone, and only to the hosts that were configured.
//   - Nothing is written that the audit did not take first.
package settings
