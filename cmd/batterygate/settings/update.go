package settings

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
)

// postMappings is the table's form: a search, which changes nothing, or a save.
func (p *Pages) postMappings(w http.ResponseWriter, r *http.Request, slug string) error {
	v, ok := p.visitor(r, slug)
	if !ok {
		return p.askSignIn(w, slug, http.StatusForbidden, signedOutText)
	}
	if err := p.checkForm(w, r, v, slug, formMappings, maxMappingsForm); err != nil {
		return err
	}
	t, err := parseTyped(r.PostForm)
	if err != nil || (t.do != doSave && t.do != doFind) {
		return malformedForm(slug)
	}
	if !p.may(r.Context(), v, actionRead, v.organization()) {
		return refused(v)
	}
	if t.do == doFind {
		s, err := p.screen(r, v, slug, &t)
		if err != nil {
			return err
		}
		return p.renderScreen(w, http.StatusOK, s)
	}
	return p.save(w, r, v, slug, t)
}

const changedText = "Somebody changed this table, or the roles that may be given, while you were editing. Nothing was saved. " +
	"Your choices are still here: compare them with what is in force now, then save again."

func malformedForm(slug string) *sso.PageError {
	return &sso.PageError{Status: http.StatusBadRequest, Title: "Nothing was changed", Text: "The form is not one that this page made.",
		Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}}
}

// save writes the table if it is still the one the form was made from. One at a
// time, so that of two who save the same table the second is told. The view is
// taken anew under the lock.
func (p *Pages) save(w http.ResponseWriter, r *http.Request, v *visitor, slug string, t typed) error {
	unlock := p.writing.lock(v.org.ID)
	defer unlock()
	v, ok := p.visitor(r, slug)
	if !ok {
		return p.askSignIn(w, slug, http.StatusForbidden, signedOutText)
	}
	now := v.view.Mappings(v.org.ID)
	grantable := p.grantable(r.Context(), v, now)
	hash, err := fingerprint(now, grantable)
	if err != nil {
		return fmt.Errorf("name the table: %w", err)
	}
	if now.RoleSource.Source != directory.RolesFromMappings {
		return &sso.PageError{Status: http.StatusConflict, Title: "Nothing was changed",
			Text:  "The roles of your organization do not come from this table any more.",
			Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}}
	}
	if t.hash != hash {
		return p.again(w, r, v, slug, t, http.StatusConflict, fault{"role-mappings", changedText})
	}
	todo, err := apply(v, t, now, grantable)
	if err != nil {
		return malformedForm(slug)
	}
	if bad := p.notAllowed(r.Context(), v, now, todo); bad != "" {
		return p.recordRefusal(r.Context(), p.act(r, v, actionUpdate, todo.changes), bad, notYours(slug, bad))
	}
	if len(todo.faults) > 0 {
		return p.again(w, r, v, slug, t, http.StatusUnprocessableEntity, todo.faults...)
	}
	if len(todo.changes) == 0 {
		return back(w, slug, "nothing", t)
	}
	return p.write(w, r, v, slug, t, now, todo)
}

// notAllowed says which of a plan's changes the policy does not allow: the
// update itself, or a role that is given or taken away.
func (p *Pages) notAllowed(ctx context.Context, v *visitor, now directory.Mappings, todo plan) string {
	if !p.may(ctx, v, actionUpdate, v.organization()) {
		return "the table may not be changed by you"
	}
	var bad *api.NotGrantableError
	switch err := api.GrantableChange(ctx, p.Policy, v.actor, v.org.ID, plain(now), todo.next); {
	case errors.As(err, &bad):
		return "the role " + short(bad.Role) + " may not be given or taken away by you"
	case err != nil:
		return "it could not be found out whether you may"
	}
	return ""
}

func notYours(slug, why string) *sso.PageError {
	return &sso.PageError{Status: http.StatusForbidden, Title: "Nothing was changed",
		Text:  "That is not yours to change: " + why + ". Ask the people who run this service.",
		Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}}
}

func (p *Pages) write(w http.ResponseWriter, r *http.Request, v *visitor, slug string, t typed, before directory.Mappings, todo plan) error {
	var refusal error
	changed := false
	err := p.audited(r.Context(), p.act(r, v, actionUpdate, todo.changes), func(ctx context.Context) (outcome, error) {
		o := outcome{status: http.StatusSeeOther, before: plain(before)}
		kept, revision, err := p.Directory.ReplaceMappings(ctx, v.org.ID, plain(before), todo.next, "session:"+v.session.ID)
		if errors.Is(err, directory.ErrChanged) { // by the API or another replica, since it was looked at
			changed = true
			return o, &sso.PageError{Status: http.StatusConflict, Title: "Somebody else changed the table", Cause: err}
		}
		if errors.Is(err, directory.ErrInvalid) {
			refusal = err
			return o, &sso.PageError{Status: http.StatusUnprocessableEntity, Title: "The directory does not take the table", Cause: err}
		}
		if err != nil {
			return o, notSaved(slug, err)
		}
		o.after = plain(kept)
		if err := p.Published(ctx, revision); err != nil {
			return o, &sso.PageError{Status: http.StatusServiceUnavailable, Title: "Saved, but not in force yet",
				Text:  "Your changes are stored and will be in force soon. Look again in a moment; there is no need to repeat them.",
				Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}, Cause: err}
		}
		return o, nil
	})
	if changed {
		return p.again(w, r, v, slug, t, http.StatusConflict, fault{"role-mappings", changedText})
	}
	if refusal != nil {
		return p.again(w, r, v, slug, t, http.StatusUnprocessableEntity, fault{"role-mappings",
			"The table cannot be saved like this: it would have more than 1,000 rows, a row with more than 32 roles, or a role that your organization may not have."})
	}
	if err != nil {
		return err
	}
	p.Log.InfoContext(r.Context(), "role mappings changed by an IT admin", "organization_id", v.org.ID, "session_id", v.session.ID, "changes", len(todo.changes))
	return back(w, slug, "saved", t)
}

func notSaved(slug string, err error) *sso.PageError {
	return &sso.PageError{Status: http.StatusServiceUnavailable, Title: "Your changes may not have been saved",
		Text:  "Something went wrong on our side while saving. Open the settings to see what is in force.",
		Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}, Cause: err}
}

// plain are mappings as the record keeps them: what was said, without what each
// is worth at the moment.
func plain(m directory.Mappings) []directory.Mapping {
	out := make([]directory.Mapping, 0, len(m.Mappings))
	for _, e := range m.Mappings {
		out = append(out, directory.Mapping{GroupID: e.GroupID, GroupName: e.GroupName, Roles: slices.Clone(e.Roles)})
	}
	return out
}

// again shows the form once more, as it was typed, with what is to be mended.
func (p *Pages) again(w http.ResponseWriter, r *http.Request, v *visitor, slug string, t typed, status int, faults ...fault) error {
	s, err := p.screen(r, v, slug, &t)
	if err != nil {
		return err
	}
	s.Faults = faults
	s.Table.Conflict = status == http.StatusConflict
	for i := range s.Table.Rows {
		row := &s.Table.Rows[i]
		row.Faulty = slices.ContainsFunc(faults, func(f fault) bool { return f.Field == row.Field })
	}
	return p.renderScreen(w, status, s)
}

// back leads to the page, so that reloading sends nothing twice.
func back(w http.ResponseWriter, slug, what string, t typed) error {
	q := url.Values{"done": {what}}
	if t.from > 0 {
		q.Set("from", strconv.Itoa(t.from))
	}
	w.Header().Set("Location", base(slug)+"?"+q.Encode()+"#done")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
