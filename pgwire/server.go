package pgwire

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/streams/sql"
)

// Times that guard against clients that do nothing. They are not settings, because no honest
// client meets them.
const (
	startupTimeout = 10 * time.Second
	changeTimeout  = 90 * time.Second
)

// SQL answers statements: *sql.Engine. It is called from any number of goroutines.
type SQL interface {
	Execute(ctx context.Context, r sql.Request) ([]sql.Entity, error)
	Query(ctx context.Context, r sql.Request, to sql.Answer) (complete bool, err error)
	Prepare(r sql.Request) (sql.Description, error)
}

var _ SQL = (*sql.Engine)(nil)

// Options are what a server is made from. Settings, SQL and Gate are needed.
type Options struct {
	Settings connect.Settings // ConfigDef().Parse of the worker's settings.
	SQL      SQL
	Gate     *auth.Gate  // Finds out who asks.
	TLS      *tls.Config // Nil: clients are told that there is no TLS.
	Insecure bool        // Whether other machines may ask without anybody asking who they are.
	Learn    func(statement string)
	Redactor *config.Redactor // Takes known secrets out of messages; nil for none.
	Version  string
	Log      *slog.Logger
	// Audit is told of each statement that changes something or is refused; nil: nobody is.
	Audit *slog.Logger
}

// Server answers PostgreSQL's clients.
type Server struct {
	o   Options
	log *slog.Logger
	// starting are the slots of connections that do not say yet what they want, sessions those
	// of clients.
	starting, slots chan struct{}

	mu        sync.Mutex // Guards the following.
	listeners []net.Listener
	sessions  map[uint32]*session
	last      uint32
}

// New checks the settings and returns a server that does not listen yet. The error lists all
// faults.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Learn == nil {
		o.Learn = func(string) {}
	}
	most := o.Settings.Int("pgwire.max.connections")
	s := &Server{o: o, log: o.Log, starting: make(chan struct{}, most), slots: make(chan struct{}, most), sessions: map[uint32]*session{}}
	var faults connect.Errors
	for _, address := range o.Settings.List("pgwire.listeners") {
		if fault := s.closed(address); fault != nil {
			faults = append(faults, fault)
		}
	}
	return s, faults.OrNil()
}

// closed refuses an address that other machines can reach where nobody is asked who they
// are, or where they would send passwords in the clear.
func (s *Server) closed(address string) *connect.Error {
	e := &connect.Error{Code: "pgwire.public", Class: connect.ClassConfig, Place: address}
	switch {
	case auth.Loopback(address):
		return nil
	case s.o.Gate.Open() && !s.o.Insecure:
		e.Message = "whoever reaches this address could do everything: nobody is asked who they are"
		e.Mend = "set rest.basic.auth.file (tidemill user add writes it), listen on 127.0.0.1, or say --insecure (rest.insecure=true) if that is wanted"
	case !s.o.Gate.Open() && s.o.TLS == nil:
		e.Message = "passwords would come over the network in the clear"
		e.Mend = "set listeners.https.ssl.keystore.location to a PEM file with certificate and key, or listen on 127.0.0.1"
	default:
		return nil
	}
	return e
}

// Listen opens the listeners; Run does so too, if it has not been done. The error has the
// code "pgwire.listen".
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners != nil {
		return nil
	}
	var all []net.Listener
	for _, address := range s.o.Settings.List("pgwire.listeners") {
		var listen net.ListenConfig
		l, err := listen.Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return &connect.Error{
				Code: "pgwire.listen", Class: connect.ClassFatal, Place: address, Message: "PostgreSQL's clients cannot be listened to here", Cause: err,
				Mend: "free the address, or set pgwire.listeners to another",
			}
		}
		if s.o.Gate.Open() && !auth.Loopback(address) {
			s.log.Warn("PostgreSQL's clients can come from other machines, and whoever comes can do everything", "address", l.Addr().String())
		}
		all = append(all, l)
	}
	s.listeners = all
	return nil
}

// Addrs returns the addresses the server listens on.
func (s *Server) Addrs() (all []net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		all = append(all, l.Addr())
	}
	return all
}

// Run serves until ctx is done; it then ends all sessions and returns nil. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range s.listeners {
		defer context.AfterFunc(ctx, func() { l.Close() })()
		group.Go(func() error {
			for {
				select {
				case s.starting <- struct{}{}:
				case <-ctx.Done():
					return nil
				}
				conn, err := l.Accept()
				switch {
				case ctx.Err() != nil:
					if err == nil {
						conn.Close()
					}
					return nil
				case err != nil:
					<-s.starting
					return err
				}
				group.Go(func() error { s.serve(ctx, conn); return nil })
			}
		})
	}
	return group.Wait()
}

// serve answers one connection until it ends.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	started := sync.OnceFunc(func() { <-s.starting })
	defer started()
	defer conn.Close()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a session ended in a panic", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(startupTimeout))
	c := newSession(s, conn)
	if err := c.start(ctx); err != nil {
		c.bye(err)
		return
	}
	if c.who == nil {
		return // It came to cancel, and has done so.
	}
	select {
	case s.slots <- struct{}{}:
	default:
		c.bye(refuse(stateTooMany, "sorry, too many clients already", "raise pgwire.max.connections"))
		return
	}
	defer func() { <-s.slots }()
	started()
	s.enter(c)
	defer s.leave(c)
	if err := c.run(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("a session ended", "from", conn.RemoteAddr().String(), "error", err)
	}
}

// enter gives a session its number and key.
func (s *Server) enter(c *session) {
	_, _ = rand.Read(c.key[:]) // It never fails.
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.last++; s.sessions[s.last] != nil || s.last == 0; s.last++ {
	}
	c.id = s.last
	s.sessions[c.id] = c
}

func (s *Server) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c.id)
}

// cancel ends the statement that a session runs, for somebody who knows its key.
func (s *Server) cancel(id uint32, key []byte) {
	s.mu.Lock()
	c := s.sessions[id]
	s.mu.Unlock()
	if c != nil && subtle.ConstantTimeCompare(c.key[:], key) == 1 {
		c.interrupt()
	}
}
