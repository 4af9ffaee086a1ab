package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// Faults is every fault found, one line each.
type Faults []string

// Error lists the faults and says how many there are.
func (f Faults) Error() string {
	noun := "faults"
	if len(f) == 1 {
		noun = "fault"
	}
	return fmt.Sprintf("configuration has %d %s:\n  - %s", len(f), noun, strings.Join(f, "\n  - "))
}

// notSettings are BATTERY_* variables that other verbs read.
var notSettings = map[string]bool{"BATTERY_TOKEN": true, "BATTERY_TOKEN_FILE": true, "BATTERY_ADMIN_URL": true, "BATTERY_CONFIG": true}

// Load reads the YAML file at path (empty: none), lays environ (KEY=VALUE
// lines, as os.Environ gives) and then set (key=value, as --set gives) on top,
// and checks the result. The error is Faults when the content is at fault.
func Load(path string, environ, set []string) (*Config, error) {
	k := koanf.New(".")
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		if err := k.Load(rawbytes.Provider(raw), yaml.Parser()); err != nil {
			return nil, Faults{fmt.Sprintf("%s is not YAML: %v", path, err)}
		}
	}
	var faults Faults
	faults = append(faults, overlay(k, fromEnv(environ), "environment variable")...)
	faults = append(faults, overlay(k, fromFlags(set), "--set")...)

	c := Default()
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", ErrorUnused: true, WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
	if err != nil {
		faults = append(faults, decodeFaults(err)...)
	}
	faults = append(faults, c.Validate()...)
	switch {
	case len(faults) > 0 && path != "":
		return nil, fmt.Errorf("%s: %w", path, faults)
	case len(faults) > 0:
		return nil, faults
	}
	return &c, nil
}

type override struct{ name, key, value string }

func fromEnv(environ []string) []override {
	names := map[string]string{}
	for _, key := range Keys() {
		names["BATTERY_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	}
	var out []override
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "BATTERY_") && !notSettings[name] {
			out = append(out, override{name: name, key: names[name], value: value})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

func fromFlags(set []string) []override {
	known := map[string]bool{}
	for _, key := range Keys() {
		known[key] = true
	}
	var out []override
	for _, kv := range set {
		key, value, _ := strings.Cut(kv, "=")
		o := override{name: key, value: value}
		if known[key] {
			o.key = key
		}
		out = append(out, o)
	}
	return out
}

func overlay(k *koanf.Koanf, values []override, what string) (faults Faults) {
	for _, o := range values {
		if o.key == "" {
			faults = append(faults, fmt.Sprintf("%s %s names no setting", what, o.name))
			continue
		}
		if err := k.Set(o.key, o.value); err != nil {
			faults = append(faults, fmt.Sprintf("%s %s: %v", what, o.name, err))
		}
	}
	return faults
}

// Keys lists the settings that take one value, in dotted form: what the
// environment and --set can reach. Lists are given comma-separated; apps,
// oidc, machines.issuers and policy.settings only in the file.
func Keys() []string {
	var keys []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("koanf")
			switch {
			case tag == "":
			case f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Duration]():
				walk(f.Type, prefix+tag+".")
			case f.Type.Kind() == reflect.Map, f.Type == reflect.TypeFor[[]App](), f.Type == reflect.TypeFor[[]Issuer](), f.Type == reflect.TypeFor[[]OIDC]():
			default:
				keys = append(keys, prefix+tag)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	sort.Strings(keys)
	return keys
}

// decodeFaults splits the decoder's joined error into lines, without its
// decoration.
func decodeFaults(err error) (out Faults) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			out = append(out, decodeFaults(e)...)
		}
		return out
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "* "))
		if line != "" && !strings.HasPrefix(line, "decoding failed") {
			out = append(out, readable(line)...)
		}
	}
	return out
}

// readable says what the decoder found in an operator's words: its own name the
// type where the file begins, and do not say how a duration is written.
func readable(line string) (out Faults) {
	key, what, ok := strings.Cut(strings.TrimPrefix(line, "'"), "' ")
	if !ok || !strings.HasPrefix(line, "'") {
		return Faults{line}
	}
	unknown, ok := strings.CutPrefix(what, "has invalid keys: ")
	switch {
	case ok && strings.HasPrefix(key, "config."):
		key = ""
	case ok:
		key += "."
	case strings.HasPrefix(what, "time: "):
		return Faults{key + " is not a duration such as 30m or 24h: " + what}
	default:
		return Faults{key + ": " + what}
	}
	for _, name := range strings.Split(unknown, ", ") {
		out = append(out, "unknown key "+key+name)
	}
	return out
}
