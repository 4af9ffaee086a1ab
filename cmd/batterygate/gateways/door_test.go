package gateways_test

import (
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"

	"battery.app/gate/cmd/batterygate/gateways"
)

// secure is setup where the doors speak TLS and demand a certificate.
func secure() gateways.Setup {
	s := setup()
	s.DoorTLS = gateways.DoorTLS{On: true, Client: true, CA: "/pki/door-ca.pem", Name: "gate", Cert: "/pki/gateway.pem", Key: "/pki/gateway.pem.key",
		Hop: gateways.Address{Host: "127.0.0.1", Port: 8084}}
	return s
}

// Whoever asks over TLS names the authority, the name and the certificate, and
// has no address left at which it would ask in the clear.
func TestEveryGatewayAsksOverTLS(t *testing.T) {
	want := map[string][]string{
		"traefik": {`address: "https://gate:8081/authz/forward-auth"`, `ca: "/pki/door-ca.pem"`, `cert: "/pki/gateway.pem"`, `key: "/pki/gateway.pem.key"`},
		"envoy": {`uri: "https://gate:8081"`, `trusted_ca: {filename: "/pki/door-ca.pem"}`, `{san_type: DNS, matcher: {exact: "gate"}}`,
			`certificate_chain: {filename: "/pki/gateway.pem"}`, "alpn_protocols: [http/1.1]"},
		"nginx": {"proxy_pass https://battery_authz/", "proxy_ssl_verify on;", "proxy_ssl_name gate;", "proxy_ssl_trusted_certificate /pki/door-ca.pem;",
			"proxy_ssl_certificate /pki/gateway.pem;", "proxy_ssl_certificate_key /pki/gateway.pem.key;"},
		"caddy":   {"tls_trust_pool file /pki/door-ca.pem", "tls_server_name gate", "tls_client_auth /pki/gateway.pem /pki/gateway.pem.key"},
		"haproxy": {`DOOR = "http://127.0.0.1:8084/`, "verify required ca-file /pki/door-ca.pem verifyhost gate sni str(gate) crt /pki/gateway.pem"},
		"gateway-api": {"kind: BackendTLSPolicy", "hostname: gate", "name: battery-door-ca", "clientCertificateRef: {kind: Secret, name: battery-door-client}",
			"parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: battery}"},
	}
	for _, name := range gateways.Names() {
		got := generate(t, name, secure())
		for _, w := range want[name] {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s", name, w)
			}
		}
		if strings.Contains(got, "http://gate:8081") || strings.Contains(got, "http://battery_authz") {
			t.Errorf("%s asks in the clear", name)
		}
	}
	s := secure()
	s.Door = "grpc"
	if got := generate(t, "envoy", s); !strings.Contains(got, "alpn_protocols: [h2]") || !strings.Contains(got, `exact: "gate"`) {
		t.Error("Envoy's gRPC cluster speaks no TLS")
	}
}

func TestYAMLOverTLSIsYAML(t *testing.T) {
	for _, door := range []string{"http", "grpc"} {
		s := secure()
		s.Door = door
		for _, name := range []string{"traefik", "envoy", "gateway-api"} {
			files, err := gateways.Generate(name, s)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				for i, doc := range strings.Split(string(f.Content), "\n---\n") {
					if _, err := yaml.Parser().Unmarshal([]byte(doc)); err != nil {
						t.Errorf("%s/%s, document %d: %v", name, f.Name, i, err)
					}
				}
			}
		}
	}
}

// Without a certificate of the gateway's own the doors' is verified all the same.
func TestTLSWithoutACertificateOfTheGateways(t *testing.T) {
	for _, name := range gateways.Names() {
		s := secure()
		s.DoorTLS.Client, s.DoorTLS.Cert, s.DoorTLS.Key = false, "", ""
		got := generate(t, name, s)
		if strings.Contains(got, "gateway.pem") || strings.Contains(got, "battery-door-client") || !strings.Contains(got, "door-ca") {
			t.Errorf("%s: shows a certificate, or verifies none", name)
		}
	}
}

func TestGenerateRefusesHalfATLS(t *testing.T) {
	all := []string{"caddy", "envoy", "haproxy", "nginx", "traefik"}
	for name, row := range map[string]struct {
		gateways []string
		spoil    func(*gateways.DoorTLS)
		says     string
	}{
		"no authority":            {all, func(d *gateways.DoorTLS) { d.CA = "" }, "--door-ca"},
		"no name":                 {append(all, "gateway-api"), func(d *gateways.DoorTLS) { d.Name = "" }, "--door-name"},
		"an address for a name":   {append(all, "gateway-api"), func(d *gateways.DoorTLS) { d.Name = "10.0.0.5" }, "--door-name"},
		"no certificate":          {all, func(d *gateways.DoorTLS) { d.Cert, d.Key = "", "" }, "demand a certificate"},
		"a certificate alone":     {all, func(d *gateways.DoorTLS) { d.Key = "" }, "go together"},
		"a path upwards":          {all, func(d *gateways.DoorTLS) { d.CA = "/pki/../x" }, "absolute path"},
		"a name of another host":  {[]string{"traefik"}, func(d *gateways.DoorTLS) { d.Name = "other" }, "agree"},
		"a key somewhere else":    {[]string{"haproxy"}, func(d *gateways.DoorTLS) { d.Key = "/pki/key.pem" }, "beside it"},
		"a hop for everybody":     {[]string{"haproxy"}, func(d *gateways.DoorTLS) { d.Hop.Host = "0.0.0.0" }, "loopback"},
		"a hop without a port":    {[]string{"haproxy"}, func(d *gateways.DoorTLS) { d.Hop.Port = 0 }, "loopback"},
		"a hop under some name":   {[]string{"haproxy"}, func(d *gateways.DoorTLS) { d.Hop.Host = "localhost" }, "loopback"},
		"what is no name at all":  {all, func(d *gateways.DoorTLS) { d.Name = "gate; x" }, "--door-name"},
		"what is no path at all":  {all, func(d *gateways.DoorTLS) { d.Cert = "/a b"; d.Key = "/a b" }, "absolute path"},
		"an authority, no letter": {all, func(d *gateways.DoorTLS) { d.CA = "/\"" }, "absolute path"},
	} {
		for _, gw := range row.gateways {
			s := secure()
			row.spoil(&s.DoorTLS)
			if files, err := gateways.Generate(gw, s); err == nil || !strings.Contains(err.Error(), row.says) || files != nil {
				t.Errorf("%s, %s: %d files, error %v; want one with %q", name, gw, len(files), err, row.says)
			}
		}
	}
}
