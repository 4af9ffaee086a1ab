package sso_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The threat model names a test for every hostile case. A name that is not a
// test is a promise that nobody keeps.
func TestTheThreatModelNamesTestsThatExist(t *testing.T) {
	model, err := os.ReadFile("../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(model), "## Hostile input, case by case")
	if !found {
		t.Fatal("the table is gone")
	}
	sources := map[string]string{}
	read := func(room string) string {
		if s, ok := sources[room]; ok {
			return s
		}
		files, _ := filepath.Glob(filepath.Join("..", room, "*_test.go"))
		var b strings.Builder
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(text)
		}
		sources[room] = b.String()
		return b.String()
	}
	named := regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)[A-Za-z]+)`").FindAllStringSubmatch(table, -1)
	if len(named) < 40 {
		t.Fatalf("it names %d tests", len(named))
	}
	for _, n := range named {
		if !strings.Contains(read(n[1]), "func "+n[2]+"(") {
			t.Errorf("%s has no test %s", n[1], n[2])
		}
	}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| case") && !strings.Contains(line, "`") {
			t.Errorf("no test: %s", line)
		}
	}
}
