package forward

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"battery.app/gate/authz"
)

// strip says what of the client's request should not reach the app: our cookies,
// a service token that may be good for other apps too, and headers in our name
// that we do not write, so that no app can take a later version's word from a
// client. A gateway that can take nothing away is told of nothing.
func (d *Doors) strip(a *answer, q *question, req *authz.Request) {
	rewrites := slices.Contains(d.opt.CookieRewrite, q.door.dialect.Name)
	if rewrites || q.door.envoy {
		rest, found := d.withoutOurs(q.header["Cookie"])
		switch {
		case found && rest == "", rewrites && len(rest) > maxCookies:
			a.remove = append(a.remove, "cookie")
		case rewrites, q.door.mutates && found:
			a.cookie = rest // over gRPC, what is not changed stays as it is
		}
	}
	if !q.door.envoy {
		a.remove = nil
		return
	}
	if hidesToken(a, req) {
		a.remove = append(a.remove, "authorization")
	}
	a.remove = append(a.remove, d.hidden[:]...)
	for name := range q.header {
		if lower := strings.ToLower(name); d.guarded.own(lower) && !slices.Contains(d.identity.canonical, name) {
			a.remove = append(a.remove, lower)
		}
	}
	slices.Sort(a.remove)
	a.remove = slices.Compact(a.remove)
}

// own reports whether a header name is in our name, written as we write it.
func (g *guard) own(lower string) bool { return hasAnyPrefix(lower, g.prefixes...) }

// grpcClient reports whether the app's client speaks gRPC, as Envoy finds out
// (Grpc::Common::hasGrpcContentType).
func grpcClient(h http.Header) bool {
	v, _ := once(h, "Content-Type")
	rest, ok := strings.CutPrefix(v, "application/grpc")
	return ok && strings.IndexByte(v, ',') < 0 && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// grpcRefusal is a refusal for a gRPC client. Envoy makes of it an answer that
// such clients read: HTTP status 200 without a body, the body as grpc-message,
// and grpc-status as it is given here. Left to itself it would take the latter
// from the HTTP status and call malformed questions internal errors, which
// clients try again.
func grpcRefusal(a answer) answer {
	why := firstReason(a.decision)
	text := why.Message
	if text == "" {
		text = why.Code
	}
	text = shorten(text, 500)
	if a.decision != nil {
		text += " (" + shorten(why.Code, 100) + ", decision " + a.decision.ID + ")"
	}
	status := a.status
	if status < 400 {
		status = http.StatusForbidden
	}
	return answer{decision: a.decision, status: status, body: text, header: http.Header{
		"Content-Type":  {"text/plain; charset=utf-8"},
		"Cache-Control": {"no-store"},
		"Grpc-Status":   {strconv.Itoa(int(grpcCode(a)))},
	}}
}

// grpcCode: who is not known is unauthenticated, everybody else refused has no
// permission.
func grpcCode(a answer) codes.Code {
	if a.decision.Result() == authz.Challenge && a.status != http.StatusForbidden {
		return codes.Unauthenticated
	}
	return codes.PermissionDenied
}

// metadataFor lets Envoy's access log, and filters behind this one, name the
// decision (%DYNAMIC_METADATA(envoy.filters.http.ext_authz:decision_id)%). A
// value that is not known is not there.
func metadataFor(a answer) *structpb.Struct {
	dec := a.decision
	if dec == nil {
		return nil
	}
	result := dec.Result()
	if result == authz.Allow && a.status != http.StatusOK {
		result = authz.Deny // allowed by policy, refused at the door
	}
	codes := make([]*structpb.Value, 0, len(dec.Reasons))
	for _, r := range dec.Reasons {
		codes = append(codes, text(r.Code))
	}
	fields := map[string]*structpb.Value{
		"decision_id": text(dec.ID), "result": text(result.String()),
		"reasons": structpb.NewListValue(&structpb.ListValue{Values: codes}),
	}
	if app := dec.App; app != nil {
		fields["app_id"], fields["organization_id"] = text(app.ID), text(app.OrganizationID)
	}
	if s := dec.Session; s != nil {
		fields["user_id"] = text(s.UserID)
	}
	return &structpb.Struct{Fields: fields}
}

// text is a string that can be sent: one that is not UTF-8 would make the whole
// answer unsendable.
func text(s string) *structpb.Value { return structpb.NewStringValue(strings.ToValidUTF8(s, "\uFFFD")) }
