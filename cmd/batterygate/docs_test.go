package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"

	"battery.app/gate/cmd/batterygate/config"
)

// A newcomer types what the documentation says. These tests hold it to what the
// program takes.

// manual returns the pages of docs, and README.
func manual(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	gateways, _ := filepath.Glob("../../docs/gateways/*.md")
	pages := map[string]string{}
	for _, f := range append(append(files, gateways...), "../../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pages[strings.TrimPrefix(f, "../../")] = string(text)
	}
	return pages
}

// blocks are a page's code blocks in a language.
func blocks(page, language string) (out []string) {
	for _, m := range regexp.MustCompile("(?ms)^ *```"+language+"\n(.*?)^ *```").FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

// setting is a field of the configuration, by its dotted name.
type setting struct {
	value reflect.Value // what it is by default
	open  bool          // a mapping whose keys are the operator's
}

func settings(v reflect.Value, prefix string, out map[string]setting) map[string]setting {
	for i := range v.NumField() {
		tag, f := v.Type().Field(i).Tag.Get("koanf"), v.Field(i)
		switch {
		case tag == "":
		case f.Kind() == reflect.Struct:
			settings(f, prefix+tag+".", out)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			settings(reflect.New(f.Type().Elem()).Elem(), prefix+tag+"[].", out)
		default:
			out[prefix+tag] = setting{f, f.Kind() == reflect.Map}
		}
	}
	return out
}

func allSettings() map[string]setting {
	return settings(reflect.ValueOf(config.Default()), "", map[string]setting{})
}

// elsewhere are defaults that are not filled in by the configuration itself.
var elsewhere = map[string]string{
	"machines.issuers[].algorithms": "all asymmetric", "oidc[].scopes": "`email`, `profile`", "apps[].path": "`strict`",
}

func TestEverySettingIsDocumented(t *testing.T) {
	page := manual(t)["docs/configuration.md"]
	all := allSettings()
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*?) ?\\| .+ \\|$").FindAllStringSubmatch(page, -1) {
		name, says := row[1], row[2]
		s, ok := all[name]
		if !ok {
			t.Errorf("%s is documented and no setting, or twice", name)
			continue
		}
		delete(all, name)
		want := elsewhere[name]
		if want == "" {
			want = shown(s.value)
		}
		if says != want && !(says == "required" && want == "") {
			t.Errorf("the default of %s is said to be %q, and is %q", name, says, want)
		}
	}
	for name := range all {
		t.Errorf("%s is not in docs/configuration.md", name)
	}
}

// shown is a default as the page writes it.
func shown(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		if len(x) == 0 {
			return ""
		}
		return "`" + strings.Join(x, "`, `") + "`"
	case string:
		if x == "" {
			return ""
		}
	case time.Duration:
		return "`" + strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(x.String()) + "`"
	case map[string]any, map[string]string, map[string][]string:
		return ""
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

// Every YAML of the manual that is ours names settings that exist.
func TestSettingsInTheManualExist(t *testing.T) {
	all := allSettings()
	known := func(leaf string) bool {
		for name, s := range all {
			if leaf == name || s.open && strings.HasPrefix(leaf, name+".") {
				return true
			}
		}
		return strings.HasSuffix(leaf, ".…") // what the page leaves out
	}
	seen := 0
	for name, page := range manual(t) {
		if strings.Contains(name, "gateways/") {
			continue // those are the gateways' own
		}
		for _, b := range blocks(page, "yaml") {
			v, err := yaml.Parser().Unmarshal([]byte(b))
			if err != nil {
				t.Errorf("%s: %v in\n%s", name, err, b)
			}
			for _, leaf := range leaves("", v) {
				if seen++; !known(leaf) {
					t.Errorf("%s: %s is no setting", name, leaf)
				}
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d settings found: is the manual read?", seen)
	}
}

// leaves are the dotted names of what a YAML document sets.
func leaves(name string, v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			out = append(out, leaves(strings.TrimPrefix(name+"."+k, "."), inner)...)
		}
		return out
	case []any:
		for _, inner := range v {
			if _, isMap := inner.(map[string]any); isMap {
				out = append(out, leaves(name+"[]", inner)...)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return []string{name}
}

// Every command of the manual is one of ours, with flags and arguments that it
// takes. What a sentence mentions may leave arguments out.
func TestCommandsInTheManualExist(t *testing.T) {
	seen := 0
	check := func(page, line string, whole bool) {
		m := ours.FindStringSubmatch(line)
		if m == nil {
			return
		}
		seen++
		if err := takes(words(m[1]), whole); err != nil {
			t.Errorf("%s: %s: %v", page, strings.TrimSpace(line), err)
		}
	}
	for name, page := range manual(t) {
		for _, b := range blocks(page, "sh") {
			for line := range strings.Lines(strings.ReplaceAll(b, "\\\n", " ")) {
				check(name, line, true)
			}
		}
		for _, m := range regexp.MustCompile("`(batterygate [^`]+)`").FindAllStringSubmatch(page, -1) {
			check(name, m[1], false)
		}
	}
	if seen < 40 {
		t.Errorf("only %d commands found: is the manual read?", seen)
	}
}

// ours is a shell's line that calls our program, and what it gives it.
var ours = regexp.MustCompile(`(?:^|\s|\$\(|bin/)batterygate ([^)>]*)`)

// words splits what a command is given; of "a|b" the first counts, and what is in
// brackets, a comment or left out ("…") is no word.
func words(given string) (out []string) {
	given = regexp.MustCompile(`\[[^\]]*\]|\s#.*|\s…(?:\s|$)`).ReplaceAllString(given, " ")
	for _, w := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(given, -1) {
		w, _, _ = strings.Cut(strings.Trim(w, `"`), "|")
		out = append(out, w)
	}
	return out
}

// takes reports why a command line would be refused before it does anything.
func takes(words []string, whole bool) error {
	cmd, rest, err := newRoot().Find(words)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil || !whole {
		return err
	}
	if !cmd.Runnable() {
		return fmt.Errorf("%s does nothing by itself", cmd.CommandPath())
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
