package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/gateways"
)

func newGateway() *cobra.Command {
	cmd := group("gateway", "Configure the gateways that ask")
	cmd.AddCommand(newGatewayGen(), newGatewayDoctor())
	return cmd
}

// genFlags is what `gateway gen` is told.
type genFlags struct {
	remote
	config, out, gate                 string
	listen, public, authz, grpc       string
	publicURL, prefix                 string
	policyHeaders, requestHeaders     []string
	upstreams                         map[string]string
	cert, key, secretFile, dir, door  string
	doorCA, doorName, doorCert        string
	doorKey, doorHop                  string
	streamLimit                       time.Duration
	bindRoutes, cookieRewrite         bool
	adminURLSet, prefixSet, publicSet bool
	bindSet, rewriteSet               bool
}

func newGatewayGen() *cobra.Command {
	var f genFlags
	cmd := &cobra.Command{
		Use:   "gen " + strings.Join(gateways.Names(), "|"),
		Short: "Print a gateway's whole configuration for this set-up",
		Long: "Prints the whole, commented configuration of a gateway: every app's hosts, the question, the identity\n" +
			"headers, /.battery/, limits. The end-to-end tests run what this prints against the real gateways.\n\n" +
			"Apps and settings come from --config (the server's own file; its secrets are not read), apps also from\n" +
			"the running server (--admin-url). Where an app listens is nothing that Battery Gate knows: --upstream.\n" +
			"A shared secret is never printed: the configuration names the file that holds it (--secret-file).\n" +
			"Where --config has gateway.tls_cert_file, the gateway asks over TLS: say how it knows the doors\n" +
			"(--door-ca, --door-name) and, with gateway.client_ca, what it shows them (--door-cert, --door-key).",
		Example: "  batterygate gateway gen traefik --config /etc/batterygate/batterygate.yaml --upstream crm.acme=10.0.0.7:8000\n" +
			"  batterygate gateway gen nginx --admin-url http://127.0.0.1:8083 --token-file token --public-url https://auth.example.com --out /etc/nginx/battery",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(gateways.Names(), args[0]) {
				return usageError{fmt.Errorf("name one gateway: %s", strings.Join(gateways.Names(), ", "))}
			}
			return nil
		},
		ValidArgs: gateways.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.adminURLSet = cmd.Flags().Changed("admin-url") || os.Getenv("BATTERY_ADMIN_URL") != ""
			f.prefixSet, f.publicSet = cmd.Flags().Changed("header-prefix"), cmd.Flags().Changed("public-url")
			f.bindSet, f.rewriteSet = cmd.Flags().Changed("bind-routes"), cmd.Flags().Changed("cookie-rewrite")
			return runGatewayGen(cmd, args[0], &f)
		},
	}
	f.bindGen(cmd)
	return cmd
}

func (f *genFlags) bindGen(cmd *cobra.Command) {
	f.bind(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", os.Getenv("BATTERY_CONFIG"), "the server's configuration file (or BATTERY_CONFIG)")
	fl.StringVar(&f.out, "out", "", "write the files into this folder instead of printing them")
	fl.StringVar(&f.listen, "listen", "", "where the gateway serves the apps; default: :443 with TLS, :80 without")
	fl.StringVar(&f.gate, "gate", "127.0.0.1", "the host at which the gateway reaches Battery Gate")
	fl.StringVar(&f.public, "public-addr", "", "Battery Gate's public listener, if not --gate and the port of --config")
	fl.StringVar(&f.authz, "authz-addr", "", "its HTTP doors, likewise")
	fl.StringVar(&f.grpc, "grpc-addr", "", "its gRPC door, likewise")
	fl.StringVar(&f.publicURL, "public-url", "", "public_url, to be served by this gateway too; empty: it is not. Default: that of --config unless on loopback")
	fl.StringVar(&f.prefix, "header-prefix", "", "identity.header_prefix, if not that of --config")
	fl.StringSliceVar(&f.policyHeaders, "policy-header", nil, "a header that policies set, beside those of --config")
	fl.StringSliceVar(&f.requestHeaders, "request-header", nil, "a request header that policies read, beside those of --config")
	fl.StringToStringVar(&f.upstreams, "upstream", nil, "where an app listens: crm.acme=host:port; default: crm-acme:8080")
	fl.StringVar(&f.cert, "tls-cert", "", "certificate (PEM file on the gateway's host); empty: plain http, for loopback or behind another TLS end")
	fl.StringVar(&f.key, "tls-key", "", "its key")
	fl.StringVar(&f.secretFile, "secret-file", "", "file on the gateway's host that holds the shared secret; default: gateway.shared_secret_file of --config")
	fl.StringVar(&f.dir, "dir", "", "folder on the gateway's host where the files will lie; default: the gateway's usual one")
	fl.StringVar(&f.door, "door", "grpc", "which door Envoy asks: grpc or http")
	fl.StringVar(&f.doorCA, "door-ca", "", "authority of the doors' certificate (PEM file on the gateway's host); needed if they speak TLS (gateway.tls_cert_file)")
	fl.StringVar(&f.doorName, "door-name", "", "host name in the doors' certificate; default: that of their address")
	fl.StringVar(&f.doorCert, "door-cert", "", "certificate that the gateway shows the doors, likewise; needed if they demand one (gateway.client_ca)")
	fl.StringVar(&f.doorKey, "door-key", "", "its key")
	fl.StringVar(&f.doorHop, "door-hop", "127.0.0.1:8084", "HAProxy: a free port of loopback, over which its script asks over TLS")
	fl.BoolVar(&f.bindRoutes, "bind-routes", false, "have each route name its app; default: as the server is set up for it (gateway.bound_routes)")
	fl.BoolVar(&f.cookieRewrite, "cookie-rewrite", false, "Traefik: take the app's cookies from the answer; default: as the server is set up for it (gateway.cookie_rewrite)")
	fl.DurationVar(&f.streamLimit, "stream-limit", 15*time.Minute, "how long a stream or websocket may last before it must ask again")
}

func runGatewayGen(cmd *cobra.Command, name string, f *genFlags) error {
	s, err := f.setup(cmd.Context(), name, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	files, err := gateways.Generate(name, s)
	if err != nil {
		return usageError{err}
	}
	if f.out != "" {
		if err := writeFiles(f.out, files); err != nil {
			return err
		}
	}
	switch {
	case f.json:
		return printFilesJSON(cmd.OutOrStdout(), files)
	case f.out == "":
		return printFiles(cmd.OutOrStdout(), files)
	}
	return nil
}

// setup collects what the configuration is made from.
func (f *genFlags) setup(ctx context.Context, name string, warn io.Writer) (gateways.Setup, error) {
	c := config.Default()
	if f.config != "" {
		if err := readSettings(f.config, &c); err != nil {
			return gateways.Setup{}, usageError{err}
		}
	} else if !f.adminURLSet {
		return gateways.Setup{}, usageError{errors.New("name the server's configuration (--config), or a running server (--admin-url with --token-file), to learn which apps there are")}
	}
	s := gateways.Setup{
		Prefix: c.Identity.HeaderPrefix, PolicyHeaders: slices.Concat(c.Policy.Headers, f.policyHeaders),
		RequestHeaders: slices.Concat(c.Policy.RequestHeaders, f.requestHeaders),
		TLSCert:        f.cert, TLSKey: f.key, SecretFile: f.secretFile, StreamLimit: f.streamLimit, Door: f.door, Dir: f.dir,
		BindRoutes: f.bindRoutes, CookieRewrite: f.cookieRewrite,
	}
	door := gateways.DoorOf(name, f.door)
	if !f.bindSet {
		s.BindRoutes = slices.Contains(c.Gateway.BoundRoutes, door)
	}
	if !f.rewriteSet {
		s.CookieRewrite = slices.Contains(c.Gateway.CookieRewrite, door)
	}
	if f.prefixSet {
		s.Prefix = f.prefix
	}
	if s.SecretFile == "" {
		s.SecretFile = c.Gateway.SharedSecretFile
	}
	if f.out != "" && s.Dir == "" {
		dir, err := filepath.Abs(f.out)
		if err != nil {
			return s, fmt.Errorf("--out: %w", err)
		}
		s.Dir = dir
	}
	if err := errors.Join(f.addresses(&c, &s), f.publicHost(&c, &s), f.doorTLS(&c, &s, door)); err != nil {
		return s, usageError{err}
	}
	return s, f.apps(ctx, &c, &s, warn)
}

// readSettings reads the server's file for what a gateway needs of it. It takes
// neither the environment nor the secrets, so that a gateway's configuration can
// be made where the server does not run; the server checks the file itself.
func readSettings(path string, c *config.Config) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	k := koanf.New(".")
	if err := k.Load(rawbytes.Provider(raw), yaml.Parser()); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	if err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{Tag: "koanf"}); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

func (f *genFlags) addresses(c *config.Config, s *gateways.Setup) error {
	listen := f.listen
	if listen == "" {
		listen = ":80"
		if f.cert != "" {
			listen = ":443"
		}
	}
	if !gateways.IsHost(f.gate) {
		return fmt.Errorf("--gate %q is no host name or IP address, without port and brackets; ports are set by --public-addr, --authz-addr and --grpc-addr", f.gate)
	}
	var faults []error
	set := func(to *gateways.Address, own, listener, flag string) {
		if own == "" {
			_, port, err := net.SplitHostPort(listener)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: the configured address %q is not host:port", flag, listener))
				return
			}
			own = net.JoinHostPort(f.gate, port)
		}
		a, err := gateways.ParseAddress(own)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", flag, err))
		}
		*to = a
	}
	set(&s.Listen, listen, "", "--listen")
	set(&s.Public, f.public, c.Listen.Public, "--public-addr")
	set(&s.Authz, f.authz, c.Listen.Authz, "--authz-addr")
	set(&s.GRPC, f.grpc, c.Listen.GRPC, "--grpc-addr")
	return errors.Join(faults...)
}

func (f *genFlags) publicHost(c *config.Config, s *gateways.Setup) error {
	raw := c.PublicURL
	if f.publicSet {
		raw = f.publicURL
	}
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("the public URL %q is not an http(s) URL", raw)
	}
	if f.publicSet || !config.Loopback(u.Hostname()) {
		s.PublicHost = strings.ToLower(u.Hostname())
	}
	return nil
}

// doorTLS is how the gateway asks, if the doors speak TLS: according to the
// server's file, or because a flag says how.
func (f *genFlags) doorTLS(c *config.Config, s *gateways.Setup, door string) error {
	d := gateways.DoorTLS{CA: f.doorCA, Name: strings.ToLower(f.doorName), Cert: f.doorCert, Key: f.doorKey}
	d.Client = c.Gateway.ClientCA != "" || d.Cert != "" || d.Key != ""
	d.On = c.Gateway.TLSCertFile != "" || d.Client || d.CA != "" || d.Name != ""
	if !d.On {
		return nil
	}
	if d.Name == "" {
		at := s.Authz.Host
		if door == "ext-authz-grpc" {
			at = s.GRPC.Host
		}
		if net.ParseIP(at) == nil {
			d.Name = strings.ToLower(at)
		}
	}
	hop, err := gateways.ParseAddress(f.doorHop)
	if err != nil {
		return fmt.Errorf("--door-hop: %w", err)
	}
	d.Hop = hop
	s.DoorTLS = d
	return nil
}

// apps joins the apps of the file and those of the running server.
func (f *genFlags) apps(ctx context.Context, c *config.Config, s *gateways.Setup, warn io.Writer) error {
	hosts := map[string][]string{}
	for _, a := range c.Apps {
		hosts[a.ID] = a.Hosts
	}
	if f.adminURLSet {
		if err := f.fetchApps(ctx, hosts); err != nil {
			return err
		}
	}
	for id := range f.upstreams {
		if _, ok := hosts[id]; !ok {
			return usageError{fmt.Errorf("--upstream names %s, and there is no such app", id)}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(hosts)) {
		at := f.upstreams[id]
		if at == "" {
			at = strings.ReplaceAll(id, ".", "-") + ":8080"
			_, _ = fmt.Fprintf(warn, "where %s listens is not known; wrote %s (set --upstream %s=host:port)\n", id, at, id)
		}
		upstream, err := gateways.ParseAddress(at)
		if err != nil {
			return usageError{fmt.Errorf("--upstream %s: %w", id, err)}
		}
		s.Apps = append(s.Apps, gateways.App{ID: id, Hosts: routed(hosts[id]), Upstream: upstream})
	}
	return nil
}

// routed are the hosts that a gateway routes by: in lower case and without the
// port, which the door looks at.
func routed(hosts []string) []string {
	var out []string
	for _, h := range hosts {
		if name, _, err := net.SplitHostPort(h); err == nil {
			h = name
		}
		if h = strings.ToLower(h); !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

func (f *genFlags) fetchApps(ctx context.Context, hosts map[string][]string) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	q := url.Values{"limit": {"500"}}
	for {
		var page struct {
			Data []struct {
				ID    string
				Hosts []string
			} `json:"data"`
			NextCursor *string `json:"next_cursor"`
		}
		if err := c.Do(ctx, http.MethodGet, "apps", q, nil, &page); err != nil {
			return fmt.Errorf("list apps: %w", err)
		}
		for _, a := range page.Data {
			hosts[a.ID] = a.Hosts
		}
		if page.NextCursor == nil {
			return nil
		}
		q.Set("cursor", *page.NextCursor)
	}
}

// printFiles prints one file as it is, several each under its name.
func printFiles(w io.Writer, files []gateways.File) error {
	for i, f := range files {
		if len(files) > 1 {
			mark := "#"
			if strings.HasSuffix(f.Name, ".lua") {
				mark = "--"
			}
			if _, err := fmt.Fprintf(w, "%s%s ======== %s ========\n", strings.Repeat("\n", min(i, 1)), mark, f.Name); err != nil {
				return err
			}
		}
		if _, err := w.Write(f.Content); err != nil {
			return err
		}
	}
	return nil
}

// printFilesJSON prints {"files": [{"name", "content"}]}, for scripts that lay the
// files themselves.
func printFilesJSON(w io.Writer, files []gateways.File) error {
	type file struct {
		Name    string `json:"name"`
		Content string `json:"content"`
	}
	out := make([]file, len(files))
	for i, f := range files {
		out[i] = file{f.Name, string(f.Content)}
	}
	return printJSON(w, map[string][]file{"files": out})
}

// writeFiles lays the files into a folder. They hold no secret, and gateways
// run as other users: everybody may read them.
func writeFiles(dir string, files []gateways.File) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // configuration without secrets, read by a gateway of another user
		return fmt.Errorf("--out: %w", err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Content, 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}
