package postgres

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// numericCodec follows decimal.handling.mode.
func numericCodec(m *modes, mod int32) codec {
	cd := numericOf(m, mod)
	cd.print = printNumeric
	if m.decimals == decimalsPrecise && m.specialsNull {
		cd.decode, cd.binary, cd.nullable = specialsAsNull(cd.decode), specialsAsNull(cd.binary), true
	}
	return cd
}

// numericOf is the codec of one mode. A type modifier holds the precision in its
// upper half and the scale, which may be negative, in its lower eleven bits.
func numericOf(m *modes, mod int32) codec {
	switch m.decimals {
	case decimalsDouble:
		return codec{schema: connect.Of(connect.KindFloat64), decode: decodeNumericDouble, binary: binaryNumericDouble}
	case decimalsString:
		return codec{schema: connect.Of(connect.KindString), decode: decodeNumericText, binary: binaryNumericText}
	}
	if mod < 4 {
		s := variableScaleDecimal()
		return codec{schema: s, decode: variableScaleDecoder(s), binary: binaryVariableScale(s)}
	}
	precision, scale := numericModifier(mod)
	if scale < 0 {
		// A scale below zero has no counterpart outside: the zeros are written out.
		precision, scale = precision-scale, 0
	}
	return codec{schema: connect.DecimalSchema(max(precision, scale), scale), decode: decimalDecoder(scale), binary: binaryDecimal(scale)}
}

// numericModifier returns the precision and scale of a numeric's type modifier.
func numericModifier(mod int32) (precision, scale int) {
	return int(mod-4) >> 16 & 0xffff, int((mod-4)&0x7ff^1024) - 1024
}

// specialsAsNull reads NaN and the infinities, which no decimal schema holds, as
// null where decimal.special.values asks for that.
func specialsAsNull(read decodeFunc) decodeFunc {
	return func(a *arena, b []byte) (connect.Value, error) {
		v, err := read(a, b)
		if _, special := errors.AsType[*notFiniteError](err); special {
			return connect.Value{}, nil
		}
		return v, err
	}
}

func variableScaleDecimal() *connect.Schema {
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.VariableScaleDecimal", Version: 1,
		Doc: "Variable scaled decimal",
		Fields: []connect.Field{
			{Name: "scale", Schema: connect.Of(connect.KindInt32)},
			{Name: "value", Schema: connect.Of(connect.KindBytes)},
		},
	}.MustBuild()
}

// notFiniteError is the fault of NaN and infinities where only numbers fit.
type notFiniteError struct{ text string }

func (e *notFiniteError) Error() string {
	return e.text + " is no number, and decimal.handling.mode=precise holds nothing else; see decimal.special.values"
}

// badNumeric is the error of a text that is no decimal number.
func badNumeric(text []byte) error {
	switch s := string(text[:min(len(text), 10)]); s {
	case "NaN", "Infinity", "-Infinity":
		return &notFiniteError{s}
	}
	return badText("numeric with decimal.handling.mode=precise", text)
}

func decimalDecoder(scale int) decodeFunc {
	return func(a *arena, text []byte) (connect.Value, error) {
		d, err := connect.ParseDecimal(a.tail(len(text)), view(text))
		if err != nil {
			return connect.Value{}, badNumeric(text)
		}
		if d.Scale != scale {
			return connect.Value{}, badText("numeric with "+strconv.Itoa(scale)+" digits after the point", text)
		}
		return connect.Bytes(a.keep(d.Unscaled)), nil
	}
}

func variableScaleDecoder(s *connect.Schema) decodeFunc {
	return func(a *arena, text []byte) (connect.Value, error) {
		for i := range text {
			if text[i] == '.' {
				text = trimZeros(text, i)
				break
			}
		}
		d, err := connect.ParseDecimal(a.tail(len(text)), view(text))
		if err != nil {
			return connect.Value{}, badNumeric(text)
		}
		values := a.rowAfter(d.Unscaled, 2)
		values[0] = connect.Int32(int32(d.Scale))
		return a.structure(s, values), nil
	}
}

// rowAfter keeps unscaled and returns a row of n values whose second holds it.
func (a *arena) rowAfter(unscaled []byte, n int) []connect.Value {
	values := a.row(n)
	values[1] = connect.Bytes(a.keep(unscaled))
	return values
}

// trimZeros cuts zeros at the end of a fraction, and the point if nothing is left.
func trimZeros(text []byte, point int) []byte {
	end := len(text)
	for end > point+1 && text[end-1] == '0' {
		end--
	}
	if end == point+1 {
		end = point
	}
	return text[:end]
}

func decodeNumericDouble(_ *arena, text []byte) (connect.Value, error) {
	f, err := strconv.ParseFloat(view(text), 64)
	if err != nil && !math.IsInf(f, 0) {
		return connect.Value{}, badText("numeric", text)
	}
	return connect.Float64(f), nil
}

func decodeNumericText(a *arena, text []byte) (connect.Value, error) {
	switch view(text) {
	case "NaN":
		return connect.String("NAN"), nil
	case "Infinity":
		return connect.String("POSITIVE_INFINITY"), nil
	case "-Infinity":
		return connect.String("NEGATIVE_INFINITY"), nil
	}
	return a.text(text), nil
}

// numericParts is the binary form of numeric, as numeric_send of the server's
// numeric.c writes it: groups of four decimal digits, the first of which counts
// 10000^weight, and the number of digits that are shown after the point.
type numericParts struct {
	groups []byte // Two bytes each.
	weight int
	scale  int
	sign   uint16
}

// The signs of a numeric; the last three are no numbers.
const (
	numericPlus, numericMinus                         = 0x0000, 0x4000
	numericNaN, numericInfinity, numericMinusInfinity = 0xc000, 0xd000, 0xf000
)

func readNumeric(b []byte) (n numericParts, err error) {
	if len(b) < 8 || len(b) != 8+2*int(binary.BigEndian.Uint16(b)) {
		return n, badBinary("numeric", b)
	}
	n.groups = b[8:]
	n.weight, n.sign = int(int16(binary.BigEndian.Uint16(b[2:]))), binary.BigEndian.Uint16(b[4:])
	n.scale = int(binary.BigEndian.Uint16(b[6:]))
	switch n.sign {
	case numericPlus, numericMinus:
	case numericNaN, numericInfinity, numericMinusInfinity:
		return n, nil
	default:
		return n, badBinary("numeric", b)
	}
	for i := 0; i < len(n.groups); i += 2 {
		if binary.BigEndian.Uint16(n.groups[i:]) > 9999 {
			return n, badBinary("numeric", b)
		}
	}
	return n, nil
}

// small returns the number as m·10^exp, if it has up to sixteen digits.
func (n *numericParts) small() (m int64, exp int, ok bool) {
	if len(n.groups) > 8 || n.sign&0x8000 != 0 {
		return 0, 0, false
	}
	for i := 0; i < len(n.groups); i += 2 {
		m = m*10_000 + int64(binary.BigEndian.Uint16(n.groups[i:]))
	}
	if n.sign == numericMinus {
		m = -m
	}
	return m, 4 * (n.weight + 1 - len(n.groups)/2), true
}

// unscaled returns the number times 10^scale, if that is a whole number of up to
// eighteen digits.
func (n *numericParts) unscaled(scale int) (int64, bool) {
	m, exp, ok := n.small()
	exp += scale
	switch {
	case !ok || exp > 18 || exp < -16:
		return 0, m == 0 && ok
	case exp >= 0:
		most := powersOfTen[18-exp]
		return m * powersOfTen[exp], m < most && m > -most
	}
	unit := powersOfTen[-exp]
	return m / unit, m%unit == 0
}

var powersOfTen = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// room returns how many bytes append writes at most.
func (n *numericParts) room() int { return 4*max(n.weight+1, 1) + n.scale + 6 }

// append writes the number as the server does in its text form.
func (n *numericParts) append(dst []byte) []byte {
	switch n.sign {
	case numericNaN:
		return append(dst, "NaN"...)
	case numericInfinity:
		return append(dst, "Infinity"...)
	case numericMinusInfinity:
		return append(dst, "-Infinity"...)
	case numericMinus:
		dst = append(dst, '-')
	}
	if n.weight < 0 {
		dst = append(dst, '0')
	} else {
		dst = appendPadded(dst, n.group(0), 1)
		for i := 1; i <= n.weight; i++ {
			dst = appendPadded(dst, n.group(i), 4)
		}
	}
	if n.scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	left := n.scale
	for i := n.weight + 1; left >= 4; i, left = i+1, left-4 {
		dst = appendPadded(dst, n.group(i), 4)
	}
	if left > 0 {
		last := n.group(n.weight + 1 + n.scale/4)
		dst = appendPadded(dst, last/powersOfTen[4-left], left)
	}
	return dst
}

func (n *numericParts) group(i int) int64 {
	if i < 0 || 2*i >= len(n.groups) {
		return 0
	}
	return int64(binary.BigEndian.Uint16(n.groups[2*i:]))
}

// printNumeric appends the text form of a numeric in binary form.
func printNumeric(dst, b []byte) ([]byte, error) {
	n, err := readNumeric(b)
	if err != nil {
		return nil, err
	}
	return n.append(dst), nil
}

func binaryDecimal(scale int) decodeFunc {
	long := decimalDecoder(scale)
	return func(a *arena, b []byte) (connect.Value, error) {
		n, err := readNumeric(b)
		if err != nil {
			return connect.Value{}, err
		}
		if u, ok := n.unscaled(scale); ok && n.scale == scale {
			return connect.Bytes(a.keep(bigEndian(a.tail(8), u))), nil
		}
		return long(a, n.append(nil))
	}
}

func binaryVariableScale(s *connect.Schema) decodeFunc {
	long := variableScaleDecoder(s)
	return func(a *arena, b []byte) (connect.Value, error) {
		n, err := readNumeric(b)
		if err != nil {
			return connect.Value{}, err
		}
		m, exp, ok := n.small()
		scale := 0
		if ok && exp < 0 {
			for scale = -exp; m%10 == 0 && scale > 0; scale-- {
				m /= 10
			}
		} else if ok {
			m, ok = n.unscaled(0)
		}
		if !ok {
			return long(a, n.append(nil))
		}
		values := a.rowAfter(bigEndian(a.tail(8), m), 2)
		values[0] = connect.Int32(int32(scale))
		return a.structure(s, values), nil
	}
}

// binaryNumericDouble divides where both numbers are exact as doubles, so that the
// quotient is the nearest one.
func binaryNumericDouble(a *arena, b []byte) (connect.Value, error) {
	n, err := readNumeric(b)
	if err != nil {
		return connect.Value{}, err
	}
	const exact = 1 << 53
	if m, exp, ok := n.small(); ok && m < exact && m > -exact && exp >= -16 && exp <= 0 {
		return connect.Float64(float64(m) / float64(powersOfTen[-exp])), nil
	}
	return decodeNumericDouble(a, n.append(a.tail(n.room())))
}

func binaryNumericText(a *arena, b []byte) (connect.Value, error) {
	n, err := readNumeric(b)
	if err != nil {
		return connect.Value{}, err
	}
	if n.sign&0x8000 != 0 {
		return decodeNumericText(a, n.append(nil))
	}
	return connect.StringBytes(a.keep(n.append(a.tail(n.room())))), nil
}
