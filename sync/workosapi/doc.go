// Package workosapi is the only place that talks to WorkOS. It wraps the
// official SDK, at the one version whose faults are known, behind plain types
// of ours, so that the rest of the program neither knows the SDK nor has to
// repeat what the SDK leaves out: retries with Retry-After, pacing of the one
// endpoint that has its own limit, checked ids, errors without secrets.
//
// Where the SDK sends what the API refuses, the call is made raw here
// (creating an organization, Admin Portal links); workos-go issues #467 and
// #479 tell why. Everything that is read of organizations, connections,
// directories and events is read raw too: the SDK takes any answer of 200 that
// is JSON, even {}, for an empty list, and fails a page of events over one
// timestamp.
//
// A rate limit, a server error or a time-out is never an empty answer: lists
// are either complete or an error, because the caller may remove what a list
// does not name.
package workosapi
