package pgwire_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pgx asks in its own way: with parameters, whose types it is told, and values in binary.
func TestPgx(t *testing.T) {
	host, port := serve(t, options(t, openEngine(t), nil))
	conn := dial(t, pgx.QueryExecModeCacheStatement, dsn(host, port))
	if _, err := conn.PgConn().Exec(t.Context(), everything).ReadAll(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "2", func() string {
		var n int64
		if err := conn.QueryRow(t.Context(), "SELECT COUNT(*) FROM all_out").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(n)
	})
	meansTheSame(t, conn)
	at := time.Date(2024, 2, 29, 13, 14, 15, 678e6, time.UTC)
	for _, c := range []struct {
		where string
		arg   any
		want  string
	}{
		{"id = $1", 1, "[1]"}, {"id = $1", 3, "[]"}, {"id IN ($1, 2)", 1, "[1 2]"}, {"i < $1", -6, "[1]"}, {"l = $1", int64(9007199254740993), "[1]"},
		{"b = $1", true, "[1]"}, {"d > $1", 2.25, "[1]"}, {"n = $1", "12.30", "[1]"}, {"s = $1", "ä", "[1]"}, {"s = $1", "'; DROP TABLE all_out; --", "[]"},
		{"x = $1", []byte{0, 255}, "[1]"}, {"dt = $1", at.Truncate(24 * time.Hour), "[1]"}, {"ts = $1", at, "[1]"}, {"ts BETWEEN $1 AND '2025-01-01'", at.Add(time.Second), "[]"},
		{"s LIKE $1", "%", "[1]"}, {"-i + $1 = 8", 1, "[1]"}, {"s IS NULL AND id > $1", 0, "[2]"}, {"i = $1", nil, "[]"},
	} {
		rows, err := conn.Query(t.Context(), "SELECT id FROM all_out WHERE "+c.where+" ORDER BY id", c.arg)
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
			continue
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s of %v gives %v, %v and should give %s", c.where, c.arg, got, err, c.want)
		}
	}
	var ids []int
	rows, err := conn.Query(t.Context(), "SELECT id FROM all_out ORDER BY id LIMIT $1 OFFSET $2", 1, 1)
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[int])
	}
	if err != nil || fmt.Sprint(ids) != "[2]" {
		t.Error(ids, err)
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO all_in (id, s, n, ts, x) VALUES ($1, $2, $3, $4, $5)", 3, "it's", "-0.50", at, []byte("é")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it's -0.50 true é", func() string {
		var s, n string
		var ts time.Time
		var x []byte
		_ = conn.QueryRow(t.Context(), "SELECT s, n, ts, x FROM all_out WHERE id = $1", 3).Scan(&s, &n, &ts, &x) // There may be no row yet.
		return fmt.Sprint(s, " ", n, " ", ts.Equal(at), " ", string(x))
	})
	for statement, want := range map[string]string{
		"SELECT nme FROM all_out":             "42703 table ALL_OUT has no column NME",
		"SELECT 1; SELECT 2":                  "42601 cannot insert multiple commands into a prepared statement",
		"SELECT id FROM all_out WHERE id = $": "42601 unexpected character $",
	} {
		if _, err := conn.Prepare(t.Context(), "", statement); stateOf(err) != want {
			t.Errorf("%s: %s, and should be %s", statement, stateOf(err), want)
		}
	}
	var one int
	if err := conn.QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil || one != 1 {
		t.Error(one, err)
	}
}

// Statements are prepared once and executed often, queries in a transaction too.
func TestPrepared(t *testing.T) {
	host, port := serve(t, options(t, openEngine(t), nil))
	conn := dial(t, pgx.QueryExecModeDescribeExec, dsn(host, port))
	for _, statement := range []string{
		"CREATE STREAM s (k STRING KEY, n INT) WITH (KAFKA_TOPIC='pgwire_prepared', FORMAT='JSON', PARTITIONS=1)",
		"CREATE TABLE t AS SELECT k, SUM(n) AS n FROM s GROUP BY k",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, statement := range map[string]string{"insert": "INSERT INTO s VALUES ($1, $2)", "ask": "SELECT n FROM t WHERE k = $1"} {
		if _, err := conn.Prepare(t.Context(), name, statement); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 10 {
		if _, err := conn.Exec(t.Context(), "insert", fmt.Sprint("k", n%2), n); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "20 25", func() string {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var a, b int
		_ = tx.QueryRow(t.Context(), "ask", "k0").Scan(&a) // There may be no row yet.
		_ = tx.QueryRow(t.Context(), "ask", "k1").Scan(&b)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(a, " ", b)
	})
}

// A portal gives its rows by parts, and an error is one until the client synchronizes.
func TestPortals(t *testing.T) {
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
	partsOf(t, conn.PgConn().Frontend())
}

// partsOf speaks the protocol by itself.
func partsOf(t *testing.T, f *pgproto3.Frontend) {
	t.Helper()
	said := func(all ...pgproto3.FrontendMessage) (got string) {
		t.Helper()
		for _, m := range all {
			f.Send(m)
		}
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := f.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.DataRow:
				got += fmt.Sprintf("row %s, ", m.Values[0])
			case *pgproto3.CommandComplete:
				got += string(m.CommandTag) + ", "
			case *pgproto3.ErrorResponse:
				got += m.Code + ", "
			case *pgproto3.PortalSuspended:
				got += "suspended, "
			case *pgproto3.ReadyForQuery:
				return got + string(m.TxStatus)
			}
		}
	}
	sync := &pgproto3.Sync{}
	query := &pgproto3.Parse{Query: "SELECT id FROM all_out ORDER BY id"}
	next := &pgproto3.Execute{MaxRows: 1}
	for _, c := range []struct {
		send []pgproto3.FrontendMessage
		want string
	}{
		{[]pgproto3.FrontendMessage{query, &pgproto3.Bind{}, next, next, sync}, "row 1, suspended, row 2, SELECT 2, I"},
		{[]pgproto3.FrontendMessage{next, sync}, "34000, I"}, // The portal ended with the transaction.
		{[]pgproto3.FrontendMessage{query, &pgproto3.Bind{}, next, &pgproto3.Close{ObjectType: 'P'}, next, query, sync}, "row 1, suspended, 34000, I"},
		{[]pgproto3.FrontendMessage{&pgproto3.Query{String: "BEGIN"}}, "BEGIN, T"},
		{[]pgproto3.FrontendMessage{query, &pgproto3.Bind{DestinationPortal: "c"}, &pgproto3.Execute{Portal: "c", MaxRows: 1}, sync}, "row 1, suspended, T"},
		{[]pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "c"}, sync}, "row 2, SELECT 2, T"},
		{[]pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "c"}, sync}, "55000, T"},
		{[]pgproto3.FrontendMessage{&pgproto3.Query{String: "COMMIT"}}, "COMMIT, I"},
		{[]pgproto3.FrontendMessage{&pgproto3.Parse{Query: ""}, &pgproto3.Bind{}, &pgproto3.Execute{}, sync}, "I"},
		{[]pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "none"}, next, sync}, "26000, I"},
		{[]pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT id FROM all_out WHERE id = $1"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("x")}}, sync}, "22P02, I"},
	} {
		if got := said(c.send...); got != c.want {
			t.Errorf("%T … gives %s and should give %s", c.send[0], got, c.want)
		}
	}
}
