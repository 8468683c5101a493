package pgwire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/streams/sql"
)

// session is one connection of a client.
type session struct {
	server  *Server
	conn    net.Conn
	backend *pgproto3.Backend
	out     *outlet
	id      uint32
	key     [4]byte
	who     *auth.Principal // nil before it is known.
	// database and user are what the client calls them.
	database, user string
	// request has the properties and variables that SET and DEFINE have set.
	request sql.Request
	// settings are PostgreSQL's own that the client may ask for, by their names in lower case.
	settings map[string]string
	block    bool // Between BEGIN and COMMIT.
	// Of the extended protocol.
	prepared map[string]*prepared
	portals  map[string]*portal
	skipping bool // After an error, until the client synchronizes.
	types    *pgtype.Map

	mu          sync.Mutex         // Guards the following.
	stop        context.CancelFunc // Ends the statement that runs; nil: there is none.
	interrupted bool
}

func newSession(s *Server, conn net.Conn) *session {
	c := &session{server: s, prepared: map[string]*prepared{}, portals: map[string]*portal{}, types: pgtype.NewMap(), request: sql.Request{Properties: map[string]string{}, Variables: map[string]string{}}}
	c.over(conn)
	return c
}

// over has the session speak over a connection.
func (s *session) over(conn net.Conn) {
	s.conn, s.out = conn, &outlet{conn: conn}
	s.backend = pgproto3.NewBackend(conn, s.out)
	s.backend.SetMaxBodyLen(s.server.o.Settings.Int("pgwire.max.message.bytes"))
}

// send gives messages to the outlet.
func (s *session) send(all ...pgproto3.BackendMessage) error {
	for _, m := range all {
		s.backend.Send(m)
	}
	return s.backend.Flush()
}

// bye tells the client why the connection ends.
func (s *session) bye(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return // Nobody is there to be told.
	}
	r := s.response(err, nil)
	if r.Code == stateInternal {
		r.Code = stateProtocol // Before the first statement nothing else goes wrong.
	}
	r.Severity, r.SeverityUnlocalized = "FATAL", "FATAL"
	if s.send(r) == nil {
		_ = s.out.Flush()
	}
}

// start lets the client in. Without an error and without knowing who it is, it wanted no more
// than to cancel a statement.
func (s *session) start(ctx context.Context) error {
	for range 4 { // Each kind of encryption is asked for at most once.
		m, err := s.backend.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.GSSEncRequest:
			if err := s.answer('N'); err != nil {
				return err
			}
		case *pgproto3.SSLRequest:
			if err := s.encrypt(ctx); err != nil {
				return err
			}
		case *pgproto3.CancelRequest:
			s.server.cancel(m.ProcessID, m.SecretKey)
			return nil
		case *pgproto3.StartupMessage:
			return s.admit(ctx, m.Parameters)
		}
	}
	return refuse(stateProtocol, "encryption was asked for again and again", "")
}

func (s *session) answer(b byte) error {
	_, err := s.conn.Write([]byte{b})
	return err
}

// encrypt goes on over TLS, where there is a certificate.
func (s *session) encrypt(ctx context.Context) error {
	if _, already := s.conn.(*tls.Conn); already || s.server.o.TLS == nil {
		return s.answer('N')
	}
	if err := s.answer('S'); err != nil {
		return err
	}
	conn := tls.Server(s.conn, s.server.o.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return errors.Join(io.EOF, err) // The client has been told in its own way.
	}
	s.over(conn)
	return nil
}

// admit finds out who the client is.
func (s *session) admit(ctx context.Context, parameters map[string]string) error {
	s.user, s.database = parameters["user"], parameters["database"]
	if s.database == "" {
		s.database = s.user
	}
	if r := parameters["replication"]; r != "" && r != "false" && r != "off" && r != "no" && r != "0" {
		return refuse(stateUnsupported, "there is no replication from here", "connect to the database itself")
	}
	s.settings = s.defaults(parameters)
	login := auth.Login{From: s.conn.RemoteAddr().String(), Name: s.user}
	conn, encrypted := s.conn.(*tls.Conn)
	if encrypted {
		state := conn.ConnectionState()
		login.TLS = &state
	}
	who, err := s.server.o.Gate.Login(ctx, login)
	if err != nil {
		if !encrypted && !auth.Loopback(login.From) {
			return refuse(stateIdentity, "a password is needed, and over this connection it would come in the clear", "connect with sslmode=require")
		}
		if login.Password, err = s.password(); err != nil {
			return err
		}
		who, err = s.server.o.Gate.Login(ctx, login)
	}
	switch {
	case errors.Is(err, auth.ErrTooMany):
		s.audit("login", "refused", 0, err)
		return refuse(stateIdentity, "too many wrong passwords were given for this name", "wait a few seconds")
	case err != nil:
		s.audit("login", "refused", 0, err)
		return refuse(statePassword, fmt.Sprintf("password authentication failed for user %q", s.user), "tidemill user add adds users")
	}
	s.who = who
	return nil
}

// password asks the client for it.
func (s *session) password() (string, error) {
	if err := s.send(&pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return "", err
	}
	if err := s.out.Flush(); err != nil {
		return "", err
	}
	m, err := s.backend.Receive()
	if err != nil {
		return "", err
	}
	p, ok := m.(*pgproto3.PasswordMessage)
	if !ok {
		return "", refuse(stateProtocol, "a password was expected", "")
	}
	return p.Password, nil
}

// run answers messages until the client goes or ctx is done.
func (s *session) run(ctx context.Context) error {
	_ = s.conn.SetDeadline(time.Time{})
	messages := []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}}
	for _, name := range reported() {
		messages = append(messages, &pgproto3.ParameterStatus{Name: name, Value: s.settings[strings.ToLower(name)]})
	}
	if err := s.send(append(messages, &pgproto3.BackendKeyData{ProcessID: s.id, SecretKey: s.key[:]})...); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	incoming := make(chan pgproto3.FrontendMessage)
	ended := make(chan error, 1)
	go func() {
		ended <- s.read(ctx, incoming)
		cancel() // A statement that runs for a client that is gone ends.
	}()
	defer func() { // The reader ends with the connection.
		cancel()
		s.closePortals()
		s.conn.Close()
		<-ended
	}()
	for {
		select {
		case m := <-incoming:
			if err := s.handle(ctx, m); err != nil {
				if errors.Is(err, errTerminated) {
					return nil
				}
				return err
			}
		case <-ctx.Done():
			return s.end(ended)
		}
	}
}

// end tells a client that did not go by itself why it has to.
func (s *session) end(ended chan error) error {
	select {
	case err := <-ended:
		ended <- nil
		if err != nil {
			s.bye(err)
		}
		return err
	default:
		_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
		s.bye(refuse(stateShutdown, "the server is stopping", "connect again"))
		return nil
	}
}

// errTerminated: the client has said goodbye.
var errTerminated = errors.New("the client has gone")

// read hands over what comes. It reads one message ahead, and so notices when the client goes.
func (s *session) read(ctx context.Context, to chan<- pgproto3.FrontendMessage) error {
	for {
		m, err := s.backend.Receive()
		if err != nil {
			if long, ok := errors.AsType[*pgproto3.ExceededMaxBodyLenErr](err); ok {
				return refuse(stateTooLarge, fmt.Sprintf("a message of %d bytes is longer than is read", long.ActualBodyLen), "raise pgwire.max.message.bytes")
			}
			return err
		}
		select {
		case to <- kept(m):
		case <-ctx.Done():
			return nil
		}
	}
}

// kept copies a message, whose memory is that of the next one.
func kept(m pgproto3.FrontendMessage) pgproto3.FrontendMessage {
	switch m := m.(type) {
	case *pgproto3.Query:
		return &pgproto3.Query{String: m.String}
	case *pgproto3.Parse:
		return &pgproto3.Parse{Name: m.Name, Query: m.Query, ParameterOIDs: m.ParameterOIDs}
	case *pgproto3.Bind:
		own := *m
		for i, p := range own.Parameters {
			own.Parameters[i] = bytes.Clone(p)
		}
		return &own
	case *pgproto3.Describe:
		own := *m
		return &own
	case *pgproto3.Execute:
		own := *m
		return &own
	case *pgproto3.Close:
		own := *m
		return &own
	}
	return m
}

// handle answers one message.
func (s *session) handle(ctx context.Context, m pgproto3.FrontendMessage) error {
	switch m := m.(type) {
	case *pgproto3.Query:
		return s.query(ctx, m.String)
	case *pgproto3.Terminate:
		return errTerminated
	}
	return s.extended(ctx, m)
}

// ready tells the client that it is its turn.
func (s *session) ready() error {
	status := byte('T')
	if !s.block {
		status = 'I'
		s.closePortals()
	}
	if err := s.send(&pgproto3.ReadyForQuery{TxStatus: status}); err != nil {
		return err
	}
	return s.out.Flush()
}

// interrupt ends the statement that runs.
func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.interrupted = true
		s.stop()
	}
}

// during has interrupt call stop, or nothing. It tells whether it called what was set before.
func (s *session) during(stop context.CancelFunc) (interrupted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	interrupted = s.interrupted
	s.stop, s.interrupted = stop, false
	return interrupted
}
