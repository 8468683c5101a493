package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Direction is the way bytes go; directions can be joined by |.
type Direction uint8

// The directions.
const (
	ToServer Direction = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

// Options tells how a Proxy listens and what it does. The zero value listens
// on a free port of the loopback and passes everything.
type Options struct {
	// Listen is the address to listen on; 127.0.0.1:0 when empty.
	Listen string
	// Listener takes the place of Listen, for a network in memory. The Proxy
	// closes it.
	Listener net.Listener
	// Dial opens the connection to the target; that of a net.Dialer when nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Framing finds the messages; nil takes each read of a socket for one.
	Framing Framing
	// Hook is asked about each message; nil passes all. It is called from
	// several goroutines, one for each direction of a connection.
	Hook func(*Message) Verdict
}

// Conditions are the state of the network, for connections that are open and
// for those to come.
type Conditions struct {
	// Delay is how long what was read waits before it is passed on. What
	// arrives meanwhile goes with the next piece, so that bandwidth is kept.
	Delay time.Duration
	// BytesPerSecond bounds each direction of each connection; no bound when 0.
	BytesPerSecond int
	// Stall holds back what goes in these directions until it is lifted, as a
	// network does that is interrupted and comes back. Nothing is lost.
	Stall Direction
	// Swallow loses what goes in these directions. A connection that has lost
	// something stays open and stays silent, also under better conditions.
	Swallow Direction
	// Refuse resets new connections at once.
	Refuse bool
}

// Proxy passes connections on to a target. Its methods are safe for concurrent
// use.
type Proxy struct {
	listener net.Listener
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	framing  Framing
	hook     atomic.Pointer[func(*Message) Verdict]
	running  sync.WaitGroup
	ctx      context.Context // Ends with the Proxy: what is being dialled ends with it.
	end      context.CancelFunc

	mu         sync.Mutex // guards the following
	target     string
	conditions Conditions
	changed    chan struct{} // Closed when conditions change.
	open       map[*Conn]bool
	accepted   int64
}

// New listens and passes what comes to target, a host and a port, until Close.
func New(target string, o Options) (*Proxy, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Listener == nil {
		l, err := net.Listen("tcp", o.Listen)
		if err != nil {
			return nil, err
		}
		o.Listener = l
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Framing == nil {
		o.Framing = pieces
	}
	p := &Proxy{listener: o.Listener, dial: o.Dial, framing: o.Framing, target: target,
		changed: make(chan struct{}), open: map[*Conn]bool{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.SetHook(o.Hook)
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns the host and port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port returns the port of Addr.
func (p *Proxy) Port() string {
	_, port, _ := net.SplitHostPort(p.Addr())
	return port
}

// SetTarget has new connections go to another server.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// SetHook has another hook asked from the next message on; nil passes all.
func (p *Proxy) SetHook(hook func(*Message) Verdict) {
	if hook == nil {
		hook = func(*Message) Verdict { return Pass }
	}
	p.hook.Store(&hook)
}

// Set changes the conditions, at once.
func (p *Proxy) Set(c Conditions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conditions = c
	close(p.changed)
	p.changed = make(chan struct{})
}

// now returns the conditions and a channel that is closed when they change.
func (p *Proxy) now() (Conditions, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conditions, p.changed
}

// Accepted returns how many connections were taken so far.
func (p *Proxy) Accepted() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open returns the connections that are open.
func (p *Proxy) Open() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*Conn, 0, len(p.open))
	for c := range p.open {
		list = append(list, c)
	}
	return list
}

// Cut ends all open connections, on both sides, in the orderly way.
func (p *Proxy) Cut() {
	for _, c := range p.Open() {
		c.Cut()
	}
}

// Reset ends all open connections, on both sides, with a reset.
func (p *Proxy) Reset() {
	for _, c := range p.Open() {
		c.Reset()
	}
}

// Swallow loses everything that goes in the directions d on the connections
// that are open now. They stay open; new ones are not concerned.
func (p *Proxy) Swallow(d Direction) {
	for _, c := range p.Open() {
		c.Swallow(d)
	}
}

// Close stops listening, cuts all connections and waits until nothing of the
// Proxy runs any more.
func (p *Proxy) Close() error {
	p.end()
	err := p.listener.Close()
	p.Cut()
	p.running.Wait()
	return err
}

// accept takes connections until the listener is closed.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes one connection on until it ends.
func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	p.accepted++
	c, target, refuse := &Conn{id: p.accepted, client: client, done: make(chan struct{})}, p.target, p.conditions.Refuse
	p.mu.Unlock()
	if !refuse {
		if server, err := p.dial(p.ctx, "tcp", target); err == nil {
			c.server = server
		}
	}
	if c.server == nil {
		abort(client)
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.open[c] = true
	p.mu.Unlock()
	defer func() {
		c.Cut()
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
	}()
	if p.ctx.Err() != nil {
		return // Close may have looked before this connection was entered.
	}
	toServer, toClient := p.framing()
	var both sync.WaitGroup
	both.Go(func() { p.relay(c, ToServer, toServer) })
	both.Go(func() { p.relay(c, ToClient, toClient) })
	both.Wait()
}
