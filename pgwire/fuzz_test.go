package pgwire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/pgwire"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// standIn understands every statement and gives no rows.
type standIn struct{}

// Execute implements pgwire.SQL.
func (standIn) Execute(_ context.Context, r sql.Request) ([]sql.Entity, error) {
	_, err := sql.Parse(r.Text)
	return nil, err
}

// Prepare implements pgwire.SQL.
func (standIn) Prepare(r sql.Request) (sql.Description, error) {
	_, err := sql.Parse(r.Text)
	return sql.Description{Parameters: make([]functions.Type, 1), Columns: []sql.Column{{Name: "A"}}}, err
}

// Query implements pgwire.SQL.
func (standIn) Query(_ context.Context, r sql.Request, to sql.Answer) (bool, error) {
	if _, err := sql.Parse(r.Text); err != nil {
		return false, err
	}
	return true, to.Header(sql.Header{Columns: []sql.Column{{Name: "A"}}})
}

// errorLog remembers what is logged as an error.
type errorLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *errorLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *errorLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// encode writes messages of a client.
func encode(f *testing.F, all ...pgproto3.FrontendMessage) (b []byte) {
	f.Helper()
	for _, m := range all {
		var err error
		if b, err = m.Encode(b); err != nil {
			f.Fatal(err)
		}
	}
	return b
}

// FuzzFront sends anything, from the first byte on or after a login: the server must not
// panic, and whatever it answers a client can read.
func FuzzFront(f *testing.F) {
	startup := encode(f, &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "ann"}})
	f.Add(false, encode(f, &pgproto3.SSLRequest{}, &pgproto3.GSSEncRequest{}))
	f.Add(false, encode(f, &pgproto3.CancelRequest{ProcessID: 1, SecretKey: []byte{0, 0, 0, 0}}))
	f.Add(false, []byte("GET / HTTP/1.1\r\n\r\n"))
	for _, text := range []string{"SELECT 1; BEGIN; SELECT x FROM y", "SET a = b; SHOW a", "SELECT '", "/*", "--", "E'\\'';$$;$$ $a$", "INSERT INTO x VALUES ('ö')", ";;", "SHOW", "SET NAMES x", "SELECT 1 AS", "SHOW \x00"} {
		f.Add(true, encode(f, &pgproto3.Query{String: text}, &pgproto3.Sync{}, &pgproto3.Terminate{}))
	}
	f.Add(true, encode(f, &pgproto3.Parse{Name: "a", Query: "SELECT x FROM y WHERE z = $1"}, &pgproto3.Describe{ObjectType: 'S', Name: "a"},
		&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{{1}}, ParameterFormatCodes: []int16{1}}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Close{ObjectType: 'P'}, &pgproto3.Flush{}, &pgproto3.Sync{}))
	settings, err := pgwire.ConfigDef().Parse(connect.Config{"pgwire.listeners": "127.0.0.1:0", "pgwire.max.message.bytes": "65536"})
	if err != nil {
		f.Fatal(err)
	}
	log := &errorLog{}
	s, err := pgwire.New(pgwire.Options{Settings: settings, SQL: standIn{}, Gate: &auth.Gate{}, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Listen(f.Context()); err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, known bool, data []byte) {
		if known {
			data = append(bytes.Clone(startup), data...)
		}
		exchange(t, s.Addrs()[0].String(), data, known)
		if text := log.String(); text != "" {
			t.Fatal(text)
		}
	})
}

// exchange sends data and reads the answer to its end. From a server that knows its client, it
// is all messages of the protocol.
func exchange(t *testing.T, address string, data []byte, known bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	go func() {
		_, _ = conn.Write(data) // The server may have had enough of it.
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	if !known {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	client := pgproto3.NewFrontend(conn, conn)
	for {
		_, err := client.Receive()
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || err != nil && strings.Contains(err.Error(), "invalid") {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
	}
}
