package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// rowReader reads rows of tables over an ordinary connection, as tuples that fit the
// tables' plans: a snapshot reads its pieces with it, and an incremental one its
// chunks. The connection is the caller's and must be idle at each call of read; it
// may be used for other statements in between. A rowReader belongs to one goroutine.
//
//	rows := newRowReader(side)
//	err := rows.read(ctx, rowQuery{plan: p, rest: "FROM ONLY " + name + " WHERE … ORDER BY … LIMIT …"}, func(t tuple) error {
//		return em.insert(p, opRead, t)
//	})
//
// Rows come through COPY … TO STDOUT, in its binary format when the binary form of
// all columns is understood, and else in its text format, whose values are those of
// the types' output functions, as the log has them (casts to text are not: those of
// boolean, inet and character give other texts).
type rowReader struct {
	db     *db
	buf    []byte
	r, w   int // What is between is not read yet.
	row    tuple
	places []int // Column of the result → column of the relation; -1: not wanted.
	text   bool
	header bool  // The file header of the binary format is still to come.
	bytes  int64 // Of all rows read so far, as they came.
}

// rowQuery says which rows of a table to read.
type rowQuery struct {
	plan *plan
	// rest is the statement behind the columns: FROM and what follows.
	rest string
	// own is a whole statement in place of the columns and rest. Columns that it does
	// not have are null.
	own string
}

func newRowReader(d *db) *rowReader { return &rowReader{db: d} }

// read runs a query and calls each for every row, in order. A tuple has one entry for
// each column of the plan's relation; columns that the plan does not need are null.
// It and its data are valid during the call only.
//
// An error of the server leaves the connection usable, any other ends it: also one
// that each returns, which is returned as it is.
func (r *rowReader) read(ctx context.Context, q rowQuery, each func(tuple) error) error {
	statement, err := r.prepare(ctx, q)
	if err != nil {
		return err
	}
	if err := r.db.SyncConn(ctx); err != nil {
		return err
	}
	conn := r.db.Conn()
	stop := context.AfterFunc(ctx, func() {
		// A connection that is closed already needs no deadline.
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	refused, err := r.copy(conn, statement, each)
	if !stop() && err == nil {
		err = ctx.Err() // The deadline may be set at any moment from now on.
	}
	if err != nil {
		// What is left of the rows stands between us and the next statement.
		_ = conn.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return refused
}

// prepare makes the statement and finds the places of its columns.
func (r *rowReader) prepare(ctx context.Context, q rowQuery) (string, error) {
	p := q.plan
	if r.buf == nil {
		r.buf = make([]byte, readSize)
	}
	r.r, r.w, r.places, r.text, r.header = 0, 0, r.places[:0], false, true
	r.row = slices.Grow(r.row[:0], len(p.columns))[:len(p.columns)]
	for i := range r.row {
		r.row[i] = rawColumn{kind: columnNull}
	}
	sql := q.own
	if sql == "" {
		r.places = append(r.places, p.wanted()...)
		sql = p.selects(r.places) + " " + q.rest
		r.text = slices.ContainsFunc(r.places, func(i int) bool { return !p.readsBinary(i) })
	} else if err := r.placeOwn(ctx, q); err != nil {
		return "", err
	}
	format := "binary"
	if r.text {
		format = "text"
	}
	// The statement may end with a comment.
	return "COPY (" + sql + "\n) TO STDOUT (FORMAT " + format + ")", nil
}

// placeOwn asks which columns a statement of one's own gives, and finds them in the
// relation by their names. Those of other types than the table's come as text.
func (r *rowReader) placeOwn(ctx context.Context, q rowQuery) error {
	described, err := r.db.Prepare(ctx, "", q.own, nil)
	if err != nil {
		return err
	}
	for _, f := range described.Fields {
		to := q.plan.relation.index(f.Name)
		r.places = append(r.places, to)
		if to >= 0 && (f.DataTypeOID != q.plan.relation.columns[to].typ || !q.plan.readsBinary(to)) {
			r.text = true
		}
	}
	return nil
}

// copy reads the answer to a COPY statement. refused is what the server said when it
// could not go on; err ends the connection.
func (r *rowReader) copy(conn net.Conn, statement string, each func(tuple) error) (refused, err error) {
	query, err := (&pgproto3.Query{String: statement}).Encode(nil)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	for {
		for r.w-r.r >= 5 {
			size := int(binary.BigEndian.Uint32(r.buf[r.r+1:])) + 1
			if size < 5 || size > maxMessage {
				return nil, malformed(r.buf[r.r], errShort)
			}
			if size > r.w-r.r {
				break
			}
			typ, body := r.buf[r.r], r.buf[r.r+5:r.r+size:r.r+size]
			r.r += size
			switch typ {
			case 'd':
				if err := r.data(body, each); err != nil {
					return nil, err
				}
			case 'E':
				refused = serverError(body)
			case 'Z':
				return refused, nil
			}
		}
		if err := r.fill(conn); err != nil {
			if refused != nil {
				err = refused // It said why it hung up.
			}
			return nil, err
		}
	}
}

// fill reads more. The buffer grows with what has come of a message, not with what
// its length promises, and shrinks again behind it.
func (r *rowReader) fill(conn net.Conn) error {
	switch {
	case r.r == r.w:
		r.r, r.w = 0, 0
		if len(r.buf) > 4*readSize {
			r.buf = make([]byte, readSize)
		}
	case r.w == len(r.buf):
		to := r.buf
		if r.r < len(r.buf)/2 {
			to = make([]byte, 2*len(r.buf))
		}
		r.w = copy(to, r.buf[r.r:r.w])
		r.r, r.buf = 0, to
	}
	n, err := conn.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	return err
}

var (
	errCopyFields = errors.New("a row has another number of columns than the statement")
	errCopyHeader = errors.New("the rows do not begin as the binary format of COPY does")
)

// copySignature begins the binary format; flags and the length of an extension, four
// bytes each, follow. See "Binary Format" on the manual's page of COPY.
var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

// data takes one CopyData message: the server sends one for each row, and the file
// header of the binary format together with the first.
func (r *rowReader) data(b []byte, each func(tuple) error) error {
	if r.text {
		if err := r.textRow(b); err != nil {
			return err
		}
		r.bytes += int64(len(b))
		return each(r.row)
	}
	if r.header {
		const flags, length = 4, 4
		if !bytes.HasPrefix(b, copySignature) || len(b) < len(copySignature)+flags+length {
			return malformed('d', errCopyHeader)
		}
		b = b[len(copySignature)+flags:]
		extension := int(binary.BigEndian.Uint32(b))
		if b = b[length:]; extension > len(b) {
			return malformed('d', errCopyHeader)
		}
		b, r.header = b[extension:], false
		if len(b) == 0 {
			return nil
		}
	}
	last, err := r.binaryRow(b)
	if err != nil || last {
		return err
	}
	r.bytes += int64(len(b))
	return each(r.row)
}

// binaryRow takes one row of the binary format apart. last is true at its trailer.
func (r *rowReader) binaryRow(b []byte) (last bool, err error) {
	if len(b) < 2 {
		return false, malformed('d', errShort)
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	if n < 0 {
		return true, nil
	}
	if n != len(r.places) {
		return false, malformed('d', errCopyFields)
	}
	b = b[2:]
	for _, to := range r.places {
		if len(b) < 4 {
			return false, malformed('d', errShort)
		}
		size := int(int32(binary.BigEndian.Uint32(b)))
		b = b[4:]
		col := rawColumn{kind: columnNull}
		if size >= 0 {
			if size > len(b) {
				return false, malformed('d', errShort)
			}
			col = rawColumn{data: b[:size:size], kind: columnBinary}
			b = b[size:]
		}
		if to >= 0 {
			r.row[to] = col
		}
	}
	return false, nil
}

// textRow takes one line of the text format apart, in place: tabs between the values,
// \N for null, and a backslash before what would be taken for one of these.
func (r *rowReader) textRow(b []byte) error {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	for i, to := range r.places {
		value := b
		if end := bytes.IndexByte(b, '\t'); end >= 0 {
			value, b = b[:end:end], b[end+1:]
		} else if i != len(r.places)-1 {
			return malformed('d', errCopyFields)
		}
		if to < 0 {
			continue
		}
		if string(value) == `\N` {
			r.row[to] = rawColumn{kind: columnNull}
		} else {
			r.row[to] = rawColumn{data: unescapeCopy(value), kind: columnText}
		}
	}
	return nil
}

// unescapeCopy undoes the escapes of COPY's text format, in place.
func unescapeCopy(b []byte) []byte {
	at := bytes.IndexByte(b, '\\')
	if at < 0 {
		return b
	}
	to := at
	for ; at < len(b); at++ {
		c := b[at]
		if c == '\\' && at+1 < len(b) {
			at++
			switch c = b[at]; c {
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'v':
				c = '\v'
			}
		}
		b[to] = c
		to++
	}
	return b[:to]
}

// wanted returns the columns of the relation that rows or their keys have.
func (p *plan) wanted() (columns []int) {
	for i := range p.columns {
		if p.columns[i].field >= 0 || p.isKey(i) {
			columns = append(columns, i)
		}
	}
	return columns
}

// selects begins a statement that selects these columns.
func (p *plan) selects(columns []int) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = quoteIdent(p.relation.columns[c].name)
	}
	return "SELECT " + strings.Join(names, ", ")
}

// isKey tells whether rows need a column for their key.
func (p *plan) isKey(column int) bool {
	return slices.ContainsFunc(p.keyParts, func(k keyPart) bool { return k.column == column })
}

// readsBinary tells whether the binary form of a column is understood wherever the
// plan reads it.
func (p *plan) readsBinary(column int) bool {
	if cp := &p.columns[column]; cp.field >= 0 && cp.binary == nil {
		return false
	}
	return !slices.ContainsFunc(p.keyParts, func(k keyPart) bool { return k.column == column && k.binary == nil })
}
