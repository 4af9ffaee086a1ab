package gateways

import (
	"net/http"
	"slices"
	"strings"
)

// OnlySet are the headers that policies set and do not read: whatever a client
// sends under these names is worth nothing.
func (v view) OnlySet() []string {
	read := distinct(v.RequestHeaders)
	return slices.DeleteFunc(distinct(v.PolicyHeaders), func(n string) bool { return slices.Contains(read, n) })
}

// Aliases are regular expressions, each for whole names in lower case, of which
// the door must see every header to refuse it: spellings that some reader takes
// for a header of ours, of the policies', or for one that tells how a request
// came. There is one for each way, not one for all: Envoy refuses expressions
// that are larger than its default limit (100 instructions).
func (v view) Aliases() []string {
	var out []string
	for _, prefix := range append(v.Prefixes(), "x-forwarded-") {
		for _, way := range respelled(prefix) {
			out = append(out, way+".*")
		}
		out = append(out, prefix+".*[^-a-z0-9].*")
	}
	for _, name := range distinct(slices.Concat([]string{"X-Real-Ip"}, v.PolicyHeaders, v.RequestHeaders)) {
		out = append(out, respelled(name)...)
	}
	return out
}

// respelled are the ways to write a name with at least one character in the place
// of a dash that is neither letter, digit nor dash; the other dashes may be
// anything that is no letter and no digit. A name without a dash has none.
func respelled(name string) []string {
	parts := strings.Split(strings.ToLower(name), "-")
	var ways []string
	for odd := 1; odd < len(parts); odd++ {
		ways = append(ways, strings.Join(parts[:odd], "[^a-z0-9]")+"[^-a-z0-9]"+strings.Join(parts[odd:], "[^a-z0-9]"))
	}
	return ways
}

// distinct are header names in the way Go writes them, each once: the server's
// file and the command line may both name one.
func distinct(names []string) []string {
	var out []string
	for _, n := range names {
		if n = http.CanonicalHeaderKey(n); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
