package words_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"battery.app/gate/cmd/batterygate/words"
)

func TestNamesStayOnTheirLineAndReachNoFurther(t *testing.T) {
	for in, want := range map[string]string{
		"Engineering":               "Engineering",
		"":                          "(no name)",
		" \t\u2028":                 "(no name)",
		"a\nb\x00c\u2028d\x7fe":     "a b c d e",
		"safe\u202egnp.exe":         "safegnp.exe",
		"\u2067right\u2069":         "right",
		"bad\xffbyte":               "bad\uFFFDbyte",
		"👩‍🚀":                       "👩‍🚀",
		strings.Repeat("é", 121):    strings.Repeat("é", 120) + "…",
		strings.Repeat("n", 120):    strings.Repeat("n", 120),
		"<script>alert(1)</script>": "<script>alert(1)</script>", // what it may do in HTML is the template's to say
	} {
		if got := words.Shown(in); got != want || !utf8.ValidString(got) {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := words.Cut("a\nb\nc", 3, true); got != "a\nb…" {
		t.Errorf("%q", got)
	}
}

func TestNumbersAndTimesAreWrittenAsPeopleDo(t *testing.T) {
	for n, want := range map[int]string{0: "0 groups", 1: "1 group", 999: "999 groups", 1000: "1,000 groups", 1234567: "1,234,567 groups"} {
		if got := words.Many(n, "group", "groups"); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Minute: "1 minute", 59 * time.Minute: "59 minutes", time.Hour: "1 hour", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days",
	} {
		if got := words.Lasting(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
