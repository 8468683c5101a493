package line

import (
	"context"
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Name is what a process serves, in go-plugin's words.
const Name = "connectors"

// Handshake is what both ends know before they speak: the version of all that this package
// says, and a value by which a plugin knows that a worker has started it.
func Handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{
		ProtocolVersion: 1, MagicCookieKey: "TIDEMILL_PLUGIN", MagicCookieValue: "f2b1c6a4-started-by-a-worker",
	}
}

// ServerEnd is a plugin's process, which has t behind its streams.
type ServerEnd struct {
	goplugin.NetRPCUnsupportedPlugin
	Talker interface{ Talk(s Stream) error }
}

// GRPCServer implements goplugin.GRPCPlugin.
func (e *ServerEnd) GRPCServer(_ *goplugin.GRPCBroker, server *grpc.Server) error {
	Serve(server, e.Talker)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin.
func (e *ServerEnd) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the end of the plugin")
}

// ClientEnd is the worker's end; what it dispenses is the *grpc.ClientConn, for [Dial].
type ClientEnd struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer implements goplugin.GRPCPlugin.
func (ClientEnd) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is the end of the worker")
}

// GRPCClient implements goplugin.GRPCPlugin.
func (ClientEnd) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, connection *grpc.ClientConn) (any, error) {
	return connection, nil
}
