package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// between listens for a test at the port it returns, and changes what is said. Its
// functions get a whole message, its type and length included, and return what is passed
// on; nil ends the connection.
func between(tb testing.TB, d *testDB, ofServer, ofClient func(m []byte) []byte) (port string) {
	return d.through(tb, proxy.Options{Framing: proxy.Postgres, Hook: func(m *proxy.Message) proxy.Verdict {
		if m.To == proxy.ToServer {
			m.Data = ofClient(m.Data)
		} else {
			m.Data = ofServer(m.Data)
		}
		if m.Data == nil {
			return proxy.Cut
		}
		return proxy.Pass
	}}).Port()
}

func same(m []byte) []byte { return m }

// isInsert tells whether a server's message is an inserted row of the log.
func isInsert(m []byte) bool { return len(m) > 31 && m[0] == 'd' && m[5] == 'w' && m[30] == 'I' }

// copyDataOf wraps a message of pgoutput for the wire.
func copyDataOf(m []byte) []byte { return frame('d', wireMessage(m)) }

// hostile is what a server sends in place of a row, and what the task says to that.
var hostile = []struct {
	name string
	send func(row []byte) []byte
	code string // Empty: it is passed over.
}{
	{"an unknown message", func([]byte) []byte { return copyDataOf([]byte("zsomething")) }, "pg.protocol"},
	{"a prepared transaction", func([]byte) []byte { return copyDataOf(make([]byte, 30)) }, "pg.protocol"},
	{"an unknown copy message", func([]byte) []byte { return frame('d', []byte("q12345678901234567890123456")) }, "pg.protocol"},
	{"an empty copy message", func([]byte) []byte { return frame('d', nil) }, "pg.protocol"},
	{"a short copy message", func([]byte) []byte { return frame('d', []byte("w1234")) }, "pg.protocol"},
	{"a short keepalive", func([]byte) []byte { return frame('d', []byte("k1234")) }, "pg.protocol"},
	{"a length of nothing", func([]byte) []byte { return []byte{'d', 0, 0, 0, 3} }, "pg.protocol"},
	{"a length of two gigabytes", func([]byte) []byte { return []byte{'d', 0x7f, 0xff, 0xff, 0xff} }, "pg.protocol"},
	{"a row cut short", func(row []byte) []byte { return frame('d', row[5:len(row)-3]) }, "pg.protocol"},
	{"a column of negative length", func(row []byte) []byte {
		binary.BigEndian.PutUint32(row[len(row)-9:], 0xffffffff)
		return row
	}, "pg.protocol"},
	{"a column too many", func(row []byte) []byte {
		row[37]++
		return frame('d', append(row[5:], 'n'))
	}, "pg.protocol"},
	{"a row of an unknown relation", func(row []byte) []byte {
		binary.BigEndian.PutUint32(row[31:], 4711)
		return row
	}, "pg.protocol"},
	{"a relation that is cut", func([]byte) []byte { return copyDataOf([]byte("R\x00\x00\x00\x05public\x00")) }, "pg.protocol"},
	{"a truncate of too many", func([]byte) []byte { return copyDataOf([]byte("T\xff\xff\xff\xff\x00\x00\x00\x00\x00")) }, "pg.protocol"},
	{"a block within a transaction", func([]byte) []byte { return copyDataOf([]byte("S\x00\x00\x00\x05\x01")) }, "pg.protocol"},
	{"the end of no block", func([]byte) []byte { return copyDataOf([]byte("E")) }, "pg.protocol"},
	{"a commit of nothing", func([]byte) []byte { return copyDataOf(append([]byte("c\x00\x00\x00\x05"), make([]byte, 25)...)) }, "pg.protocol"},
	{"an error of garbage", func([]byte) []byte { return frame('E', []byte("garbage")) }, "pg.protocol"},
	{"an error without fields", func([]byte) []byte { return frame('E', []byte{0}) }, "pg.server"},
	{"notices", func(row []byte) []byte {
		return bytes.Join([][]byte{frame('N', []byte("SNOTICE\x00Mhello\x00\x00")), frame('N', []byte("x")), frame('S', []byte("a\x00b\x00")), frame('A', []byte("1234c\x00p\x00")), row}, nil)
	}, ""},
	{"a rollback of nothing", func(row []byte) []byte {
		return append(copyDataOf([]byte("A\x00\x00\x00\x05\x00\x00\x00\x05")), row...)
	}, ""},
	{"an origin and a type", func(row []byte) []byte {
		return bytes.Join([][]byte{copyDataOf([]byte("O\x00\x00\x00\x00\x00\x00\x00\x05far\x00")), copyDataOf([]byte("Y\x00\x00\x00\x05s\x00t\x00")), row}, nil)
	}, ""},
}

// TestHostileServer has a server that sends what it should not: the task fails with a
// code and the place in the log, or passes over what means nothing; it never panics.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	for i, c := range hostile {
		var once sync.Once
		port := between(t, d, func(m []byte) []byte {
			if isInsert(m) {
				once.Do(func() { m = c.send(bytes.Clone(m)) })
			}
			return m
		}, same)
		run := d.begun("database.port", port)
		d.exec(`INSERT INTO a VALUES ($1, 'value')`, i)
		r, err := nextRecord(t, run)
		switch e := connect.AsError(err); {
		case c.code == "" && (err != nil || after(r, "id").Int() != int64(i)):
			t.Errorf("%s: %v", c.name, err)
		case c.code == "":
		case err == nil:
			t.Errorf("%s: %s came", c.name, r.Key)
		case e.Code != c.code || e.Class != connect.ClassFatal || c.code == "pg.protocol" && !strings.Contains(e.Place, "/"):
			t.Errorf("%s: %v (class %v, place %q)", c.name, err, e.Class, e.Place)
		}
		run.Stop()
		d.get(`SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active AND slot_name = $1`, d.slot)
		d.slot += "x"
	}
}

// nextRecord polls until a record comes or the task fails.
func nextRecord(tb testing.TB, run *connecttest.SourceRun) (*connect.SourceRecord, error) {
	tb.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		records, err := run.Task.Poll(tb.Context())
		if err != nil && connect.AsError(err).Class != connect.ClassRetriable {
			return nil, err
		}
		for i := range records {
			if records[i].Topic != "" {
				return &records[i], nil
			}
		}
	}
	return nil, errors.New("neither a record nor an error came")
}

// TestTooLargeAsText has a server that cannot write a value as text: it comes in binary
// form, and text comes again when a column needs it.
func TestTooLargeAsText(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TYPE span AS RANGE (subtype = interval); CREATE TABLE a (id int PRIMARY KEY, v text, b bytea, n numeric(8,2)); CREATE TABLE odd (id int PRIMARY KEY, v text, p span)`)
	var mu sync.Mutex
	isBinary := false
	port := between(t, d,
		func(m []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			if isInsert(m) && bytes.Contains(m, []byte("large")) && !isBinary {
				return frame('E', []byte("SERROR\x00CXX000\x00Minvalid memory alloc request size 1132462083\x00\x00"))
			}
			return m
		},
		func(m []byte) []byte {
			if bytes.Contains(m, []byte("START_REPLICATION")) {
				mu.Lock()
				defer mu.Unlock()
				isBinary = bytes.Contains(m, []byte("binary 'true'"))
			}
			return m
		})
	run := d.begun("database.port", port, "retriable.restart.connector.wait.ms", "20", "slot.retry.delay.ms", "20", "include.unknown.datatypes", "true")
	d.exec(`BEGIN; INSERT INTO a VALUES (1, 'small', '\x01', 1.5); INSERT INTO a VALUES (2, 'large', '\x0203', 2.25); INSERT INTO a VALUES (3, 'small', '\x', -7); COMMIT`)
	expectBrief(t, run.Take(3),
		`a c {"id":1} null {"id":1,"v":"small","b":"AQ==","n":1.50}`,
		`a c {"id":2} null {"id":2,"v":"large","b":"AgM=","n":2.25}`,
		`a c {"id":3} null {"id":3,"v":"small","b":"","n":-7.00}`)
	mu.Lock()
	if !isBinary {
		t.Error("values came as text")
	}
	mu.Unlock()
	d.exec(`BEGIN; INSERT INTO a VALUES (4, 'small', NULL, 0); INSERT INTO odd VALUES (1, 'small', '[1 day,)'); INSERT INTO a VALUES (5, 'small', NULL, 0); COMMIT`)
	expectBrief(t, run.Take(3), `a c {"id":4} null {"id":4,"v":"small","b":null,"n":0.00}`, `odd c {"id":1} null {"id":1,"v":"small","p":"[P1D,)"}`,
		`a c {"id":5} null {"id":5,"v":"small","b":null,"n":0.00}`)
	mu.Lock()
	if isBinary {
		t.Error("values came in binary form")
	}
	mu.Unlock()
	// A change that was sent as text before is passed over in binary form.
	d.exec(`BEGIN; INSERT INTO odd VALUES (2, 'small', '[1 day,)'); INSERT INTO a VALUES (6, 'large', NULL, 0); COMMIT`)
	expectBrief(t, run.Take(2), `odd c {"id":2} null {"id":2,"v":"small","p":"[P1D,)"}`, `a c {"id":6} null {"id":6,"v":"large","b":null,"n":0.00}`)
	// The other way round there is no form in which the transaction can be read.
	d.exec(`BEGIN; INSERT INTO a VALUES (7, 'large', NULL, 0); INSERT INTO odd VALUES (3, 'small', '[1 day,)'); COMMIT`)
	if r, err := nextRecord(t, run); err == nil {
		r, err = nextRecord(t, run)
		if e := connect.AsError(err); e.Code != "pg.value.size" || !strings.Contains(e.Mend, "odd.p") {
			t.Errorf("%v came, or %v", r, err)
		}
	}
}
