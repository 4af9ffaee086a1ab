package api

import (
	"slices"
	"strings"
)

// evaluate is what holders of tokens are asked about who ask AuthZEN questions.
const evaluate = "authzen.evaluate"

// Scopes are all that a token may be given, sorted but for the two that are not
// actions: operator, read, every action that the admin policy is asked about, and
// "room.*" for all of a room. One that is mistyped would be a token that is
// refused where it is needed, long after whoever made it has gone.
func Scopes() []string {
	all := append((&API{}).Actions(), grantAction, evaluate)
	for _, action := range all {
		room, _, _ := strings.Cut(action, ".")
		all = append(all, room+".*")
	}
	slices.Sort(all)
	return append([]string{scopeOperator, scopeRead}, slices.Compact(all)...)
}

// knownScopes is Scopes for a message: each room once, with its verbs.
func knownScopes() string {
	rooms, verbs := []string{}, map[string][]string{}
	for _, scope := range Scopes() {
		room, verb, ok := strings.Cut(scope, ".")
		if !ok {
			continue
		}
		if verbs[room] == nil {
			rooms = append(rooms, room)
		}
		verbs[room] = append(verbs[room], verb)
	}
	parts := []string{scopeOperator, scopeRead}
	for _, room := range rooms {
		parts = append(parts, room+".("+strings.Join(verbs[room], "|")+")")
	}
	return strings.Join(parts, " ")
}
