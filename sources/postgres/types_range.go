package postgres

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// compileRange maps a range to its text. Its binary form has the bounds in theirs,
// so that it is understood where the server's text of them is known.
func (t *typeTable) compileRange(info *typeInfo) (codec, error) {
	sub, err := t.compile(info.subtype, -1, 0)
	if err != nil {
		// The text of a range can be passed on whatever its bounds are.
		sub = codec{}
	}
	cd := codec{schema: connect.Of(connect.KindString), decode: decodeText}
	if sub.print != nil {
		cd.print = func(dst, b []byte) ([]byte, error) { return printRange(dst, b, sub.print) }
		cd.binary = printed(cd.print)
	}
	return cd, nil
}

// printed reads a binary form as the text it stands for.
func printed(write printFunc) decodeFunc {
	return func(a *arena, b []byte) (connect.Value, error) {
		text, err := write(a.tail(3*len(b)+32), b)
		if err != nil {
			return connect.Value{}, err
		}
		return connect.StringBytes(a.keep(text)), nil
	}
}

// The flags of a range, as range_send of the server's rangetypes.c writes them.
const (
	rangeEmpty, rangeLowerClosed, rangeUpperClosed = 0x01, 0x02, 0x04
	rangeLowerOpen, rangeUpperOpen                 = 0x08, 0x10 // Without a bound.
)

// printRange writes a range as range_out does.
func printRange(dst, b []byte, write printFunc) ([]byte, error) {
	r := cursor{b: b}
	flags := r.u8()
	if flags&rangeEmpty != 0 && len(r.b) == 0 {
		return append(dst, "empty"...), nil
	}
	bracket := func(closed bool, yes, no byte) {
		if closed {
			no = yes
		}
		dst = append(dst, no)
	}
	bracket(flags&rangeLowerClosed != 0, '[', '(')
	var err error
	if flags&rangeLowerOpen == 0 {
		if dst, err = printBound(dst, &r, write); err != nil {
			return nil, err
		}
	}
	dst = append(dst, ',')
	if flags&rangeUpperOpen == 0 {
		if dst, err = printBound(dst, &r, write); err != nil {
			return nil, err
		}
	}
	bracket(flags&rangeUpperClosed != 0, ']', ')')
	if r.short || len(r.b) > 0 || flags&rangeEmpty != 0 {
		return nil, badBinary("range", b)
	}
	return dst, nil
}

// printBound writes a bound, in quotes where its text could be taken for something
// else.
func printBound(dst []byte, r *cursor, write printFunc) ([]byte, error) {
	raw := r.take(int(int32(r.u32())))
	if r.short {
		return nil, errShort
	}
	from := len(dst)
	dst, err := write(dst, raw)
	if err != nil || !needsQuotes(dst[from:]) {
		return dst, err
	}
	return quoteTail(dst, from), nil
}

// quoteTail puts what stands in dst behind from into quotes, with quotes and
// backslashes twice. It moves the text from its end, so that it needs no other room.
func quoteTail(dst []byte, from int) []byte {
	read := len(dst)
	dst = append(dst, '"', '"')
	for _, c := range dst[from:read] {
		if c == '"' || c == '\\' {
			dst = append(dst, c)
		}
	}
	write := len(dst) - 1
	dst[write] = '"'
	for read > from {
		read--
		write--
		dst[write] = dst[read]
		if c := dst[read]; c == '"' || c == '\\' {
			write--
			dst[write] = c
		}
	}
	dst[from] = '"'
	return dst
}

func needsQuotes(text []byte) bool {
	for _, c := range text {
		switch c {
		case '"', '\\', '(', ')', '[', ']', ',', ' ', '\t', '\n', '\v', '\f', '\r':
			return true
		}
	}
	return len(text) == 0
}

// compileMultirange maps a multirange to an array of its ranges' texts.
func (t *typeTable) compileMultirange(info *typeInfo) (codec, error) {
	part, err := t.compile(info.subtype, -1, 0)
	if err != nil {
		return codec{}, fmt.Errorf("multirange of %w", err)
	}
	cd := codec{
		schema: connect.SchemaDef{Kind: connect.KindArray, Elem: part.schema.AsOptional()}.MustBuild(),
		decode: decodeMultirange,
	}
	if part.binary != nil {
		cd.binary = func(a *arena, b []byte) (connect.Value, error) { return binaryMultirange(a, b, part.binary) }
	}
	return cd, nil
}

// decodeMultirange reads {[1,3),[5,7)}.
func decodeMultirange(a *arena, text []byte) (connect.Value, error) {
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return connect.Value{}, badText("multirange", text)
	}
	body := text[1 : len(text)-1]
	n := 0
	for rest := body; len(rest) > 0; n++ {
		size := rangeLength(rest)
		if size < 0 {
			return connect.Value{}, badText("multirange", text)
		}
		if rest = rest[size:]; len(rest) > 0 && (rest[0] != ',' || len(rest) == 1) {
			return connect.Value{}, badText("multirange", text)
		}
		rest = rest[min(1, len(rest)):]
	}
	elems := a.row(n)
	for i := range elems {
		size := rangeLength(body)
		elems[i] = a.text(body[:size])
		body = body[min(size+1, len(body)):]
	}
	return connect.Array(elems), nil
}

// rangeLength returns the length of the range that text begins with, -1 when it
// begins with none.
func rangeLength(text []byte) int {
	if text[0] != '[' && text[0] != '(' {
		return -1
	}
	inside := false
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			inside = !inside
		case (c == ']' || c == ')') && !inside:
			return i + 1
		}
	}
	return -1
}

// binaryMultirange reads the number of ranges, and each with its length.
func binaryMultirange(a *arena, b []byte, read decodeFunc) (connect.Value, error) {
	if len(b) < 4 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4)/5 {
		return connect.Value{}, badBinary("multirange", b)
	}
	r := cursor{b: b}
	elems := a.row(int(r.u32()))
	for i := range elems {
		v, err := r.value(a, read)
		if err != nil {
			return connect.Value{}, err
		}
		elems[i] = v
	}
	if r.short || len(r.b) > 0 {
		return connect.Value{}, badBinary("multirange", b)
	}
	return connect.Array(elems), nil
}
