package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/connect"
)

// readSize is how much is read at once; a larger message makes the buffer grow.
const readSize = 256 << 10

// maxMessage is more than the server can send in one message.
const maxMessage = 1<<30 + 1<<20

// replication is a connection in replication mode. Until start it is driven by
// pgconn; then its frames are read here, from one buffer that is used again.
type replication struct {
	pg   *pgconn.PgConn
	conn net.Conn // After start.
	buf  []byte
	r, w int // What is between is not read yet.
	out  []byte
	// due is the read deadline as it was set last: it is moved once in a while, not
	// with each message.
	due time.Time
	got int // Bytes of the last read.
}

// openReplication opens a connection in replication mode.
func (s *settings) openReplication(ctx context.Context, application string) (*replication, error) {
	pg, err := s.connect(ctx, application, true)
	if err != nil {
		return nil, err
	}
	return &replication{pg: pg}, nil
}

// identify asks the server who it is and how far its log goes.
func (c *replication) identify(ctx context.Context) (server, error) {
	id, err := pglogrepl.IdentifySystem(ctx, c.pg)
	if err != nil {
		return server{}, explain(err, "identifying the server")
	}
	return server{wal: uint64(id.XLogPos), lineage: lineage{systemID: id.SystemID, timeline: id.Timeline}}, nil
}

// started asks the server when it was started.
func (c *replication) started(ctx context.Context) (string, error) {
	results, err := c.pg.Exec(ctx, "SELECT pg_catalog.pg_postmaster_start_time()").ReadAll()
	if err != nil {
		return "", explain(err, "identifying the server")
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return "", malformed('D', errShort)
	}
	return string(results[0].Rows[0][0]), nil
}

// start begins to stream from lsn.
func (c *replication) start(ctx context.Context, slot string, lsn uint64, options []string) error {
	if err := c.pg.SyncConn(ctx); err != nil {
		return explain(err, "starting replication")
	}
	hijacked, err := c.pg.Hijack()
	if err != nil {
		return explain(err, "starting replication")
	}
	c.pg, c.conn, c.buf = nil, hijacked.Conn, make([]byte, readSize)
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	sql := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (%s)", quoteIdent(slot), lsnText(lsn), strings.Join(options, ", "))
	query, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return explain(err, "starting replication")
	}
	if _, err := c.conn.Write(query); err != nil {
		return explain(err, "starting replication")
	}
	for {
		typ, _, err := c.frame()
		switch {
		case err != nil:
			return startFault(err)
		case typ == 'W':
			return nil
		case typ != 0:
			continue
		}
		if err := c.fill(time.Now().Add(time.Minute)); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return explain(err, "starting replication")
		}
	}
}

// frame returns the next message in the buffer; its type is 0 when there is no
// whole one. body is valid until the next fill. What the server says out of turn
// is dealt with here: its errors are returned, its notices passed over.
func (c *replication) frame() (typ byte, body []byte, err error) {
	for c.w-c.r >= 5 {
		head := c.buf[c.r:c.w]
		size := int(binary.BigEndian.Uint32(head[1:])) + 1
		if size < 5 || size > maxMessage {
			return 0, nil, malformed(head[0], errShort)
		}
		if size > len(head) {
			return 0, nil, nil
		}
		c.r += size
		switch typ, body = head[0], head[5:size:size]; typ {
		case 'E':
			return 0, nil, serverError(body)
		case 'N':
			if err := graveNotice(body); err != nil {
				return 0, nil, err
			}
			continue
		case 'S', 'A': // Parameters and notifications.
			continue
		case 'c', 'Z', 'C': // The server has ended the stream.
			return 0, nil, errStreamEnded
		}
		return typ, body, nil
	}
	return 0, nil, nil
}

var errStreamEnded = errors.New("the server has ended the stream")

// graveNotice returns the error that a notice stands for. From PostgreSQL 18 on the
// server only warns when the publication does not exist at a position of the log,
// and passes over the changes there. Invariant 5: for us that is a gap. With the same
// code it warns, from 17 on, that it waits for a standby, which is none; the name of the
// parameter is the same in every language.
func graveNotice(body []byte) error {
	var msg pgproto3.NoticeResponse
	if err := msg.Decode(body); err != nil || msg.Code != "55000" || strings.Contains(msg.Message, "synchronized_standby_slots") {
		return nil
	}
	e := publicationGap("reading the log", errors.New(msg.Message+": "+msg.Detail))
	e.Class = connect.ClassFatal
	return e
}

func serverError(body []byte) error {
	var msg pgproto3.ErrorResponse
	if err := msg.Decode(body); err != nil {
		return malformed('E', err)
	}
	return pgconn.ErrorResponseToPgError(&msg)
}

// fill reads more, at least a byte, by the deadline.
func (c *replication) fill(due time.Time) error {
	pending := c.w - c.r
	switch {
	case len(c.buf) > 4*readSize && pending <= readSize/2:
		c.move(make([]byte, readSize)) // A large message has passed.
	case pending == 0:
		c.r, c.w = 0, 0
	case c.w < len(c.buf):
	case c.r > 0:
		c.move(c.buf)
	default:
		// One message fills it all. The buffer grows with what has come, not with what a
		// length promises, and not beyond that.
		size := uint64(binary.BigEndian.Uint32(c.buf[1:])) + 1
		c.move(make([]byte, max(uint64(len(c.buf))+1, min(2*uint64(len(c.buf)), size))))
	}
	if !due.Equal(c.due) {
		if err := c.conn.SetReadDeadline(due); err != nil {
			return err
		}
		c.due = due
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	c.got = n
	if n > 0 {
		return nil
	}
	c.due = time.Time{} // It has passed, or interrupt has moved it.
	return err
}

// move puts what is not read yet at the beginning of to, which may be the same buffer.
func (c *replication) move(to []byte) {
	c.w = copy(to, c.buf[c.r:c.w])
	c.r, c.buf = 0, to
}

// interrupt makes a read that waits return; it may be called from any goroutine.
func (c *replication) interrupt() {
	if conn := c.conn; conn != nil {
		// A connection that is closed already needs no deadline.
		_ = conn.SetReadDeadline(time.Now())
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// status reports to the server: what was received, and what is safe. safe must not
// be 0, which the server would take for everything. Invariant 1 is upheld by the
// caller: safe is what Commit has said, nothing else. ask wants an answer.
func (c *replication) status(received, safe uint64, ask bool, now time.Time) error {
	b := append(c.out[:0], 'd', 0, 0, 0, 38, 'r')
	for _, v := range []uint64{max(received, safe), safe, safe, uint64(now.UnixMicro() - postgresEpoch)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	c.out = append(b, 0)
	if ask {
		c.out[len(c.out)-1] = 1
	}
	if err := c.conn.SetWriteDeadline(now.Add(30 * time.Second)); err != nil {
		return err
	}
	_, err := c.conn.Write(c.out)
	return err
}

// postgresEpoch is 2000-01-01 in microseconds since 1970.
const postgresEpoch = 946684800 * microsPerSecond

// close ends the connection, politely if that is quick.
func (c *replication) close(ctx context.Context) {
	if c == nil {
		return
	}
	if c.pg != nil {
		// The server notices by itself when the goodbye does not arrive.
		_ = c.pg.Close(ctx)
		return
	}
	if c.conn != nil {
		_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.conn.Write([]byte{'X', 0, 0, 0, 4})
		_ = c.conn.Close()
	}
}
