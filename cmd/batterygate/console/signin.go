package console

import (
	"crypto/hmac"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sso"
)

const (
	// handOverPath is the page of the public host that hands over who signed in.
	handOverPath = "/operators/console"
	// loginAge is how long ago an operator may have signed in at the identity
	// provider: about a working day.
	loginAge = 12 * time.Hour

	attemptLife = 10 * time.Minute
	entryLife   = 12 * time.Hour // of a sign-in page that lies open
)

type signInScreen struct {
	Title string
	Text  string
	SSO   bool
	Form  string
}

// askSignIn shows the sign-in page. The form's token is bound to a cookie, so
// that nobody can sign a browser in with a token of theirs from a page of theirs.
func (c *Console) askSignIn(w http.ResponseWriter, r *http.Request, status int, text string) error {
	entry := c.cookie(r, cookieEntry)
	if c.checkStamp("entry", "", entry) != nil {
		entry = c.stamp("entry", "", entryLife)
		c.setCookie(w, cookieEntry, entry, int(entryLife/time.Second))
	}
	s := signInScreen{Title: "Sign in", Text: text, SSO: c.Operators != "", Form: mac(c.key, "sign-in", entry)}
	return c.render(w, status, "sign-in", s)
}

// signInByToken makes a console session of an API token. The token comes in the
// body, is looked at and forgotten.
func (c *Console) signInByToken(w http.ResponseWriter, r *http.Request) error {
	f, err := c.readForm(w, r, "token")
	if err != nil {
		return err
	}
	entry := c.cookie(r, cookieEntry)
	if c.checkStamp("entry", "", entry) != nil || !hmac.Equal([]byte(mac(c.key, "sign-in", entry)), []byte(f["form"])) {
		return c.askSignIn(w, r, http.StatusForbidden, "This page lay open too long, or did not come from here. Try again.")
	}
	token, err := c.Tokens.Find(r.Context(), strings.TrimSpace(f["token"]))
	if errors.Is(err, api.ErrUnknownToken) {
		return c.askSignIn(w, r, http.StatusUnauthorized, "The token is unknown or has expired.")
	}
	if err != nil {
		return err
	}
	if token.BreakGlass {
		c.Log.WarnContext(r.Context(), "break-glass token signed in to the console", "token_id", token.ID, "remote_ip", r.RemoteAddr)
	}
	if err := c.begin(w, r, source{token: token.ID}, token.Actor(), map[string]string{"token_name": token.Name}); err != nil {
		return err
	}
	return redirect(w, "/")
}

// begin opens a console session under a new id and ends the browser's old one. It
// is recorded first: the audit names a person's later acts by the session alone.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, from source, who engine.Actor, name map[string]string) error {
	ip := remoteIP(r)
	act := audit.Act{Actor: who, Action: "console.sign-in", Resource: engine.Resource{Type: "console"}, RemoteIP: ip, Request: name}
	if err := c.Audit.Record(r.Context(), act, audit.Outcome{Result: audit.Done, Status: http.StatusOK}); err != nil {
		return &sso.PageError{Status: http.StatusServiceUnavailable, Title: "You were not signed in", Text: "Every sign-in is recorded, and recording does not work just now. Try again in a few minutes; batterygate works meanwhile for what only reads.",
			Links: []sso.Link{{Label: "Sign in", URL: "/"}}, Cause: err}
	}
	id := c.seats.open(c.cookie(r, cookieSeat), from, c.Now())
	c.setCookie(w, cookieSeat, id, 0)
	c.setCookie(w, cookieEntry, "", 0)
	c.Log.InfoContext(r.Context(), "signed in to the console", "token_id", from.token, "session_id", from.session, "remote_ip", ip)
	return nil
}

// remoteIP is where a request comes from, for the audit.
func remoteIP(r *http.Request) string {
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	return ip
}

// beginSSO leads to the public host with the hash of a verifier that stays here.
// It is a link and not a form, because what it leads to, an identity provider, is
// not known here, and browsers hold a form's redirects against its page's policy.
func (c *Console) beginSSO(w http.ResponseWriter, r *http.Request) error {
	if c.Operators == "" {
		return &sso.PageError{Status: http.StatusNotFound, Title: "Sign in with a token", Text: "No operators' organization is configured (operators.organization), so people cannot sign in here.",
			Links: []sso.Link{{Label: "Sign in", URL: "/"}}}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return redirect(w, "/") // somebody else's page wants somebody signed in
	}
	verifier := c.stamp("attempt", "", attemptLife)
	challenge := sso.Challenge(verifier)
	c.makeRoom(w, r)
	c.setCookie(w, cookieAttempt+attemptID(challenge), verifier, int(attemptLife/time.Second))
	q := url.Values{"challenge": {challenge}}
	return redirect(w, c.PublicURL.Scheme+"://"+c.PublicURL.Host+handOverPath+"?"+q.Encode())
}

// handOver is on the public host: it has whoever comes sign in at the operators'
// organization, and sends them on with a pass that only their browser can use.
// Whether they may enter is the console's business.
func (c *Console) handOver(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	challenge := q.Get("challenge")
	if len(q["challenge"]) != 1 || !sso.IsChallenge(challenge) {
		return &sso.PageError{Status: http.StatusBadRequest, Title: "This link does not work", Text: "Begin at the console.", Links: []sso.Link{{Label: "Open the console", URL: c.origin + "/"}}}
	}
	session, ok := c.SignIn.SignedIn(r, c.Operators, loginAge)
	if !ok && q.Has("again") {
		return &sso.PageError{Status: http.StatusForbidden, Title: "That sign-in is too old", Text: "The console needs a sign-in of the last twelve hours, and your identity provider did not say that this one is. Sign out there, then try again.",
			Links: []sso.Link{{Label: "Open the console", URL: c.origin + "/"}}}
	}
	if !ok {
		back := url.Values{"challenge": {challenge}, "again": {"1"}}
		c.SignIn.SignIn(w, r, c.Operators, handOverPath+"?"+back.Encode(), loginAge)
		return nil
	}
	sealed, err := c.SignIn.Pass(session, c.origin, challenge)
	if err != nil {
		return err
	}
	return redirect(w, c.origin+"/sign-in/sso/done?"+url.Values{"pass": {sealed}, "attempt": {attemptID(challenge)}}.Encode())
}

// endSSO redeems the pass. Its answer is a page and not a redirect: browsers keep
// a Strict cookie back along a chain of redirects that began elsewhere, and a
// person should see as whom they were signed in.
func (c *Console) endSSO(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Referrer-Policy", "no-referrer") // the pass is in the address; where it was refused, too
	attempt := r.URL.Query().Get("attempt")
	session, err := c.redeem(r, attempt)
	if errors.Is(err, sso.ErrPass) {
		c.Log.WarnContext(r.Context(), "sign-in to the console was refused", "error", err)
		return &sso.PageError{Status: http.StatusForbidden, Title: "You were not signed in", Text: "This way in works once, within half a minute, and in the browser that began alone. Begin again.",
			Links: []sso.Link{{Label: "Sign in", URL: "/"}}}
	}
	if err != nil {
		return err
	}
	c.setCookie(w, cookieAttempt+attempt, "", 0)
	v, err := c.bySession(session.ID)
	if errors.Is(err, errNobody) {
		return c.askSignIn(w, r, http.StatusUnauthorized, "That session is over. Sign in again.")
	}
	if err != nil {
		c.Log.WarnContext(r.Context(), "somebody without a role came to the console", "session_id", session.ID)
		return err
	}
	if err := c.begin(w, r, source{session: session.ID}, v.actor, map[string]string{"email": session.Email, "user_id": session.UserID}); err != nil {
		return err
	}
	return c.renderUnder(w, http.StatusOK, "landed", struct{ Title, Name string }{"Signed in", words.Shown(v.name)}, "no-referrer")
}

func (c *Console) redeem(r *http.Request, attempt string) (*authz.Session, error) {
	if dest := r.Header.Get("Sec-Fetch-Dest"); c.Operators == "" || dest != "" && dest != "document" {
		return nil, sso.ErrPass
	}
	verifier := c.cookie(r, cookieAttempt+attempt)
	if err := c.checkStamp("attempt", "", verifier); err != nil {
		return nil, errors.Join(sso.ErrPass, err)
	}
	q := r.URL.Query()["pass"]
	if len(q) != 1 {
		return nil, sso.ErrPass
	}
	return c.SignIn.RedeemPass(r.Context(), q[0], c.origin, verifier)
}

// signOut ends this console session. What it stood on goes on.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request) error {
	f, err := c.readForm(w, r)
	if err != nil {
		return err
	}
	v, err := c.visitor(r)
	if err == nil && !checkForm(v, "sign out", f["form"]) {
		return errForeignForm
	}
	c.seats.end(c.cookie(r, cookieSeat))
	c.setCookie(w, cookieSeat, "", 0)
	return redirect(w, "/")
}
