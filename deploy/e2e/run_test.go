package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"battery.app/gate/deploy/e2e/program"
)

// secretEnv is the variable from which Traefik and Envoy take the shared secret.
const secretEnv = "BATTERY_GATEWAY_SECRET"

// runGateway has the binary write the gateway's configuration into dir, has the
// gateway check it where it can, and starts it. It returns when it listens.
func runGateway(f front, tool, dir string, c GatewayConfig) (*program.Program, error) {
	if err := Generate(shared.binary, f.tool, dir, c); err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if c.Edit != nil {
		if err := edit(in(confOf[f.tool]), c.Edit); err != nil {
			return nil, err
		}
	}
	var check, args, env []string
	switch f.tool {
	case "traefik":
		args = []string{"--configfile=" + in("traefik.yaml")}
	case "envoy":
		check = []string{"--mode", "validate", "-c", in("envoy.yaml")}
		args = []string{"-c", in("envoy.yaml"), "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"}
	case "nginx":
		if err := wrapNginx(dir, c); err != nil {
			return nil, err
		}
		check = []string{"-t", "-q", "-p", dir, "-c", in("nginx.conf")}
		args = []string{"-p", dir, "-c", in("nginx.conf"), "-g", "daemon off;"}
	case "caddy":
		env = []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "HOME=" + dir}
		check = []string{"validate", "--adapter", "caddyfile", "--config", in("Caddyfile")}
		args = []string{"run", "--adapter", "caddyfile", "--config", in("Caddyfile")}
	case "haproxy":
		check = []string{"-c", "-q", "-f", in("haproxy.cfg")}
		args = []string{"-db", "-f", in("haproxy.cfg")}
	}
	if c.SecretFile != "" {
		secret, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("read the secret: %w", err)
		}
		env = append(env, secretEnv+"="+strings.TrimSpace(string(secret)))
	}
	if check != nil {
		p, err := program.Start(env, in("check.log"), tool, check...)
		if err != nil {
			return nil, err
		}
		if err := p.AwaitExit(); err != nil {
			return nil, fmt.Errorf("%s refuses its configuration: %w\n%s", f.name, err, p.Tail())
		}
	}
	p, err := program.Start(env, in(f.name+".log"), tool, args...)
	if err != nil {
		return nil, err
	}
	if err := p.AwaitListening(c.Listen.String()); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// wrapNginx writes what a distribution's nginx.conf holds around ours, and the
// secret as the directive that nginx can include.
func wrapNginx(dir string, c GatewayConfig) error {
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // the test's folders are root's
	}
	conf := fmt.Sprintf(`%serror_log stderr warn;
pid nginx.pid;
worker_processes 2;
events { worker_connections 4096; }
http {
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include %s/battery-gate.conf;
}
`, user, dir)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		return fmt.Errorf("write nginx.conf: %w", err)
	}
	if c.SecretFile == "" {
		return nil
	}
	secret, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return fmt.Errorf("read the secret: %w", err)
	}
	line := fmt.Sprintf("proxy_set_header X-Battery-Gateway-Secret %q;\n", strings.TrimSpace(string(secret)))
	return os.WriteFile(c.SecretFile+".nginx", []byte(line), 0o600)
}

// confOf are the gateways' main files.
var confOf = map[string]string{"envoy": "envoy.yaml", "caddy": "Caddyfile", "haproxy": "haproxy.cfg", "traefik": "dynamic.yaml", "nginx": "battery-gate.conf"}

// edit changes a file. An edit that changes nothing would let a test prove nothing.
func edit(path string, change func(string) string) error {
	was, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read a configuration: %w", err)
	}
	now := change(string(was))
	if now == string(was) {
		return fmt.Errorf("the edit of %s changes nothing", path)
	}
	return os.WriteFile(path, []byte(now), 0o600)
}
