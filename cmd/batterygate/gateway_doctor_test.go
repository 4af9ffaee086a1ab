package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/client"
	"battery.app/gate/cmd/batterygate/doctor"
)

// careless is a reverse proxy that asks the forward-auth door and does all of it
// right, but for what a test plants.
type careless struct {
	d *demo

	unasked  func(r *http.Request) bool              // lets it through without asking
	question func(r *http.Request, q http.Header)    // spoils what the door is told
	forward  func(in *http.Request, o *http.Request) // spoils what the app gets
	relay    func(h http.Header)                     // spoils what a refused client gets
	deleted  func(name string) bool                  // in place of what is to be taken from the client's headers
	battery  bool                                    // forgets the route of /.battery/
	open     bool                                    // lets through what the door does not answer
	xff      bool                                    // believes X-Forwarded-For
	cookies  bool                                    // leaves our cookies
	dead     bool                                    // does not reach the app
	lost     func(r *http.Request) bool              // goes nowhere
}

func lowered(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

func said(name string) bool {
	p := strings.ToLower(name)
	return strings.HasPrefix(p, "x-forwarded-") || p == "forwarded" || p == "x-real-ip" || strings.HasPrefix(p, "x-battery-")
}

func (c *careless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.RequestURI, "/") || strings.Contains(r.RequestURI, "#") {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	if c.lost != nil && c.lost(r) {
		http.NotFound(w, r)
		return
	}
	in := r.Clone(r.Context()) // what the client said, for those who believe it
	in.Trailer = r.Trailer     // filled when the body was read
	for name := range r.Header {
		if p := strings.ToLower(name); said(name) && !strings.HasPrefix(p, "x-battery-") && (c.deleted == nil || c.deleted(name)) {
			r.Header.Del(name)
			delete(r.Header, name)
		}
	}
	if strings.HasPrefix(r.URL.Path, "/.battery/") && !c.battery {
		c.proxy(c.d.PublicURL, func(p *httputil.ProxyRequest) { p.Out.Host = r.Host }).ServeHTTP(w, r)
		return
	}
	answer := http.Header{}
	if c.unasked == nil || !c.unasked(r) {
		res, err := c.ask(r, in)
		switch {
		case err != nil && !c.open:
			http.Error(w, "the door does not answer", http.StatusServiceUnavailable)
			return
		case err == nil && res.StatusCode != http.StatusOK:
			if c.relay != nil {
				c.relay(res.Header)
			}
			for name, values := range res.Header {
				w.Header()[name] = values
			}
			w.WriteHeader(res.StatusCode)
			_, _ = io.Copy(w, res.Body)
			res.Body.Close()
			return
		case err == nil:
			res.Body.Close()
			answer = res.Header
		}
	}
	if c.dead {
		http.Error(w, "no app", http.StatusBadGateway)
		return
	}
	c.proxy(c.d.Apps["crm.acme"], func(p *httputil.ProxyRequest) { c.toApp(p, in, answer) }).ServeHTTP(w, r)
}

// marks writes what Envoy does for bytes that are no text.
func marks(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 0x80 {
			b[i] = '!'
		}
	}
	return string(b)
}

// peer's address as the gateway sees it.
func peerOf(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

func (c *careless) ask(r, in *http.Request) (*http.Response, error) {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, c.d.AuthzURL+"/authz/forward-auth", nil)
	if err != nil {
		return nil, err
	}
	q.Header = r.Header.Clone()
	for _, name := range []string{"Connection", "Upgrade", "Content-Length", "Transfer-Encoding"} {
		q.Header.Del(name)
	}
	for name, value := range map[string]string{
		"X-Forwarded-Method": r.Method, "X-Forwarded-Proto": "http", "X-Forwarded-Host": r.Host, "X-Forwarded-Uri": r.RequestURI, "X-Forwarded-For": peerOf(r),
	} {
		q.Header.Set(name, value)
	}
	if sent := in.Header.Values("X-Forwarded-For"); c.xff && len(sent) > 0 {
		q.Header["X-Forwarded-For"] = sent
	}
	if c.question != nil {
		c.question(in, q.Header)
	}
	return http.DefaultTransport.RoundTrip(q)
}

func (c *careless) toApp(p *httputil.ProxyRequest, in *http.Request, answer http.Header) {
	for name := range p.Out.Header {
		if strings.HasPrefix(strings.ToLower(name), "x-battery-") && (c.deleted == nil || c.deleted(name)) {
			delete(p.Out.Header, name)
		}
	}
	for name, values := range answer {
		if strings.HasPrefix(name, "X-Battery-") && p.Out.Header[name] == nil {
			p.Out.Header[name] = values
		}
	}
	if !c.cookies {
		var kept []string
		for pair := range strings.SplitSeq(strings.Join(p.Out.Header["Cookie"], "; "), "; ") {
			if name, _, _ := strings.Cut(pair, "="); !strings.HasPrefix(strings.TrimPrefix(name, "__Host-"), "battery_") {
				kept = append(kept, pair)
			}
		}
		p.Out.Header.Set("Cookie", strings.Join(kept, "; "))
	}
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	if c.forward != nil {
		c.forward(in, p.Out)
	}
}

func (c *careless) proxy(base string, rewrite func(*httputil.ProxyRequest)) http.Handler {
	u, _ := url.Parse(base)
	return &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = u.Scheme, u.Host
		rewrite(p)
	}}
}

func TestDoctorFindsWhatIsWrongWithAGatewayAndNothingElse(t *testing.T) {
	front := httptest.NewUnstartedServer(nil)
	t.Cleanup(front.Close)
	_, port, _ := net.SplitHostPort(front.Listener.Addr().String())
	d := startDemo(t, "--gateway-port", port)
	c := &careless{}
	front.Config.Protocols = new(http.Protocols)
	front.Config.Protocols.SetHTTP1(true)
	front.Config.Protocols.SetUnencryptedHTTP2(true)
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.ServeHTTP(w, r) })
	front.Start()
	api, err := client.New(d.AdminURL, d.AdminToken)
	if err != nil {
		t.Fatal(err)
	}
	alias := func(name string) bool { return strings.ContainsAny(name, "_.") }
	override := func(name string) bool {
		return strings.HasPrefix(name, "X-Original-") || strings.HasPrefix(name, "X-Rewrite-") || strings.Contains(name, "Method")
	}
	without := func(drop func(string) bool) func(*http.Request, http.Header) {
		return func(_ *http.Request, q http.Header) {
			for name := range q {
				if drop(name) && !strings.HasPrefix(name, "X-Forwarded-") {
					delete(q, name)
				}
			}
		}
	}
	for name, tc := range map[string]struct {
		careless
		want []string
	}{
		"nothing": {},
		"the client's identity headers are forwarded": {careless{deleted: func(n string) bool {
			return lowered(n) == "x-battery-doctor" || !strings.HasPrefix(lowered(n), "x-battery-")
		}},
			[]string{"identity"}},
		"unknown headers under the prefix are forwarded": {careless{deleted: func(n string) bool { return lowered(n) != "x-battery-doctor" }}, []string{"identity-unknown"}},
		"identity headers are not copied":                {careless{forward: func(_, o *http.Request) { o.Header.Del("X-Battery-User-Id") }}, []string{"identity-arrives"}},
		"the door is not shown aliases":                  {careless{question: without(alias), deleted: func(n string) bool { return !alias(n) }}, []string{"aliases"}},
		"our cookies are forwarded":                      {careless{cookies: true}, []string{"cookies"}},
		"no cookies are forwarded":                       {careless{forward: func(_, o *http.Request) { o.Header.Del("Cookie") }}, []string{"cookies-kept"}},
		"long headers are dropped": {careless{forward: func(_, o *http.Request) {
			if len(o.Header.Get("X-Battery-User-Email")) > 500 {
				o.Header.Del("X-Battery-User-Email")
			}
		}}, []string{"wide-headers"}},
		"the path is cleaned after it was asked about": {careless{forward: func(_, o *http.Request) { o.URL.Path, o.URL.RawPath = path.Clean(o.URL.Path), "" }}, []string{"path"}},
		"a cleaned path is asked about": {careless{question: func(in *http.Request, q http.Header) {
			u := &url.URL{Path: path.Clean(in.URL.Path), RawQuery: in.URL.RawQuery}
			q.Set("X-Forwarded-Uri", u.RequestURI())
		}}, []string{"path"}},
		"the client's X-Forwarded-For is believed": {careless{xff: true}, []string{"client-ip"}},
		"the client's X-Forwarded-Host is believed": {careless{question: func(in *http.Request, q http.Header) {
			if h := in.Header.Get("X-Forwarded-Host"); h != "" {
				q.Set("X-Forwarded-Host", h)
			}
		}}, []string{"forwarding"}},
		"the client's X-Forwarded-Prefix is forwarded": {careless{deleted: func(n string) bool { return n != "X-Forwarded-Prefix" }, forward: func(in, o *http.Request) {
			if v := in.Header.Get("X-Forwarded-Prefix"); v != "" {
				o.Header.Set("X-Forwarded-Prefix", v)
			}
		}}, []string{"forwarding"}},
		"the client's X-Real-Ip is forwarded": {careless{forward: func(in, o *http.Request) {
			if v := in.Header.Get("X-Real-Ip"); v != "" {
				o.Header.Set("X-Real-Ip", v)
			}
		}}, []string{"forwarding"}},
		"the client's Forwarded is forwarded": {careless{forward: func(in, o *http.Request) {
			if v := in.Header.Get("Forwarded"); v != "" {
				o.Header.Set("Forwarded", v)
			}
		}}, []string{"forwarded"}},
		"the door is not shown overrides":     {careless{question: without(override)}, []string{"overrides"}},
		"every request is asked about as GET": {careless{question: func(_ *http.Request, q http.Header) { q.Set("X-Forwarded-Method", "GET") }}, []string{"method"}},
		"the query is cut":                    {careless{forward: func(_, o *http.Request) { o.URL.RawQuery = o.URL.RawQuery[:min(100, len(o.URL.RawQuery))] }}, []string{"query"}},
		"another host is forwarded":           {careless{forward: func(_, o *http.Request) { o.Host = "wiki.acme.battery.localhost" }}, []string{"host"}},
		"/.battery/ is forgotten":             {careless{battery: true}, []string{"battery-path"}},
		"a door that is down lets through":    {careless{open: true}, []string{"fail-closed"}},
		"OPTIONS is not asked about":          {careless{unasked: func(r *http.Request) bool { return r.Method == http.MethodOptions }}, []string{"preflight"}},
		"websockets are not asked about":      {careless{unasked: func(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }}, []string{"preflight"}},
		"the app is down":                     {careless{dead: true}, []string{"app-answers"}},
		"POST is not asked about":             {careless{unasked: func(r *http.Request) bool { return r.Method == http.MethodPost }}, []string{"asked"}},
		"bytes are asked about as marks": {careless{question: func(in *http.Request, q http.Header) {
			q.Set("X-Forwarded-Uri", marks(in.RequestURI))
		}}, []string{"bytes"}},
		"trailers become headers": {careless{forward: func(in, o *http.Request) {
			if o.Body == nil {
				return
			}
			body, _ := io.ReadAll(o.Body)
			o.Body = io.NopCloser(bytes.NewReader(body))
			for name, values := range in.Trailer {
				o.Header[name] = values
			}
		}}, []string{"identity"}},
		"only the first line of cookies is cleaned": {careless{forward: func(in, o *http.Request) {
			if lines := in.Header["Cookie"]; len(lines) > 1 {
				o.Header["Cookie"] = append(o.Header["Cookie"], lines[1:]...)
			}
		}}, []string{"cookies"}},
		"lines of cookies are joined by commas": {careless{question: func(in *http.Request, q http.Header) {
			q.Set("Cookie", strings.Join(in.Header["Cookie"], ","))
		}}, []string{"requests-pass"}},
		"aliases over HTTP/2 are not shown to the door": {careless{question: without(alias), forward: func(in, o *http.Request) {
			for name, values := range in.Header {
				if alias(name) && in.ProtoMajor == 2 {
					o.Header[name] = values
				}
			}
		}}, []string{"aliases"}},
		"HTTP/2 is not asked about":     {careless{unasked: func(r *http.Request) bool { return r.ProtoMajor == 2 }}, []string{"asked", "aliases"}}, // which the door alone refuses
		"HTTP/2 leads elsewhere":        {careless{lost: func(r *http.Request) bool { return r.ProtoMajor == 2 }}, []string{"http2"}},
		"the redirect loses its cookie": {careless{relay: func(h http.Header) { h.Del("Set-Cookie") }}, []string{"login"}},
		"the redirect loses its host": {careless{relay: func(h http.Header) {
			if u, err := url.Parse(h.Get("Location")); err == nil && h.Get("Location") != "" {
				h.Set("Location", u.RequestURI())
			}
		}}, []string{"login"}},
	} {
		t.Run(name, func(t *testing.T) {
			*c = tc.careless
			c.d = d
			report, err := doctor.Run(t.Context(), doctor.Options{URL: &url.URL{Scheme: "http", Host: "crm.acme." + d.Domain + ":" + port}, API: api, Gateway: "nginx"})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, f := range report.Findings {
				if f.State != doctor.Problem {
					continue
				}
				got = append(got, f.ID)
				if f.Why == "" || f.Fix == "" || len(f.Details) == 0 {
					t.Errorf("%s says too little: %+v", f.ID, f)
				}
			}
			if !slices.Equal(got, append([]string{}, tc.want...)) {
				t.Errorf("problems %v, want %v", got, tc.want)
				for _, f := range report.Findings {
					t.Logf("%s %s %v", f.ID, f.State, f.Details)
				}
			}
			if report.Problems != len(got) || report.Echo == tc.dead {
				t.Errorf("%d problems are counted, echo %v", report.Problems, report.Echo)
			}
		})
	}
}
