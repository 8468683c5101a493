package line

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// The service has one method, a stream of messages that are bytes: no generated code.
const (
	service = "tidemill.plugin.v1.Plugin"
	talk    = "Talk"
)

// The windows of a stream and of a connection are fixed, so that no more than this is on
// its way to an end that does not read; and a message is as large as a batch may be.
const (
	streamWindow     = 4 << 20
	connectionWindow = 8 << 20
	largestMessage   = 1 << 30
	socketBuffer     = 64 << 10
)

// message is what the stream carries: a head and a body that are sent one behind the other.
type message struct{ head, body []byte }

// codec passes messages on as they are; everything else on the connection is go-plugin's
// own and protobuf.
type codec struct{ rest encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Name implements encoding.CodecV2.
func (codec) Name() string { return "tidemill" }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*message); ok {
		return mem.BufferSlice{mem.SliceBuffer(m.head), mem.SliceBuffer(m.body)}, nil
	}
	return c.rest.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return c.rest.Unmarshal(data, v)
	}
	all := data.Materialize()
	n := min(headSize, len(all))
	m.head, m.body = all[:n:n], all[n:]
	return nil
}

// grpcStream is a stream of gRPC, of either end.
type grpcStream struct {
	stream interface {
		SendMsg(m any) error
		RecvMsg(m any) error
	}
}

// Send implements [Stream].
func (s grpcStream) Send(head, body []byte) error { return s.stream.SendMsg(&message{head, body}) }

// Recv implements [Stream].
func (s grpcStream) Recv() (head, body []byte, err error) {
	var m message
	err = s.stream.RecvMsg(&m)
	return m.head, m.body, err
}

// ServerOptions are the options of a plugin's gRPC server.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()), grpc.MaxRecvMsgSize(largestMessage), grpc.MaxSendMsgSize(largestMessage),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(socketBuffer), grpc.WriteBufferSize(socketBuffer),
	}
}

// DialOptions are the options of a worker's connection.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestMessage), grpc.MaxCallSendMsgSize(largestMessage)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithReadBufferSize(socketBuffer), grpc.WithWriteBufferSize(socketBuffer),
	}
}

// Dial opens the stream of a worker; it ends with ctx.
func Dial(ctx context.Context, connection *grpc.ClientConn) (Stream, error) {
	desc := &grpc.StreamDesc{StreamName: talk, ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(ctx, desc, "/"+service+"/"+talk, grpc.ForceCodecV2(newCodec()))
	if err != nil {
		return nil, err
	}
	return grpcStream{stream}, nil
}

// talker is what a plugin's server has behind it.
type talker interface {
	Talk(s Stream) error
}

// Serve has a server hand its streams to t, one goroutine each.
func Serve(server *grpc.Server, t interface{ Talk(s Stream) error }) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service, HandlerType: (*talker)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: talk, ServerStreams: true, ClientStreams: true,
			Handler: func(impl any, stream grpc.ServerStream) error { return impl.(talker).Talk(grpcStream{stream}) },
		}},
	}, t)
}
