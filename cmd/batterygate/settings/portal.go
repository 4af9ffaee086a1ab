package settings

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"battery.app/gate/sso"
	"battery.app/gate/sync/workosapi"
)

// intents are what the page opens the Admin Portal for (WorkOS's own words),
// with what the buttons say.
var intents = []struct{ Intent, Label, About string }{
	{"sso", "Set up single sign-on", "Connect your identity provider, or change the connection."},
	{"dsync", "Set up directory sync", "Connect your directory, or change what it sends."},
	{"domain_verification", "Verify your domains", "Prove that an e-mail domain is yours."},
	{"certificate_renewal", "Renew a certificate", "Replace a SAML certificate before it runs out."},
}

// aboutSignIn are the intents that mean nothing where sign-in is not WorkOS's.
var aboutSignIn = map[string]bool{"sso": true, "certificate_renewal": true}

// portalTime is how long WorkOS may take to make a link.
const portalTime = 10 * time.Second

const maxPortalForm = 16 << 10

// postPortal makes a link at WorkOS and sends the browser there. The link is in
// the Location header and nowhere else: whoever holds it may set up the
// customer's sign-in, for five minutes.
func (p *Pages) postPortal(w http.ResponseWriter, r *http.Request, slug string) error {
	v, ok := p.visitor(r, slug)
	if !ok {
		return p.askSignIn(w, slug, http.StatusForbidden, signedOutText)
	}
	if err := p.checkForm(w, r, v, slug, formPortal, maxPortalForm); err != nil {
		return err
	}
	intent := r.PostForm.Get("intent")
	if !p.offers(v, intent) || len(r.PostForm["intent"]) != 1 {
		return &sso.PageError{Status: http.StatusBadRequest, Title: "Nothing was opened", Text: "The button is none of this page's.",
			Links: []sso.Link{{Label: "Open the settings", URL: base(slug)}}}
	}
	act := p.act(r, v, actionPortal, map[string]string{"intent": intent})
	if !p.may(r.Context(), v, actionPortal, v.organization()) {
		return p.recordRefusal(r.Context(), act, "the admin policy does not allow it", refused(v))
	}
	if _, fresh := p.SignIn.SignedIn(r, v.org.ID, portalAge); !fresh {
		return &sso.PageError{Status: http.StatusForbidden, Title: "Sign in again first",
			Text:  "The setup pages at WorkOS change how your whole organization signs in, so they open only within ten minutes of signing in. Sign in again, then press the button once more.",
			Links: []sso.Link{{Label: "Sign in again", URL: base(slug) + "/sign-in"}, {Label: "Back to the settings", URL: base(slug)}}}
	}
	var link string
	err := p.audited(r.Context(), act, func(ctx context.Context) (o outcome, err error) {
		link, err = p.portalLink(ctx, v, intent, slug)
		return outcome{status: http.StatusSeeOther}, err
	})
	if err != nil {
		return err
	}
	p.Log.InfoContext(r.Context(), "portal link opened", "organization_id", v.org.ID, "intent", intent, "session_id", v.session.ID)
	w.Header().Set("Location", link)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// offers reports whether the page has a button for an intent.
func (p *Pages) offers(v *visitor, intent string) bool {
	for _, i := range intents {
		if i.Intent == intent {
			return !aboutSignIn[intent] || !p.OwnProvider(v.org.ID)
		}
	}
	return false
}

func (p *Pages) portalLink(ctx context.Context, v *visitor, intent, slug string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, portalTime)
	defer cancel()
	back := p.PublicURL.Scheme + "://" + p.PublicURL.Host + base(slug)
	link, err := p.Portal.PortalLink(ctx, v.org.ID, intent, back, back)
	failed := func(title, text string, cause error) error {
		return &sso.PageError{Status: http.StatusBadGateway, Title: title, Text: text, Cause: cause,
			Links: []sso.Link{{Label: "Back to the settings", URL: base(slug)}}}
	}
	switch {
	case errors.Is(err, workosapi.ErrNotFound):
		return "", failed("WorkOS does not know your organization", "Tell the people who run this service; trying again will not help.", err)
	case err != nil:
		return "", failed("WorkOS does not answer", "The setup pages are at WorkOS, which does not answer just now. Nothing was changed, and signing in goes on as before. Try again in a few minutes.", err)
	case !p.leadsToPortal(link):
		// The link itself must not be in a log, wherever it leads.
		return "", failed("WorkOS's answer cannot be used", "It leads somewhere else than WorkOS's setup pages, so it was not opened. Tell the people who run this service.", errStrangeLink)
	}
	return link, nil
}

var errStrangeLink = errors.New("the portal link leads to none of the portal's hosts")

// leadsToPortal reports whether a link leads to one of the portal's hosts,
// read strictly: what a browser could read differently is refused.
func (p *Pages) leadsToPortal(link string) bool {
	for i := range len(link) {
		if link[i] <= 0x20 || link[i] >= 0x7f || link[i] == '\\' {
			return false
		}
	}
	u, err := url.Parse(link)
	if err != nil || u.User != nil || u.Opaque != "" || !p.portal[u.Host] || len(link) > 4096 {
		return false
	}
	return u.Scheme == schemeOf(u.Host) && strings.HasPrefix(link, u.Scheme+"://"+u.Host)
}

// schemeOf is the one scheme by which a host is reached: plain http is for a
// stand-in on this machine alone.
func schemeOf(host string) string {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	a, err := netip.ParseAddr(name)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || (err == nil && a.IsLoopback()) {
		return "http"
	}
	return "https"
}

// isHost: a host as it stands in a URL, with a port where there is one.
func isHost(s string) bool {
	u, err := url.Parse("https://" + s)
	return err == nil && s != "" && u.Host == s && u.User == nil && u.Hostname() != "" && !strings.ContainsAny(s, "*;, '\"\\")
}
