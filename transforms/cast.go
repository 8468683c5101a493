package transforms

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

func castPlugins() []connect.Plugin[connect.Transform] {
	return both("Cast", "Casts fields, or the whole key or value, to another type.", connect.NewConfigDef(
		connect.ConfigKey{Name: "spec", Type: connect.TypeList, Required: true, Check: connect.CheckText(func(text string) error {
			_, err := parseCasts(strings.Split(text, ","))
			return err
		}), Importance: connect.High, Doc: "field:type pairs, or one type for the whole: int8, int16, int32, int64, float32, float64, boolean, string."},
		replaceNull(),
	), func(k side) connect.Transform { return &cast{side: k} })
}

type cast struct {
	base
	side     side
	whole    connect.Kind // KindNull when fields are cast.
	fields   map[string]connect.Kind
	defaults bool
	plans    plans[*castPlan]
}

// castPlan is a schema after the cast and what each value is cast to.
type castPlan struct {
	out *connect.Schema
	to  []connect.Kind // By field; KindNull keeps the value.
}

// parseCasts reads the setting spec. The whole is under the empty name.
func parseCasts(list []string) (map[string]connect.Kind, error) {
	casts := map[string]connect.Kind{}
	for _, item := range list {
		item = strings.TrimSpace(item)
		colon := strings.LastIndexByte(item, ':')
		name, typ := "", strings.ToLower(strings.TrimSpace(item[colon+1:]))
		if colon >= 0 {
			name = strings.TrimSpace(item[:colon])
		}
		kind := connect.KindNull
		for k := connect.KindInt8; k <= connect.KindString; k++ {
			if k.String() == typ {
				kind = k
			}
		}
		switch _, twice := casts[name]; {
		case kind == connect.KindNull:
			return nil, fmt.Errorf("Invalid type %q in %q: expected int8, int16, int32, int64, float32, float64, boolean or string", typ, item)
		case twice || colon == 0:
			return nil, fmt.Errorf("Invalid element %q: each field, or the whole, once", item)
		}
		casts[name] = kind
	}
	if _, whole := casts[""]; whole && len(casts) > 1 {
		return nil, fmt.Errorf("Cast transformations that specify a type to cast the entire value to may ONLY specify a single cast in their spec")
	}
	return casts, nil
}

// Configure implements connect.Transform.
func (t *cast) Configure(s connect.Settings) (err error) {
	t.defaults = s.Bool("replace.null.with.default")
	t.fields, err = parseCasts(s.List("spec"))
	t.whole = t.fields[""]
	return err
}

// Apply implements connect.Transform.
func (t *cast) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case t.whole != connect.KindNull:
		return true, t.applyWhole(r, s, v)
	case s == nil:
		return true, t.applyMap(r, v)
	}
	st, err := structOf("cast", s, v)
	if err != nil {
		return false, err
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	values := make([]connect.Value, len(p.to))
	for i, to := range p.to {
		values[i] = field(st, i, t.defaults)
		if to == connect.KindNull {
			continue
		}
		if values[i], err = castValue(s.Fields()[i].Schema, values[i], to); err != nil {
			return false, err
		}
	}
	t.side.set(r, p.out, connect.StructValue(p.out.StructOf(values)))
	return true, nil
}

func (t *cast) applyWhole(r *connect.Record, s *connect.Schema, v connect.Value) error {
	v, err := castValue(s, v, t.whole)
	if err != nil {
		return err
	}
	if s != nil {
		if s, err = castSchema(s, t.whole); err != nil {
			return err
		}
	}
	t.side.set(r, s, v)
	return nil
}

func (t *cast) applyMap(r *connect.Record, v connect.Value) error {
	entries, err := entriesOf("cast", v)
	if err != nil {
		return err
	}
	for name, to := range t.fields {
		old, ok := lookup(entries, name)
		if !ok {
			continue
		}
		if old, err = castValue(nil, old, to); err != nil {
			return err
		}
		entries = put(entries, name, old)
	}
	t.side.set(r, nil, connect.Map(entries))
	return nil
}

func (t *cast) compile(s *connect.Schema) (*castPlan, error) {
	p := &castPlan{}
	var fields []connect.Field
	for _, f := range s.Fields() {
		to := t.fields[f.Name]
		p.to = append(p.to, to)
		if to != connect.KindNull {
			var err error
			if f.Schema, err = castSchema(f.Schema, to); err != nil {
				return nil, err
			}
		}
		fields = append(fields, f)
	}
	var err error
	p.out, err = derive(s, fields)
	return p, err
}

// castSchema is the plain schema of a kind, optional and with a default where s is
// and has one.
func castSchema(s *connect.Schema, to connect.Kind) (*connect.Schema, error) {
	d := connect.SchemaDef{Kind: to, Optional: s.Optional()}
	if !s.Default().IsNull() {
		var err error
		if d.Default, err = castValue(s, s.Default(), to); err != nil {
			return nil, err
		}
	}
	return d.Build()
}

// castValue casts as Java does between its primitive types.
func castValue(s *connect.Schema, v connect.Value, to connect.Kind) (connect.Value, error) {
	if v.IsNull() {
		return v, nil
	}
	if scale, ok := s.DecimalScale(); ok {
		text := string(connect.Decimal{Unscaled: v.Bytes(), Scale: scale}.Append(nil))
		if to == connect.KindString {
			return connect.String(text), nil
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return v, bad("cast", "%s cannot be cast to %s", text, to)
		}
		if to >= connect.KindInt8 && to <= connect.KindInt64 {
			whole, _, _ := strings.Cut(text, ".")
			if n, err := strconv.ParseInt(whole, 10, 64); err == nil {
				return connect.IntOf(to, n), nil
			}
		}
		v, s = connect.Float64(f), nil
	}
	switch {
	case v.IsInt():
		return castInt(s, v.Int(), to), nil
	case v.IsFloat():
		return castFloat(v, to), nil
	case v.Kind() == connect.KindBool:
		return castBool(v.Bool(), to), nil
	case v.Kind() == connect.KindString:
		return castText(v.Str(), to)
	case v.Kind() == connect.KindBytes && to == connect.KindString:
		return connect.String(base64.StdEncoding.EncodeToString(v.Bytes())), nil
	}
	return v, bad("cast", "a value of type %s cannot be cast to %s", v.Kind(), to)
}

func castInt(s *connect.Schema, n int64, to connect.Kind) connect.Value {
	switch to {
	case connect.KindFloat32:
		return connect.Float32(float32(n))
	case connect.KindFloat64:
		return connect.Float64(float64(n))
	case connect.KindBool:
		return connect.Bool(n != 0)
	case connect.KindString:
		return connect.String(intText(s, n))
	}
	return connect.IntOf(to, n)
}

// intText writes a number, and Connect's own dates and times as ISO 8601.
func intText(s *connect.Schema, n int64) string {
	if s != nil {
		switch s.Name() {
		case connect.LogicalDate:
			return time.Unix(n*86400, 0).UTC().Format(time.DateOnly)
		case connect.LogicalTime:
			return time.UnixMilli(n).UTC().Format("15:04:05.000Z")
		case connect.LogicalTimestamp:
			return time.UnixMilli(n).UTC().Format("2006-01-02T15:04:05.000Z")
		}
	}
	return strconv.FormatInt(n, 10)
}

func castFloat(v connect.Value, to connect.Kind) connect.Value {
	f := v.Float()
	switch to {
	case connect.KindFloat32:
		return connect.Float32(float32(f))
	case connect.KindFloat64:
		return connect.Float64(f)
	case connect.KindBool:
		return connect.Bool(saturate(f, math.MinInt64, math.MaxInt64) != 0)
	case connect.KindString:
		bits := 64
		if v.Kind() == connect.KindFloat32 {
			bits = 32
		}
		return connect.String(javaFloat(f, bits))
	case connect.KindInt64:
		return connect.Int64(saturate(f, math.MinInt64, math.MaxInt64))
	}
	// Narrower integers are cut from an int32, as Java's casts do.
	return connect.IntOf(to, saturate(f, math.MinInt32, math.MaxInt32))
}

// saturate cuts the fraction off; what is too large becomes the end of the range.
func saturate(f float64, low, high int64) int64 {
	switch {
	case math.IsNaN(f):
		return 0
	case f <= float64(low):
		return low
	case f >= float64(high):
		return high
	}
	return int64(f)
}

// javaFloat writes a number as Java's Double.toString does.
func javaFloat(f float64, bits int) string {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case abs == 0 || abs >= 1e-3 && abs < 1e7:
		text := strconv.FormatFloat(f, 'f', -1, bits)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	sign := ""
	if exponent[0] == '-' {
		sign = "-"
	}
	return mantissa + "E" + sign + strings.TrimLeft(exponent, "+-0")
}

func castBool(b bool, to connect.Kind) connect.Value {
	switch to {
	case connect.KindBool:
		return connect.Bool(b)
	case connect.KindString:
		return connect.String(strconv.FormatBool(b))
	}
	n := int64(0)
	if b {
		n = 1
	}
	return castInt(nil, n, to)
}

func castText(text string, to connect.Kind) (connect.Value, error) {
	var v connect.Value
	var err error
	switch to {
	case connect.KindString:
		return connect.String(text), nil
	case connect.KindBool:
		return connect.Bool(strings.EqualFold(text, "true")), nil
	case connect.KindFloat32, connect.KindFloat64:
		var f float64
		f, err = strconv.ParseFloat(strings.TrimSpace(text), 64)
		if v = connect.Float64(f); to == connect.KindFloat32 {
			v = connect.Float32(float32(f))
		}
	default:
		var n int64
		n, err = strconv.ParseInt(text, 10, bitsOf(to))
		v = connect.IntOf(to, n)
	}
	if err != nil {
		return v, bad("cast", "the text %q cannot be cast to %s", text, to)
	}
	return v, nil
}
