package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/rest/live"
)

// Times that guard against clients that do nothing. They are not settings, because
// no honest client meets them.
const (
	headerTimeout   = 5 * time.Second
	idleTimeout     = 2 * time.Minute
	bodyTimeout     = 30 * time.Second
	writeTimeout    = time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeaderBytes  = 64 << 10
)

// Options are what a server is made from. Settings and Herder are needed.
type Options struct {
	Settings connect.Settings // ConfigDef().Parse of the worker's settings, references resolved.
	Herder   Herder
	// Metrics answers /metrics and UI answers /ui/; both may be nil.
	Metrics, UI http.Handler
	// SQL answers the SQL routes; nil: there are none.
	SQL SQL
	// Streams answers what is asked of streams applications; nil: there are none.
	Streams http.Handler
	// Loggers are the levels behind /admin/loggers; nil: one of the root alone.
	Loggers *Loggers
	// Logs are the lines behind /connectors/{name}/logs; nil: there are none.
	Logs *Logs
	// Redactor takes known secrets out of messages; nil for none.
	Redactor *config.Redactor
	Log      *slog.Logger
	// Audit is told of each request that changes something or is refused; nil: nobody is.
	Audit *slog.Logger
}

// Server answers REST requests.
type Server struct {
	o       Options
	log     *slog.Logger
	strict  bool
	mask    bool
	maxBody int64
	timeout time.Duration
	// bodyTimeout is the constant, unless a test has less time.
	bodyTimeout time.Duration
	gate        *auth.Gate
	used        nonces
	slots       chan struct{} // Of requests that are being answered.
	peers       *http.Client  // To other workers.
	headers     []header
	// public are the listeners, and admin those for /admin alone.
	public, admin []listener
	// live runs the queries that clients subscribe to.
	live *live.Hub
	// queries are the ends of the running queries, by their names.
	queries sync.Map

	mu    sync.Mutex // Guards doors.
	doors []*door
	// streams ends when the server begins to stop: answers that go on for ever end
	// with it.
	streams    context.Context
	endStreams context.CancelFunc
}

// door is one listener and what is served behind it.
type door struct {
	listener
	net    net.Listener
	server *http.Server
}

// New checks the settings and returns a server that does not listen yet. The error
// lists all faults.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Logs == nil {
		o.Logs = NewLogs()
	}
	if o.Loggers == nil {
		o.Loggers = NewLoggers(slog.LevelInfo)
	}
	c := o.Settings
	s := &Server{
		o: o, log: o.Log, strict: c.String("rest.compat.errors") == "strict", mask: c.Bool("rest.mask.secrets"),
		maxBody: c.Int64("rest.max.body.bytes"), timeout: c.Duration("rest.request.timeout.ms"), bodyTimeout: bodyTimeout,
	}
	s.slots = make(chan struct{}, c.Int("rest.max.requests"))
	s.streams, s.endStreams = context.WithCancel(context.Background())
	s.live = live.New(live.Limits{Rows: c.Int64("rest.subscribe.max.bytes"), Queries: c.Int("rest.subscribe.max.queries")})
	context.AfterFunc(s.streams, s.live.Close)
	s.headers, _ = parseHeaders(c.String("response.http.headers.config"))
	var faults connect.Errors
	var err error
	if s.gate, err = auth.New(c, s.report); err != nil {
		faults = append(faults, config.Faults(err)...)
	}
	s.peers = Peers(c)
	s.public, s.admin = listeners(c)
	faults = append(append(faults, config.Faults(s.loadTLS(publicTLS, s.public))...), config.Faults(s.loadTLS(adminTLS, s.admin))...)
	if len(faults) == 0 && s.gate.Open() && !c.Bool("rest.insecure") {
		faults = append(append(faults, closed(s.public)...), closed(s.admin)...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return s, nil
}

// listeners returns where to listen, and where for /admin alone.
func listeners(c connect.Settings) (public, admin []listener) {
	public = parseListeners(c.List("listeners"))
	if len(public) == 0 {
		public = []listener{{address: net.JoinHostPort(c.String("rest.host.name"), strconv.Itoa(c.Int("rest.port")))}}
	}
	return public, parseListeners(c.List("admin.listeners"))
}

// closed refuses listeners that other machines can reach where nobody is asked who they are.
func closed(all []listener) (faults connect.Errors) {
	for _, l := range all {
		if !l.loopback() {
			faults = append(faults, &connect.Error{
				Code: "rest.public", Class: connect.ClassConfig, Place: l.address, Message: "whoever reaches this address could do everything: nobody is asked who they are",
				Mend: "set rest.basic.auth.file (tidemill user add writes it), listen on 127.0.0.1, or say --insecure (rest.insecure=true) if that is wanted",
			})
		}
	}
	return faults
}

// report tells of files that have become unusable.
func (s *Server) report(message string, err error) { s.log.Error(message, "err", err) }

// loadTLS gives those listeners that are https what they are spoken to with.
func (s *Server) loadTLS(prefix string, all []listener) (err error) {
	m := tlsMaterial(s.o.Settings, prefix)
	for i, l := range all {
		if !l.tls {
			continue
		}
		if all[i].config, err = m.tlsOf("the https listener "+l.address, s.report); err != nil {
			return err
		}
	}
	return nil
}

// Handler returns what answers requests on the listeners, without a socket.
func (s *Server) Handler() http.Handler {
	separate := s.o.Settings.Given("admin.listeners")
	return s.handler(func(r route) bool { return !r.admin || !separate })
}

// Listen opens the listeners; Run does so too, if it has not been done. It is
// separate for those who want to know the address before anything runs. The error
// has the code "rest.listen".
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doors != nil {
		return nil
	}
	var doors []*door
	open := func(all []listener, handler http.Handler) error {
		for _, l := range all {
			d, err := s.open(ctx, l, handler)
			if err != nil {
				return err
			}
			doors = append(doors, d)
		}
		return nil
	}
	err := open(s.public, s.Handler())
	if err == nil {
		err = open(s.admin, s.handler(func(r route) bool { return r.admin }))
	}
	if err != nil {
		for _, d := range doors {
			d.net.Close()
		}
		return err
	}
	s.doors = doors
	return nil
}

func (s *Server) open(ctx context.Context, l listener, handler http.Handler) (*door, error) {
	var listen net.ListenConfig
	n, err := listen.Listen(ctx, "tcp", l.address)
	if err != nil {
		return nil, &connect.Error{
			Code: "rest.listen", Class: connect.ClassFatal, Place: l.address, Message: "the REST interface cannot listen here", Cause: err,
			Mend: "free the address, or set listeners (or --rest-port) to another",
		}
	}
	n = limitConnections(n, s.o.Settings.Int("rest.max.connections"))
	if l.tls {
		n = tls.NewListener(n, l.config)
	}
	handler = s.checkHost(l, handler)
	switch {
	case l.loopback():
	case s.gate.Open():
		s.log.Warn("the REST interface can be reached from other machines, and whoever reaches it can do everything", "address", n.Addr().String())
	case !l.tls && s.gate.Secrets():
		s.log.Warn("passwords and tokens come over the network in the clear; use an https listener, unless something in front of this one does it", "address", n.Addr().String())
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	// Clients of push queries speak HTTP/2 without TLS.
	server.Protocols.SetUnencryptedHTTP2(true)
	return &door{listener: l, net: n, server: server}, nil
}

// Asks tells whether those who ask have to show who they are.
func (s *Server) Asks() bool { return !s.gate.Open() }

// Gate finds out who asks, for other doors of the worker.
func (s *Server) Gate() *auth.Gate { return s.gate }

// Addrs returns the addresses the server listens on, those of listeners first.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []net.Addr
	for _, d := range s.doors {
		all = append(all, d.net.Addr())
	}
	return all
}

// Run serves until ctx is done. It then lets requests finish for a few seconds, ends
// push queries at once, and returns nil. It is called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.endStreams()
	if err := s.Listen(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, d := range s.doors {
		group.Go(func() error {
			if err := d.server.Serve(d.net); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		s.endStreams()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		for _, d := range s.doors {
			if d.server.Shutdown(grace) != nil {
				d.server.Close()
			}
		}
		return nil
	})
	return group.Wait()
}
