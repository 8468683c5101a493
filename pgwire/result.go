package pgwire

import (
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/streams/sql"
)

// result sends what a statement gives. It is the answer to a query.
type result struct {
	s       *session
	copying bool // COPY (…) TO STDOUT.
	columns []sql.Column
	rows    int
	buf     []byte // The values of a row, one after another.
	ends    []int  // Where each ends, -1 for a null.
	values  [][]byte
	line    []byte // The row as COPY writes it.
}

// Header implements sql.Answer.
func (r *result) Header(h sql.Header) error {
	r.columns, r.buf = h.Columns, make([]byte, 0, 256) // Never nil, which would be a null.
	fields := make([]pgproto3.FieldDescription, len(h.Columns))
	for i, c := range h.Columns {
		fields[i] = describe(c)
	}
	var first pgproto3.BackendMessage = &pgproto3.RowDescription{Fields: fields}
	if r.copying {
		first = &pgproto3.CopyOutResponse{ColumnFormatCodes: make([]uint16, len(fields))}
	}
	if err := r.s.send(first); err != nil || !h.Push {
		return err
	}
	return r.s.out.Flush() // The first row may be hours away.
}

// Row implements sql.Answer.
func (r *result) Row(row sql.Row) error {
	r.buf, r.ends = r.buf[:0], r.ends[:0]
	for i, v := range row.Values {
		if v.IsNull() {
			r.ends = append(r.ends, -1)
			continue
		}
		r.buf = appendText(r.buf, r.columns[i], v)
		r.ends = append(r.ends, len(r.buf))
	}
	r.values = r.values[:0]
	at := 0
	for _, end := range r.ends {
		if end < 0 {
			r.values = append(r.values, nil)
			continue
		}
		r.values = append(r.values, r.buf[at:end:end])
		at = end
	}
	r.rows++
	var message pgproto3.BackendMessage = &pgproto3.DataRow{Values: r.values}
	if r.copying {
		r.line = appendCopy(r.line[:0], r.values)
		message = &pgproto3.CopyData{Data: r.line}
	}
	if err := r.s.send(message); err != nil {
		return err
	}
	return r.s.out.soon()
}

// appendCopy appends a row as COPY writes it.
func appendCopy(b []byte, values [][]byte) []byte {
	for i, v := range values {
		if i > 0 {
			b = append(b, '\t')
		}
		if v == nil {
			b = append(b, `\N`...)
		}
		for _, c := range v {
			switch c {
			case '\\':
				b = append(b, `\\`...)
			case '\t':
				b = append(b, `\t`...)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			default:
				b = append(b, c)
			}
		}
	}
	return append(b, '\n')
}

// texts sends rows of text under headings.
func (r *result) texts(t texts) error {
	fields := make([]pgproto3.FieldDescription, len(t.columns))
	for i, c := range t.columns {
		fields[i] = pgproto3.FieldDescription{Name: []byte(c.name), DataTypeOID: c.oid, DataTypeSize: -1, TypeModifier: -1}
	}
	if err := r.s.send(&pgproto3.RowDescription{Fields: fields}); err != nil {
		return err
	}
	for _, row := range t.rows {
		values := make([][]byte, len(row))
		for i, v := range row {
			values[i] = []byte(v)
		}
		if err := r.s.send(&pgproto3.DataRow{Values: values}); err != nil {
			return err
		}
	}
	r.rows += len(t.rows)
	return nil
}

// complete sends what a statement that gave rows ends with.
func (r *result) complete(tag string) error {
	switch {
	case r.copying:
		tag = "COPY " + strconv.Itoa(r.rows)
		if err := r.s.send(&pgproto3.CopyDone{}); err != nil {
			return err
		}
	case tag == "SELECT":
		tag += " " + strconv.Itoa(r.rows)
	}
	return r.s.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

// texts is a result that is made here.
type texts struct {
	columns []textColumn
	rows    [][]string
}

type textColumn struct {
	name string
	oid  oid
}

// oneText is a result of one value.
func oneText(name, value string) texts {
	return texts{columns: []textColumn{{name, oidText}}, rows: [][]string{{value}}}
}
