package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/gate"
)

func newServe() *cobra.Command {
	var path string
	var set []string
	var check bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the service", Args: noArgs,
		Example: "  batterygate serve --config /etc/batterygate/batterygate.yaml\n  batterygate serve --config batterygate.yaml --check",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := configured(path, set)
			if err != nil {
				return err
			}
			log := newLogger(cmd.ErrOrStderr(), cfg.Log.Level)
			if check {
				return checkOnly(cmd.OutOrStdout(), cfg, log)
			}
			return serve(cmd, cfg, log)
		},
	}
	cmd.Flags().StringVar(&path, "config", os.Getenv("BATTERY_CONFIG"), "configuration file (or BATTERY_CONFIG)")
	cmd.Flags().StringArrayVar(&set, "set", nil, "a setting on top of file and environment: "+strings.Join([]string{"listen.public=:9000", "log.level=debug"}, ", "))
	cmd.Flags().BoolVar(&check, "check", false, "read configuration and policy, say what is wrong, and exit")
	return cmd
}

func serve(cmd *cobra.Command, cfg *config.Config, log *slog.Logger) (err error) {
	gin.SetMode(gin.ReleaseMode)
	listeners, err := gate.Bind(cfg.Listen)
	if err != nil {
		return err
	}
	g, err := gate.Open(cmd.Context(), cfg, gate.Options{Listeners: listeners, Version: version, Log: log, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	return g.Run(cmd.Context())
}

// checkOnly tells whether serve would start, as far as can be told without
// touching data.
func checkOnly(out io.Writer, cfg *config.Config, log *slog.Logger) error {
	policy, err := gate.Policy(cfg, log, time.Now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Configuration and policy are fine: policy revision %s, %d apps in the file.\n", policy.Revision(), len(cfg.Apps))
	return err
}

// newLogger logs JSON lines to w. The level was checked with the configuration.
func newLogger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level))
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l}))
}
