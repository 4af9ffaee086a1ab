// Package authzen answers apps that ask about finer things than a request: may
// this subject do this to that resource? It speaks the OpenID AuthZEN
// Authorization API 1.0 over the policy that the gateways' questions go to.
//
//	POST /access/v1/evaluation    one question
//	POST /access/v1/evaluations   up to MaxBatch, with defaults, and a rule for when to stop
//	GET  /.well-known/authzen-configuration
//
// The rule data.battery.authzen.decision answers, over subject, action, resource
// and context as the caller says them, and caller as its token says it. The
// caller is an app that asks about its own users and enforces what it is told,
// so its words are believed; which caller may ask about whom is for the policy
// to look at, by input.caller.
//
// # Against whom
//
// Callers without a token are nobody. A body is read in one way only: a member
// that is there twice, invalid UTF-8, endless nesting and numbers of absurd size
// are refused, since what is read differently by the app and by the policy is a
// hole. Whatever goes wrong in an evaluation is a decision of false; a status
// other than 200 says that nothing was decided.
//
// # Records
//
// Every evaluation makes one record, with the door "authzen": the gateway is the
// caller, the method the action's name, the path /<type>/<id> of the resource,
// the session's user the subject's id; and the query is the whole input as JSON,
// so that the evaluation can be repeated over another policy.
package authzen
