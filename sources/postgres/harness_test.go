package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// patience is how long a test waits for what must come; machines that run tests may be
// slow.
const patience = 3 * time.Minute

// testDB is a database of a test's own, and a session to change it with.
type testDB struct {
	tb   testing.TB
	url  *url.URL
	conn *pgx.Conn
	slot string
}

func newTestDB(tb testing.TB) *testDB { return openTestDB(tb, devstack.TestPostgres(tb)) }

func openTestDB(tb testing.TB, dsn string) *testDB {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	d := &testDB{tb: tb, url: u, slot: "slot_" + strings.TrimPrefix(u.Path, "/")}
	d.conn = d.session()
	return d
}

// through opens a proxy to the server, which closes with the test.
func (d *testDB) through(tb testing.TB, o proxy.Options) *proxy.Proxy {
	tb.Helper()
	p, err := proxy.New(net.JoinHostPort(d.url.Hostname(), d.url.Port()), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// session opens another session.
func (d *testDB) session() *pgx.Conn {
	d.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.url.String())
	if err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (d *testDB) exec(sql string, args ...any) {
	d.tb.Helper()
	if _, err := d.conn.Exec(context.Background(), sql, args...); err != nil {
		d.tb.Fatalf("%s: %v", sql, err)
	}
}

// get returns the one value a query gives, as text.
func (d *testDB) get(sql string, args ...any) string {
	d.tb.Helper()
	var v any
	if err := d.conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		d.tb.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(v)
}

// config is a configuration for this database with further settings.
func (d *testDB) config(pairs ...string) connect.Config {
	c := connect.Config{
		"name": "test", "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
		"database.hostname": d.url.Hostname(), "database.port": d.url.Port(), "database.user": d.url.User.Username(),
		"database.dbname": strings.TrimPrefix(d.url.Path, "/"), "database.sslmode": "disable", "topic.prefix": "shop",
		"slot.name": d.slot, "plugin.name": "pgoutput",
	}
	if password, ok := d.url.User.Password(); ok {
		c["database.password"] = password
	}
	for i := 0; i < len(pairs); i += 2 {
		c[pairs[i]] = pairs[i+1]
	}
	return c
}

// start runs a task.
func (d *testDB) start(offsets *connecttest.Offsets, pairs ...string) *connecttest.SourceRun {
	d.tb.Helper()
	return connecttest.StartSource(d.tb, Plugin().New(), d.config(pairs...), offsets)
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not in time", what)
		}
		pause(context.Background(), 10*time.Millisecond)
	}
}

// op returns an event's operation, "" for a tombstone.
func op(r *connect.SourceRecord) string {
	if r.Value.IsNull() {
		return ""
	}
	return r.Value.Struct().Get("op").Str()
}

// after returns a field of an event's after image.
func after(r *connect.SourceRecord, field string) connect.Value {
	return r.Value.Struct().Get("after").Struct().Get(field)
}

func source(r *connect.SourceRecord, field string) connect.Value {
	return r.Value.Struct().Get("source").Struct().Get(field)
}

// brief writes an event as "op key before after" without the schema and clocks.
func brief(r *connect.SourceRecord) string {
	text := r.Topic[strings.LastIndexByte(r.Topic, '.')+1:] + " " + op(r) + " " + r.Key.String()
	if !r.Value.IsNull() {
		text += " " + r.Value.Struct().Get("before").String() + " " + r.Value.Struct().Get("after").String()
	}
	for _, h := range r.Headers {
		text += " " + h.Key + "=" + h.Value.String()
	}
	return text
}

func expectBrief(tb testing.TB, records []connect.SourceRecord, want ...string) {
	tb.Helper()
	for i, w := range want {
		if got := brief(&records[i]); got != w {
			tb.Errorf("record %d\n got %s\nwant %s", i, got, w)
		}
	}
}
