package forward

import (
	"context"
	"errors"
	"fmt"
	"io"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto" // registers the codec, too
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"battery.app/gate/authz"
)

const (
	// maxCheck is the longest CheckRequest that is read, in bytes: all headers
	// that Envoy takes by default come to 60 KiB. A longer one is refused unread.
	maxCheck = 2 << 20
	// maxMessage is the longest message that has an answer, and so what a trusted
	// gateway can make us hold for one question. Envoy takes 8 MiB of headers at
	// most (max_request_headers_kb), writes the path three times, and adds as much
	// of a body as its with_request_body says, which no configuration of ours has.
	// Beyond it the call fails, on record: an Envoy with failure_mode_allow that
	// shows bodies of more than 32 MiB would let such a request pass.
	maxMessage = 64 << 20
)

// GRPC returns a server with the gRPC door (envoy.service.auth.v3.Authorization).
// Health and reflection are the caller's.
//
// The door is served as a stream of one question, which looks the same on the
// wire. So the peer is judged before its message is read: one that is not trusted
// can make us hold no more than HTTP/2's window. And what cannot be read is still
// answered: a call that fails is one that Envoy may be set to let pass
// (failure_mode_allow), and a client who can make it fail would be let in.
func (d *Doors) GRPC(opts ...grpc.ServerOption) *grpc.Server {
	opts = append(opts, grpc.MaxRecvMsgSize(maxMessage), grpc.ForceServerCodecV2(checkCodec{encoding.GetCodecV2(proto.Name)}))
	s := grpc.NewServer(opts...)
	door := d.checkServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: authv3.Authorization_ServiceDesc.ServiceName,
		Metadata:    authv3.Authorization_ServiceDesc.Metadata,
		Streams:     []grpc.StreamDesc{{StreamName: "Check", Handler: door.serve, ServerStreams: true, ClientStreams: true}},
	}, nil)
	return s
}

func (d *Doors) checkServer() *checkServer {
	return &checkServer{doors: d, door: extAuthzGRPCDoor()}
}

// serve answers one call.
func (s *checkServer) serve(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	call := call{meta: metadataOf(ctx), in: checkMessage{req: new(authv3.CheckRequest)}}
	call.caller = s.doors.callerOfCall(ctx, call.meta)
	var failed error
	if call.caller.trusted {
		failed = stream.RecvMsg(&call.in)
	}
	switch {
	case failed == nil:
	case gone(failed):
		return failed
	case errors.Is(failed, io.EOF):
		call.in.fault, failed = malformed("The call holds no question."), nil
	default: // that status is sent, and the call over: the record is all there is
		ctx = context.WithoutCancel(ctx)
		call.in.fault = malformed(fmt.Sprintf("The question is broken off, or longer than %d MiB.", maxMessage>>20))
	}
	out, err := s.answer(ctx, &call)
	if failed != nil {
		s.doors.opt.Log.ErrorContext(ctx, "a gateway's question could not be answered; with failure_mode_allow it lets the request pass",
			"gateway", call.caller.name, "error", failed)
		return failed
	}
	if err != nil {
		return err
	}
	return stream.SendMsg(out)
}

// gone reports whether nobody waits for an answer any more.
func gone(err error) bool {
	code := status.Code(err)
	return code == codes.Canceled || code == codes.DeadlineExceeded || code == codes.Unavailable
}

// Check answers Envoy. It never returns an error but where a probe asks for one.
func (s *checkServer) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	meta := metadataOf(ctx)
	return s.answer(ctx, &call{caller: s.doors.callerOfCall(ctx, meta), meta: meta, in: checkMessage{req: in}})
}

// checkMessage is a question as it came: a CheckRequest, or why it is none.
type checkMessage struct {
	req   *authv3.CheckRequest // never nil
	fault *authz.Fault
}

// checkCodec reads questions, and everything else as protobuf's own codec does.
type checkCodec struct{ encoding.CodecV2 }

// Unmarshal notes what is wrong with a question, in the place of failing.
func (c checkCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*checkMessage)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if data.Len() > maxCheck {
		m.fault = malformed(fmt.Sprintf("The question is longer than %d KiB.", maxCheck>>10))
		return nil
	}
	if err := c.CodecV2.Unmarshal(data, m.req); err != nil {
		// What was read before the fault is not believed.
		m.req, m.fault = new(authv3.CheckRequest), malformed("The question is no CheckRequest, or text in it is not UTF-8.")
	}
	return nil
}
