package sim

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// network joins the parts of a simulation: hosts that listen and dial by addresses
// such as 10.0.0.1:5432. It is reliable until it is told not to be.
type network struct {
	mu        sync.Mutex // Guards what follows.
	listeners map[string]*listener
	links     map[*link]struct{}
	// down are hosts that answer nothing and send nothing.
	down map[string]bool
	// shut are hosts that refuse connections, but for those of the oracle.
	shut map[string]bool
	next int
	// delay says how long bytes take on a new connection; nil for no time at all.
	delay func(from, to string) time.Duration
}

func newNetwork() *network {
	return &network{listeners: map[string]*listener{}, links: map[*link]struct{}{}, down: map[string]bool{}, shut: map[string]bool{}}
}

// link is one connection.
type link struct {
	net          *network
	number       int
	from, to     string // Hosts.
	up, down     *half  // From the client to the server, and back.
	once         sync.Once
	client, serv *conn
}

// unansweredMost is after how long a connection on which nothing arrives any more is
// found to be dead by the system's own probes, as it is with those of the source.
const unansweredMost = time.Minute

// unconnectedMost is for how long a system asks for a connection when nobody answers:
// Linux with its net.ipv4.tcp_syn_retries of 6.
const unconnectedMost = 127 * time.Second

// abandonedMost is the same for servers, which are in no hurry.
const abandonedMost = 10 * time.Minute

// cut resets the connection: neither side gets anything more.
func (l *link) cut() {
	l.forget()
	l.up.fail(syscall.ECONNRESET, syscall.ECONNRESET)
	l.down.fail(syscall.ECONNRESET, syscall.ECONNRESET)
}

// finish closes the connection for both sides, which still get what is on its way.
func (l *link) finish() {
	l.forget()
	for _, h := range []*half{l.up, l.down} {
		h.fail(nil, syscall.EPIPE)
		h.end()
	}
}

// blackHole makes everything vanish that is sent from now on. The client's system
// finds out after a while; the server has its own timeouts.
func (l *link) blackHole() {
	l.up.lose()
	l.down.lose()
	time.AfterFunc(unansweredMost, func() {
		l.forget()
		l.client.die(syscall.ETIMEDOUT)
	})
	time.AfterFunc(abandonedMost, func() { l.serv.die(syscall.ETIMEDOUT) })
}

func (l *link) forget() {
	l.once.Do(func() {
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.links, l)
	})
}

// dialer returns what opens connections from a host.
func (n *network) dialer(from string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) { return n.dial(ctx, from, address) }
}

func (n *network) dial(ctx context.Context, from, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	at, down := n.listeners[address], n.down[from]
	if n.shut[host] && from != hostOracle {
		at = nil
	}
	n.mu.Unlock()
	if down {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(unconnectedMost):
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr(address), Err: syscall.ETIMEDOUT}
		}
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: addr(address), Err: syscall.ECONNREFUSED}
	if at == nil {
		return nil, refused
	}
	n.mu.Lock()
	var delay time.Duration
	if n.delay != nil && from != hostOracle {
		delay = n.delay(from, host)
	}
	l := &link{net: n, from: from, to: host, up: newHalf(delay), down: newHalf(delay)}
	n.next++
	l.number = n.next
	local := addr(fmt.Sprintf("%s:%d", from, n.next))
	l.client = &conn{link: l, in: l.down, out: l.up, local: local, remote: addr(address)}
	l.serv = &conn{link: l, in: l.up, out: l.down, local: addr(address), remote: local}
	n.links[l] = struct{}{}
	n.mu.Unlock()
	select {
	case at.incoming <- l.serv:
		return l.client, nil
	case <-at.closed:
		l.cut()
		return nil, refused
	case <-ctx.Done():
		l.cut()
		return nil, ctx.Err()
	}
}

// between returns the connections from one host to another; "" stands for any host.
func (n *network) between(from, to string) []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*link
	for l := range n.links {
		if (from == "" || l.from == from) && (to == "" || l.to == to) {
			list = append(list, l)
		}
	}
	return list
}

// unplug takes a host from the network. Its connections are not
// closed; nothing gets through them any more.
func (n *network) unplug(host string) {
	n.mu.Lock()
	n.down[host] = true
	n.mu.Unlock()
	for _, l := range append(n.between(host, ""), n.between("", host)...) {
		l.up.lose()
		l.down.lose()
		l.forget()
		l.client.die(syscall.ETIMEDOUT)
		time.AfterFunc(abandonedMost, func() { l.serv.die(syscall.ETIMEDOUT) })
	}
}

// hangUp closes all connections of a host for the other sides, as its system does when
// a process ends.
func (n *network) hangUp(host string) {
	for _, l := range append(n.between(host, ""), n.between("", host)...) {
		l.cut()
	}
}

// close has a host refuse connections and resets those it has, but for the oracle's.
func (n *network) close(host string) {
	n.mu.Lock()
	n.shut[host] = true
	n.mu.Unlock()
	for _, l := range n.between("", host) {
		if l.from != hostOracle {
			l.cut()
		}
	}
}

// reopen lets connections in again.
func (n *network) reopen(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.shut, host)
}

// listen opens an address.
func (n *network) listen(_, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: addr(address), Err: syscall.EADDRINUSE}
	}
	l := &listener{net: n, address: addr(address), incoming: make(chan *conn), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// listener implements [net.Listener].
type listener struct {
	net      *network
	address  addr
	incoming chan *conn
	closed   chan struct{}
	once     sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, string(l.address))
		l.net.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.address }

// addr implements [net.Addr].
type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// conn implements [net.Conn]: one side of a connection.
type conn struct {
	link          *link
	in, out       *half
	local, remote addr
}

func (c *conn) Read(p []byte) (int, error)  { n, err := c.in.take(p); return n, c.wrap("read", err) }
func (c *conn) Write(p []byte) (int, error) { n, err := c.out.put(p); return n, c.wrap("write", err) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

func (c *conn) SetReadDeadline(at time.Time) error {
	c.in.deadline(&c.in.read, at)
	return nil
}

func (c *conn) SetWriteDeadline(at time.Time) error {
	c.out.deadline(&c.out.write, at)
	return nil
}

func (c *conn) SetDeadline(at time.Time) error {
	_ = c.SetReadDeadline(at)
	return c.SetWriteDeadline(at)
}

// Close says goodbye, unless the way is lost: then the other side is not told.
func (c *conn) Close() error {
	c.out.mu.Lock()
	lost := c.out.lost
	c.out.mu.Unlock()
	if lost {
		c.die(net.ErrClosed)
		return nil
	}
	c.link.forget()
	c.out.end()
	c.out.fail(nil, net.ErrClosed)
	c.in.fail(net.ErrClosed, syscall.EPIPE)
	return nil
}

// die ends this side alone.
func (c *conn) die(err error) {
	c.in.fail(err, nil)
	c.out.fail(nil, err)
}

// wrap makes an error look like one of the net package.
func (c *conn) wrap(op string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: errno}
	}
	return err
}
