package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
	"battery.app/gate/cmd/batterygate/doctor"
)

// Exit codes of the doctor, beside exitUsage: CI must tell a gateway that is at
// fault from one that could not be examined.
const (
	exitProblems = 1
	exitCouldNot = 3
)

// codedError is an error with an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

func newGatewayDoctor() *cobra.Command {
	r := &remote{}
	var o doctor.Options
	var echo, ca string
	cmd := &cobra.Command{
		Use: "doctor URL", Short: "Examine the live gateway in front of an app, and say which setting is missing",
		Long: "Sends about eighty requests through the gateway to the app at URL, with the token of a probe that\n" +
			"ends with the examination, and compares what was sent, what arrived at the door, and what arrived at\n" +
			"the app, if the app echoes what it received. For every problem it prints the configuration to add.\n\n" +
			"Exit code: 0 all well, 1 problems found, 2 wrong usage, 3 could not examine.",
		Example: "  batterygate gateway doctor https://crm.acme.example.com --token-file token\n" +
			"  batterygate gateway doctor http://crm.acme.battery.localhost:8000 --gateway traefik --json",
		Args: oneArg("the app's URL at the gateway"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.URL, err = url.Parse(args[0]); err != nil || o.URL.Host == "" || o.URL.Scheme != "http" && o.URL.Scheme != "https" {
				return usageError{fmt.Errorf("%q is no http(s) URL", args[0])}
			}
			o.URL = &url.URL{Scheme: o.URL.Scheme, Host: o.URL.Host}
			if o.NoEcho = echo == "none"; !o.NoEcho && echo != "auto" {
				return usageError{fmt.Errorf("--echo is auto or none, not %q", echo)}
			}
			if o.Gateway != "" && !slices.Contains(doctor.Gateways(), o.Gateway) {
				return usageError{fmt.Errorf("--gateway %q is none of %s", o.Gateway, strings.Join(doctor.Gateways(), ", "))}
			}
			if o.Timeout <= 0 {
				return usageError{fmt.Errorf("--timeout %v is no time to wait", o.Timeout)}
			}
			if o.TLS, err = trusting(ca); err != nil {
				return usageError{err}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			o.API = c
			return examine(cmd, r, o)
		},
	}
	r.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&echo, "echo", "auto", "whether the app echoes what it receives: auto sees it by its answer, none does not look")
	f.StringVar(&o.Gateway, "gateway", "", "which gateway it is, for the lines to add: "+strings.Join(doctor.Gateways(), ", ")+"; default: guessed")
	f.StringVar(&o.Prefix, "header-prefix", "X-Battery-", "identity.header_prefix of the server")
	f.StringVar(&o.Resolve, "resolve", "", "address (host or host:port) to dial in the place of the URL's")
	f.StringVar(&ca, "ca", "", "PEM file of the certificate authority to trust, beside the system's")
	f.DurationVar(&o.Timeout, "timeout", 15*time.Second, "how long one request may take")
	return cmd
}

// trusting is the TLS configuration that trusts a certificate authority, too.
func trusting(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // the default
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("--ca: %s holds no certificate", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

func examine(cmd *cobra.Command, r *remote, o doctor.Options) error {
	report, err := doctor.Run(cmd.Context(), o)
	if err != nil {
		var refused *client.Error
		if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
			err = fmt.Errorf("%w\nthe token needs the scopes apps.list, probes.create, probes.read and probes.delete", err)
		}
		return codedError{fmt.Errorf("gateway doctor: %w", err), exitCouldNot}
	}
	if r.json {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		err = report.Print(cmd.OutOrStdout())
	}
	if err != nil {
		return codedError{err, exitCouldNot}
	}
	if report.Problems > 0 {
		return codedError{fmt.Errorf("%d problems with the gateway", report.Problems), exitProblems}
	}
	return nil
}
