// Package proxy is a TCP proxy that misbehaves on demand. Tests put it between
// a client and a server to have the network fail at a moment of their choice.
//
// There are few types. A [Proxy] listens, and passes each connection it takes
// on to one target. [Conditions] are the weather for all connections: delay,
// little bandwidth, silence that ends or does not, refusal. A hook sees each
// [Message] and answers with a [Verdict]: it may be changed, left out, or be the
// last that comes through. A [Framing] says where messages begin and end;
// [Postgres] and [Kafka] know those protocols, and without one a message is
// whatever one read of the socket gave. A [Conn] can be cut, reset or swallowed
// by itself.
//
//	p, err := proxy.New("127.0.0.1:5432", proxy.Options{
//		Framing: proxy.Postgres,
//		Hook:    proxy.Nth(proxy.ToClient, 7, proxy.Reset),
//	})
//	defer p.Close()
//	connect(p.Addr())
//	p.Set(proxy.Conditions{Stall: proxy.Both}) // Nobody hears anybody.
//	p.Set(proxy.Conditions{})                  // What was said meanwhile arrives.
//	p.Cut()
package proxy
