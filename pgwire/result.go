package pgwire

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql"
)

// result sends what a statement gives. It is the answer to a query.
type result struct {
	s       *session
	copying bool // COPY (…) TO STDOUT.
	// Of a portal: what is executed, how many rows a part has, 0 for all, and how many of them
	// were given.
	portal      *portal
	run         *run
	ctx         context.Context
	left, given int
	columns     []sql.Column
	rows        int
	buf         []byte // The values of a row, one after another.
	ends        []int  // Where each ends, -1 for a null.
	values      [][]byte
	line        []byte // The row as COPY writes it.
}

// Header implements sql.Answer.
func (r *result) Header(h sql.Header) error {
	r.columns, r.buf = h.Columns, make([]byte, 0, 256) // Never nil, which would be a null.
	fields := make([]pgproto3.FieldDescription, len(h.Columns))
	for i, c := range h.Columns {
		fields[i] = describe(c)
	}
	var first pgproto3.BackendMessage = &pgproto3.RowDescription{Fields: fields}
	if r.portal != nil { // The client asks for it by itself.
		return r.s.out.soon()
	}
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
	if err := r.pause(); err != nil {
		return err
	}
	r.buf, r.ends = r.buf[:0], r.ends[:0]
	for i, v := range row.Values {
		if v.IsNull() {
			r.ends = append(r.ends, -1)
			continue
		}
		var err error
		if r.buf, err = r.append(i, v); err != nil {
			return err
		}
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

// append appends the value of a column in the format that the client wants.
func (r *result) append(column int, v connect.Value) ([]byte, error) {
	c := r.columns[column]
	if r.portal == nil || formatOf(r.portal.formats, column) == pgproto3.TextFormat {
		return appendText(r.buf, c, v), nil
	}
	of, _ := oidOf(c.DataType())
	r.line = appendText(r.line[:0], c, v)
	return r.s.binary(r.buf, of, r.line)
}

// args are the arguments of a portal.
func (r *result) args() []sql.Argument {
	if r.portal == nil {
		return nil
	}
	return r.portal.args
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
	if r.portal == nil {
		if err := r.s.send(&pgproto3.RowDescription{Fields: t.fields()}); err != nil {
			return err
		}
	}
	for _, row := range t.rows {
		if err := r.pause(); err != nil {
			return err
		}
		values := make([][]byte, len(row))
		for i, v := range row {
			values[i] = []byte(v)
			if r.portal == nil || formatOf(r.portal.formats, i) == pgproto3.TextFormat {
				continue
			}
			var err error
			if values[i], err = r.s.binary([]byte{}, t.columns[i].oid, values[i]); err != nil {
				return err
			}
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

// fields are what the client is told of the columns.
func (t texts) fields() []pgproto3.FieldDescription {
	fields := make([]pgproto3.FieldDescription, len(t.columns))
	for i, c := range t.columns {
		fields[i] = pgproto3.FieldDescription{Name: []byte(c.name), DataTypeOID: c.oid, DataTypeSize: -1, TypeModifier: -1}
	}
	return fields
}

type textColumn struct {
	name string
	oid  oid
}

// oneText is a result of one value.
func oneText(name, value string) texts {
	return texts{columns: []textColumn{{name, oidText}}, rows: [][]string{{value}}}
}
