package json

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unsafe"

	"github.com/tidemill/tidemill/connect"
)

// decoder reads values from text.
type decoder struct {
	scanner
	options
	*slab
}

// slab gives out memory for values in large pieces.
type slab struct {
	values  []connect.Value
	structs []connect.Struct
	// open holds the elements of arrays that have not ended yet.
	open []connect.Value
}

// slabSize is the number of values in one piece; maxOpen that of elements for which
// memory is kept between records.
const (
	slabSize = 256
	maxOpen  = 1 << 14
)

// cut cuts n null values off the slab.
func (s *slab) cut(n int) []connect.Value {
	if n > len(s.values) {
		if n > slabSize/4 {
			return make([]connect.Value, n)
		}
		s.values = make([]connect.Value, slabSize)
	}
	v := s.values[:n:n]
	s.values = s.values[n:]
	return v
}

// row returns a struct over values.
func (s *slab) row(schema *connect.Schema, values []connect.Value) connect.Value {
	if len(s.structs) == 0 {
		s.structs = make([]connect.Struct, slabSize/8)
	}
	st := &s.structs[0]
	s.structs = s.structs[1:]
	st.Lay(schema, values)
	return connect.StructValue(st)
}

// closed returns the elements opened since mark as a slice of their own.
func (s *slab) closed(mark int) []connect.Value {
	elems := s.cut(len(s.open) - mark)
	copy(elems, s.open[mark:])
	clear(s.open[mark:])
	s.open = s.open[:mark]
	if mark == 0 && cap(s.open) > maxOpen {
		s.open = nil
	}
	return elems
}

// value reads a value of p's schema.
func (d *decoder) value(p *plan, depth int) (connect.Value, error) {
	none := connect.Value{}
	switch {
	case p.schema == nil:
		return d.schemaless(depth)
	case depth > maxDepth:
		return none, errDepth
	case d.literal("null"):
		return p.absent()
	}
	switch p.kind {
	case connect.KindBool:
		if d.literal("true") {
			return connect.Bool(true), nil
		}
		if d.literal("false") {
			return connect.Bool(false), nil
		}
		return none, d.fault("a boolean")
	case connect.KindFloat32, connect.KindFloat64:
		return d.float(p.kind)
	case connect.KindString:
		b, err := d.string()
		return connect.StringBytes(b), err
	case connect.KindBytes:
		if p.decimal && d.peek() != '"' {
			return d.decimal(p.scale)
		}
		return d.base64()
	case connect.KindArray:
		return d.elements(p.elem, depth)
	case connect.KindMap:
		if p.key.kind == connect.KindString {
			return d.entries(p.elem, depth)
		}
		return d.pairs(p, depth)
	case connect.KindStruct:
		return d.row(p, depth)
	}
	n, err := d.integer(p.kind)
	return connect.IntOf(p.kind, n), err
}

// integer reads an integer of kind k. A fraction of zeros is let pass, as other
// programs write numbers so.
func (d *decoder) integer(k connect.Kind) (int64, error) {
	start := d.at
	text, whole, err := d.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(view(text), 10, 64)
	if !whole {
		f, ferr := strconv.ParseFloat(view(text), 64)
		n, err = int64(f), ferr
		if ferr == nil && (f != math.Trunc(f) || math.Abs(f) >= 1<<53) {
			return 0, fmt.Errorf("the number at byte %d is no integer", start)
		}
	}
	if err != nil || connect.IntOf(k, n).Int() != n {
		return 0, fmt.Errorf("the number at byte %d does not fit %v", start, k)
	}
	return n, nil
}

// view returns b as a string without copying, for calls that do not keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (d *decoder) float(k connect.Kind) (connect.Value, error) {
	bits := 64
	if k == connect.KindFloat32 {
		bits = 32
	}
	f, err := d.special()
	if err == nil && f == 0 {
		var text []byte
		start := d.at
		if text, _, err = d.number(); err != nil {
			return connect.Value{}, err
		}
		if f, err = strconv.ParseFloat(view(text), bits); err != nil {
			return connect.Value{}, fmt.Errorf("the number at byte %d does not fit %v", start, k)
		}
	}
	if bits == 32 {
		return connect.Float32(float32(f)), err
	}
	return connect.Float64(f), err
}

// special reads NaN and the infinities, which stand in quotes; 0 if none comes next.
func (d *decoder) special() (float64, error) {
	switch {
	case d.peek() != '"':
		return 0, nil
	case d.literal(`"NaN"`):
		return math.NaN(), nil
	case d.literal(`"Infinity"`):
		return math.Inf(1), nil
	case d.literal(`"-Infinity"`):
		return math.Inf(-1), nil
	}
	return 0, d.fault("a number")
}

// decimal reads a number as a decimal of the given scale, without loss.
func (d *decoder) decimal(scale int) (connect.Value, error) {
	start := d.at
	text, _, err := d.number()
	if err != nil {
		return connect.Value{}, err
	}
	mantissa, exponent := text, 0
	for i, c := range text {
		if c|0x20 == 'e' {
			if exponent, err = strconv.Atoi(string(text[i+1:])); err != nil || exponent > maxNumber || exponent < -maxNumber {
				return connect.Value{}, errNumber
			}
			mantissa = text[:i]
		}
	}
	n, err := connect.ParseDecimal(nil, view(mantissa))
	if err != nil {
		return connect.Value{}, err
	}
	if shift := scale - n.Scale + exponent; shift != 0 {
		unscaled, ok := shifted(n.Int(), shift)
		if !ok {
			return connect.Value{}, fmt.Errorf("the number at byte %d has more than %d digits after the point", start, scale)
		}
		n.Unscaled = connect.AppendUnscaled(nil, unscaled)
	}
	return connect.Bytes(n.Unscaled), nil
}

// shifted returns n·10^shift, and whether that is an integer.
func shifted(n *big.Int, shift int) (*big.Int, bool) {
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(shift, -shift))), nil)
	if shift > 0 {
		return n.Mul(n, power), true
	}
	_, rest := n.QuoRem(n, power, new(big.Int))
	return n, rest.Sign() == 0
}

func (d *decoder) base64() (connect.Value, error) {
	start := d.at
	text, err := d.string()
	if err != nil {
		return connect.Value{}, err
	}
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return connect.Value{}, fmt.Errorf("the string at byte %d is no base64", start)
	}
	return connect.Bytes(b), nil
}

// elements reads an array of elements of elem's schema.
func (d *decoder) elements(elem *plan, depth int) (connect.Value, error) {
	mark := len(d.open)
	err := d.array(func() error {
		v, err := d.value(elem, depth+1)
		d.open = append(d.open, v)
		return err
	})
	return connect.Array(d.closed(mark)), err
}

// entries reads an object as a map with string keys.
func (d *decoder) entries(elem *plan, depth int) (connect.Value, error) {
	var entries []connect.MapEntry
	err := d.object(func(key []byte) error {
		v, err := d.value(elem, depth+1)
		entries = append(entries, connect.MapEntry{Key: connect.StringBytes(key), Value: v})
		return err
	})
	return connect.Map(entries), err
}

// pairs reads an array of pairs as a map.
func (d *decoder) pairs(p *plan, depth int) (connect.Value, error) {
	var entries []connect.MapEntry
	err := d.array(func() error {
		if !d.take('[') {
			return d.fault("a pair of key and value")
		}
		key, err := d.value(p.key, depth+1)
		if err != nil {
			return err
		}
		if !d.take(',') {
			return d.fault("a comma between key and value")
		}
		v, err := d.value(p.elem, depth+1)
		if err != nil {
			return err
		}
		if !d.take(']') {
			return d.fault("the end of a pair of key and value")
		}
		entries = append(entries, connect.MapEntry{Key: key, Value: v})
		return nil
	})
	return connect.Map(entries), err
}

var errAbsent = errors.New("it is missing, but neither optional nor has it a default")

// row reads an object as a struct. Fields the schema does not have are passed over.
func (d *decoder) row(p *plan, depth int) (connect.Value, error) {
	values := d.cut(len(p.fields))
	expected := 0
	err := d.object(func(key []byte) error {
		i := p.find(key, expected)
		if i < 0 {
			return d.skip(depth + 1)
		}
		expected = i + 1
		v, err := d.value(p.fields[i].plan, depth+1)
		if err != nil {
			return fmt.Errorf("field %s: %w", p.fields[i].name, err)
		}
		values[i] = v
		return nil
	})
	if err != nil {
		return connect.Value{}, err
	}
	for i := range values {
		if values[i].IsNull() {
			if values[i], err = p.fields[i].absent(); err != nil {
				return connect.Value{}, fmt.Errorf("field %s: %w", p.fields[i].name, errAbsent)
			}
		}
	}
	return d.slab.row(p.schema, values), nil
}

// untyped is the plan of what has no schema.
var untyped = &plan{}

// schemaless reads a value that has no schema.
func (d *decoder) schemaless(depth int) (connect.Value, error) {
	if depth > maxDepth {
		return connect.Value{}, errDepth
	}
	switch d.peek() {
	case '{':
		return d.entries(untyped, depth)
	case '[':
		return d.elements(untyped, depth)
	case '"':
		b, err := d.string()
		return connect.StringBytes(b), err
	case 't', 'f', 'n':
		switch {
		case d.literal("true"):
			return connect.Bool(true), nil
		case d.literal("false"):
			return connect.Bool(false), nil
		case d.literal("null"):
			return connect.Value{}, nil
		}
		return connect.Value{}, d.fault("a value")
	}
	start := d.at
	text, whole, err := d.number()
	if err != nil {
		return connect.Value{}, err
	}
	if whole {
		n, err := strconv.ParseInt(view(text), 10, 64)
		if err != nil {
			return connect.Value{}, fmt.Errorf("the number at byte %d does not fit int64", start)
		}
		return connect.Int64(n), nil
	}
	f, err := strconv.ParseFloat(view(text), 64)
	if err != nil {
		return connect.Value{}, fmt.Errorf("the number at byte %d does not fit float64", start)
	}
	return connect.Float64(f), nil
}
