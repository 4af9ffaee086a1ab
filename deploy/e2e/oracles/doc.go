// Package oracles has the WorkOS stand-in (cmd/batterygate/dev/standin) judged
// by what nobody here wrote: WorkOS's own OpenAPI description, its Go client of
// another generation than the one the gate uses (v7), and its Node client. What
// they find is a fault of the stand-in, and with it a hole in every test that
// relies on it.
//
// All traffic of the tests goes through a proxy that validates each answer
// against the description: status, shape, and that there is no field in it that
// WorkOS does not have. Where the description has no schema for an answer the
// test fails, unless oddities_test.go says why that is right.
//
// The stand-in is built from the repository's root module and run as a program;
// nothing of it is imported here, so that the clients' dependencies stay out
// of the gate. tools.sh installs the description and the Node client.
package oracles
