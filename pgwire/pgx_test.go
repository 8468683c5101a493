package pgwire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/pgwire"
	"github.com/tidemill/tidemill/streams/sql"
)

// dial connects with pgx, which ends with the test.
func dial(t *testing.T, mode pgx.QueryExecMode, dsn string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func dsn(host, port string) string {
	return fmt.Sprintf("host=%s port=%s user=ann database=shop sslmode=disable", host, port)
}

// stateOf is the code of an error, and its message.
func stateOf(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Sprint(err)
	}
	return e.Code + " " + e.Message
}

// everything is a table with a column of each type.
const everything = `CREATE STREAM all_in (id INT KEY, b BOOLEAN, i INT, l BIGINT, d DOUBLE, n DECIMAL(10, 2), s STRING, x BYTES, dt DATE, tm TIME, ts TIMESTAMP,
		a ARRAY<INT>, m MAP<STRING, INT>, st STRUCT<u INT, v STRING>) WITH (KAFKA_TOPIC='pgwire_all', FORMAT='JSON', PARTITIONS=1);
	CREATE TABLE all_out AS SELECT id, LATEST_BY_OFFSET(b) AS b, LATEST_BY_OFFSET(i) AS i, LATEST_BY_OFFSET(l) AS l, LATEST_BY_OFFSET(d) AS d, LATEST_BY_OFFSET(n) AS n,
		LATEST_BY_OFFSET(s) AS s, LATEST_BY_OFFSET(x) AS x, LATEST_BY_OFFSET(dt) AS dt, LATEST_BY_OFFSET(tm) AS tm, LATEST_BY_OFFSET(ts) AS ts,
		LATEST_BY_OFFSET(a) AS a, LATEST_BY_OFFSET(m) AS m, LATEST_BY_OFFSET(st) AS st FROM all_in GROUP BY id;
	INSERT INTO all_in VALUES (1, true, -7, 9007199254740993, 2.5, 12.30, 'ä', TO_BYTES('00ff', 'hex'), '2024-02-29', '13:14:15', '2024-02-29T13:14:15.678',
		ARRAY[1, 2], MAP('k' := 5), STRUCT(u := 1, v := 'w'));
	INSERT INTO all_in (id, i) VALUES (2, 8);`

// Every type comes in the form of PostgreSQL's, and means the same.
func TestTypes(t *testing.T) {
	host, port := serve(t, options(t, openEngine(t), nil))
	conn := dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	if _, err := conn.Exec(t.Context(), everything); err != nil {
		t.Fatal(err)
	}
	eventually(t, "2", func() string {
		var n int64
		if err := conn.QueryRow(t.Context(), "SELECT COUNT(*) FROM all_out").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(n)
	})
	rows, err := conn.Query(t.Context(), "SELECT * FROM all_out ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	var columns, got []string
	for _, f := range rows.FieldDescriptions() {
		columns = append(columns, fmt.Sprint(f.Name, " ", f.DataTypeOID, " ", f.TypeModifier))
	}
	for rows.Next() {
		var line []string
		for _, v := range rows.RawValues() {
			if v == nil {
				v = []byte("NULL")
			}
			line = append(line, string(v))
		}
		got = append(got, strings.Join(line, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if want := "ID 23 -1,B 16 -1,I 23 -1,L 20 -1,D 701 -1,N 1700 655366,S 25 -1,X 17 -1,DT 1082 -1,TM 1083 -1,TS 1184 -1,A 114 -1,M 114 -1,ST 114 -1"; strings.Join(columns, ",") != want {
		t.Errorf("the columns are\n%s and should be\n%s", strings.Join(columns, ","), want)
	}
	want := []string{
		`1|t|-7|9007199254740993|2.5|12.30|ä|\x00ff|2024-02-29|13:14:15|2024-02-29 13:14:15.678+00|[1,2]|{"k":5}|{"U":1,"V":"w"}`,
		"2|NULL|8|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the rows are\n%s\nand should be\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	meansTheSame(t, conn)
}

// meansTheSame reads the row of everything as values of Go.
func meansTheSame(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	var b bool
	var i int32
	var l int64
	var d float64
	var s string
	var x []byte
	var dt, ts time.Time
	var a []int
	var m map[string]int
	if err := conn.QueryRow(t.Context(), "SELECT b, i, l, d, s, x, dt, ts, a, m FROM all_out WHERE id = 1").Scan(&b, &i, &l, &d, &s, &x, &dt, &ts, &a, &m); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2024, 2, 29, 13, 14, 15, 678e6, time.UTC)
	if !b || i != -7 || l != 9007199254740993 || d != 2.5 || s != "ä" || string(x) != "\x00\xff" || !dt.Equal(at.Truncate(24*time.Hour)) || !ts.Equal(at) || fmt.Sprint(a, m) != "[1 2] map[k:5]" {
		t.Error(b, i, l, d, s, x, dt, ts, a, m)
	}
}

// A push query gives rows when they happen, until its client cancels it; the connection goes on.
func TestPushQuery(t *testing.T) {
	host, port := serve(t, options(t, openEngine(t), nil))
	conn, other := dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port)), dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	if _, err := other.Exec(t.Context(), "CREATE STREAM s (k STRING KEY, n INT) WITH (KAFKA_TOPIC='pgwire_push', FORMAT='JSON', PARTITIONS=1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SET 'auto.offset.reset' = 'earliest'"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rows, err := conn.Query(ctx, "SELECT k, n FROM s EMIT CHANGES")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := other.Exec(t.Context(), "INSERT INTO s VALUES ($1, $2)", "k", n); err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if v, err := rows.Values(); err != nil || fmt.Sprint(v) != fmt.Sprintf("[k %d]", n) {
			t.Fatal(v, err)
		}
	}
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
	}
	if got := stateOf(rows.Err()); got != "57014 canceling statement due to user request" {
		t.Fatal(got)
	}
	var one int
	if err := conn.QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil || one != 1 {
		t.Fatal(one, err)
	}
}

// COPY of a push query gives rows when they happen.
func TestCopyOfPushQuery(t *testing.T) {
	host, port := serve(t, options(t, openEngine(t), nil))
	conn, other := dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port)), dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	if _, err := other.Exec(t.Context(), "CREATE STREAM s (k STRING KEY, n INT) WITH (KAFKA_TOPIC='pgwire_copy', FORMAT='JSON', PARTITIONS=1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SET 'auto.offset.reset' = 'earliest'"); err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.PgConn().CopyTo(t.Context(), out, "COPY (SELECT k, n FROM s EMIT CHANGES) TO STDOUT")
		ended <- err
	}()
	lines := bufio.NewScanner(in)
	for n := range 2 {
		if _, err := other.Exec(t.Context(), "INSERT INTO s VALUES ($1, $2)", "k", n); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("k\t%d", n) {
			t.Fatal(lines.Text(), lines.Err())
		}
	}
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stateOf(<-ended); got != "57014 canceling statement due to user request" {
		t.Error(got)
	}
}

// waiting is an engine whose queries go on until they are ended.
type waiting struct {
	began, ended chan struct{}
}

// Execute implements pgwire.SQL.
func (w waiting) Execute(context.Context, sql.Request) ([]sql.Entity, error) { return nil, nil }

// Prepare implements pgwire.SQL.
func (w waiting) Prepare(sql.Request) (sql.Description, error) { return sql.Description{}, nil }

// Query implements pgwire.SQL.
func (w waiting) Query(ctx context.Context, _ sql.Request, to sql.Answer) (bool, error) {
	if err := to.Header(sql.Header{Push: true}); err != nil {
		return false, err
	}
	w.began <- struct{}{}
	<-ctx.Done()
	w.ended <- struct{}{}
	return false, nil
}

// A query ends when its client goes away without a word, and when the key of a cancel request
// is right; a wrong key does nothing.
func TestQueryEndsWithItsClient(t *testing.T) {
	w := waiting{make(chan struct{}), make(chan struct{})}
	host, port := serve(t, options(t, w, nil))
	conn := dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	rows, err := conn.Query(t.Context(), "SELECT * FROM x EMIT CHANGES")
	if err != nil {
		t.Fatal(err)
	}
	<-w.began
	wrong, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	f := pgproto3.NewFrontend(wrong, wrong)
	f.Send(&pgproto3.CancelRequest{ProcessID: conn.PgConn().PID(), SecretKey: []byte{1, 2, 3, 4}})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Receive(); err == nil { // The server has closed it, and so has looked at it.
		t.Fatal("an answer to a cancel request")
	}
	select {
	case <-w.ended:
		t.Fatal("a wrong key ends a query")
	default:
	}
	if err := conn.PgConn().Conn().Close(); err != nil {
		t.Fatal(err)
	}
	<-w.ended
	rows.Close()

	conn = dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	if rows, err = conn.Query(t.Context(), "SELECT * FROM x EMIT CHANGES"); err != nil {
		t.Fatal(err)
	}
	<-w.began
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-w.ended
	rows.Close()
}

// TestLimits: as many clients as the settings say, and no longer messages.
func TestLimits(t *testing.T) {
	w := waiting{make(chan struct{}, 1), make(chan struct{}, 1)}
	host, port := serve(t, options(t, w, connect.Config{"pgwire.max.connections": "2", "pgwire.max.message.bytes": "1024"}))
	first := dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	dial(t, pgx.QueryExecModeSimpleProtocol, dsn(host, port))
	_, err := pgx.Connect(t.Context(), dsn(host, port))
	if got := stateOf(err); !strings.HasPrefix(got, "53300") {
		t.Error(got)
	}
	_, err = first.Exec(t.Context(), "SELECT '"+strings.Repeat("x", 1024)+"'")
	if got := stateOf(err); !strings.HasPrefix(got, "54000") {
		t.Error(got)
	}
	eventually(t, "<nil>", func() string { // Its place is free again.
		conn, err := pgx.Connect(t.Context(), dsn(host, port))
		if err == nil {
			conn.Close(t.Context())
		}
		return fmt.Sprint(err)
	})
}

// TestPublicListeners: what other machines reach asks who they are, over TLS.
func TestPublicListeners(t *testing.T) {
	for _, c := range []struct {
		raw      connect.Config
		insecure bool
		want     string
	}{
		{connect.Config{"pgwire.listeners": "0.0.0.0:5433"}, false, "nobody is asked who they are"},
		{connect.Config{"pgwire.listeners": "127.0.0.1:5433,10.0.0.1:5433", "rest.basic.auth.users": "ann:secret"}, false, "in the clear"},
		{connect.Config{"pgwire.listeners": "0.0.0.0:5433"}, true, ""},
		{connect.Config{"pgwire.listeners": "localhost:5433,[::1]:5433"}, false, ""},
	} {
		o := options(t, waiting{}, c.raw)
		o.Insecure = c.insecure
		_, err := pgwire.New(o)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.raw, err)
		}
	}
}
