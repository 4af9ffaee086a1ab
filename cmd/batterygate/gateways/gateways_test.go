package gateways_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"pgregory.net/rapid"

	"battery.app/gate/cmd/batterygate/gateways"
)

func setup() gateways.Setup {
	at := func(host string, port int) gateways.Address { return gateways.Address{Host: host, Port: port} }
	return gateways.Setup{
		Listen: at("", 443), Public: at("gate", 8080), Authz: at("gate", 8081), GRPC: at("gate", 8082),
		PublicHost: "auth.example.com", Prefix: "X-Battery-", PolicyHeaders: []string{"X-Plan"}, RequestHeaders: []string{"x-purpose"},
		Apps: []gateways.App{
			{ID: "crm.acme", Hosts: []string{"crm.acme.example.com", "crm.example.org"}, Upstream: at("crm", 8000)},
			{ID: "wiki.acme", Hosts: []string{"wiki.acme.example.com"}, Upstream: at("wiki", 8000)},
		},
		SecretFile: "/run/secrets/gateway", StreamLimit: 15 * time.Minute, Door: "http",
	}
}

func generate(t interface{ Fatal(...any) }, gateway string, s gateways.Setup) string {
	files, err := gateways.Generate(gateway, s)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		all.Write(f.Content)
	}
	return all.String()
}

var identity = []string{"User-Id", "Org-Id", "User-Email", "Roles", "App-Id", "Decision-Id", "Groups", "Assertion"}

func TestEveryConfigurationHoldsWhatItMust(t *testing.T) {
	for _, name := range gateways.Names() {
		got := strings.ToLower(generate(t, name, setup()))
		want := []string{"crm.acme.example.com", "crm.example.org", "wiki.acme.example.com", "auth.example.com", "/.battery", "x-plan"}
		for _, h := range identity {
			want = append(want, "x-battery-"+strings.ToLower(h))
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s", name, w)
			}
		}
		if strings.Contains(got, "<no value>") || strings.Contains(got, "{{ .") {
			t.Errorf("%s: a template was not filled", name)
		}
	}
}

// With another prefix, that one is emitted and guarded, and the header of the
// shared secret is guarded still.
func TestAnotherPrefix(t *testing.T) {
	s := setup()
	s.Prefix = "X-Acme-Id-"
	for _, name := range gateways.Names() {
		got := strings.ToLower(generate(t, name, s))
		for _, h := range identity {
			if !strings.Contains(got, "x-acme-id-"+strings.ToLower(h)) || strings.Contains(got, "x-battery-"+strings.ToLower(h)) {
				t.Errorf("%s: the identity header %s is not under the prefix alone", name, h)
			}
		}
		if !strings.Contains(got, "x-battery-") {
			t.Errorf("%s: nobody takes a client's X-Battery-Gateway-Secret away", name)
		}
	}
}

func TestYAMLIsYAML(t *testing.T) {
	for _, name := range []string{"traefik", "envoy", "gateway-api"} {
		files, err := gateways.Generate(name, setup())
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

// Every route of an app is asked about, and what it refers to is there.
func TestGatewayAPIRefersToWhatIsThere(t *testing.T) {
	got := generate(t, "gateway-api", setup())
	asked, routes := 0, 0
	for _, doc := range strings.Split(got, "\n---\n") {
		m, err := yaml.Parser().Unmarshal([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if m["kind"] != "HTTPRoute" {
			continue
		}
		routes++
		meta := m["metadata"].(map[string]any)
		name := meta["name"].(string)
		labels, _ := meta["labels"].(map[string]any)
		toGate := strings.HasSuffix(name, ".battery") || name == "battery-public"
		if (labels["battery.app/asks"] == "yes") == toGate {
			t.Errorf("route %s: labels %v", name, labels)
		}
		if !toGate {
			asked++
		}
	}
	if routes != 6 || asked != 3 {
		t.Errorf("%d routes, %d of them asked about; want 6 and 3", routes, asked)
	}
	for _, policy := range []string{"SecurityPolicy", "EnvoyExtensionPolicy"} {
		if !strings.Contains(got, "kind: "+policy) {
			t.Errorf("no %s", policy)
		}
	}
	if strings.Count(got, `matchLabels: {battery.app/asks: "yes"}`) != 2 || !strings.Contains(got, "failOpen: false") {
		t.Error("the question is not asked for the labelled routes alone, or fails open")
	}
}

func TestCheckRefusesWhatIsNoName(t *testing.T) {
	for name, spoil := range map[string]func(*gateways.Setup){
		"no app":             func(s *gateways.Setup) { s.Apps = nil },
		"no host":            func(s *gateways.Setup) { s.Apps[0].Hosts = nil },
		"a host twice":       func(s *gateways.Setup) { s.Apps[1].Hosts = s.Apps[0].Hosts },
		"the public host":    func(s *gateways.Setup) { s.Apps[0].Hosts = []string{s.PublicHost} },
		"a host in capitals": func(s *gateways.Setup) { s.Apps[0].Hosts = []string{"CRM.example.com"} },
		"a wildcard":         func(s *gateways.Setup) { s.Apps[0].Hosts = []string{"*.example.com"} },
		"an id of one word":  func(s *gateways.Setup) { s.Apps[0].ID = "crm" },
		"a port of 0":        func(s *gateways.Setup) { s.Authz.Port = 0 },
		"no door":            func(s *gateways.Setup) { s.Door = "" },
		"no prefix":          func(s *gateways.Setup) { s.Prefix = "" },
		"a prefix of dashes": func(s *gateways.Setup) { s.Prefix = "--" },
		"no stream limit":    func(s *gateways.Setup) { s.StreamLimit = 0 },
		"half a second":      func(s *gateways.Setup) { s.StreamLimit = time.Second / 2 },
		"a key alone":        func(s *gateways.Setup) { s.TLSKey = "/key" },
		"a path upwards":     func(s *gateways.Setup) { s.SecretFile = "/run/../etc/x" },
		"a policy header":    func(s *gateways.Setup) { s.PolicyHeaders = []string{"X Plan"} },
	} {
		s := setup()
		spoil(&s)
		if err := s.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// No name becomes configuration: what Check lets through has no character that
// means something to a gateway.
func TestNoNameBecomesConfiguration(t *testing.T) {
	nasty := rapid.StringOfN(rapid.SampledFrom([]rune("a.b-c_/ \n\t\"'`;{}$%#\\()|*[]:,<>&=~0é\u202e")), 0, 24, -1)
	rapid.Check(t, func(t *rapid.T) {
		s, v := setup(), nasty.Draw(t, "value")
		s.Apps = s.Apps[:1]
		switch rapid.IntRange(0, 8).Draw(t, "field") {
		case 0:
			s.Apps[0].Hosts = []string{v}
		case 1:
			s.Apps[0].ID = v
		case 2:
			s.SecretFile = v
		case 3:
			s.PublicHost = v
		case 4:
			s.Apps[0].Upstream.Host = v
		case 5:
			s.PolicyHeaders = []string{v}
		case 6:
			s.Prefix = v
		case 7:
			s.DoorTLS = secure().DoorTLS
			s.DoorTLS.Name, s.Authz.Host = v, "gate"
		case 8:
			s.DoorTLS = secure().DoorTLS
			s.DoorTLS.CA, s.DoorTLS.Cert, s.DoorTLS.Key = v, v, v
		}
		if _, err := gateways.Generate("nginx", s); err != nil {
			return
		}
		if strings.ContainsAny(v, " \n\t\"'`;{}$%#\\()|*[],<>&=~é\u202e") {
			t.Fatalf("accepted %q", v)
		}
		for _, name := range gateways.Names() {
			if _, err := gateways.Generate(name, s); err != nil && !strings.Contains(err.Error(), "Service") && !strings.Contains(err.Error(), "agree") {
				t.Fatalf("%s with %q: %v", name, v, err)
			}
		}
	})
}

func TestTwoAppsNeverShareAName(t *testing.T) {
	a, b := gateways.App{ID: "a-b.c"}, gateways.App{ID: "a.b-c"}
	if a.Name() == b.Name() {
		t.Errorf("both are %s", a.Name())
	}
}

func ExampleNames() {
	fmt.Println(gateways.Names())
	// Output: [caddy envoy gateway-api haproxy nginx traefik]
}
