package transforms

import (
	"math/big"
	"slices"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

func maskFieldPlugins() []connect.Plugin[connect.Transform] {
	return both("MaskField", "Replaces the values of fields with nothing that tells: zero, false, the empty text, or a replacement.", connect.NewConfigDef(
		connect.ConfigKey{Name: "fields", Type: connect.TypeList, Required: true, Importance: connect.High, Doc: "The fields to mask."},
		connect.ConfigKey{Name: "replacement", Optional: true, Importance: connect.Low, Doc: "What stands there instead, for numbers and text."},
		replaceNull(),
	), func(k side) connect.Transform { return &maskField{side: k} })
}

type maskField struct {
	base
	side        side
	fields      []string
	replaces    bool
	replacement string
	defaults    bool
	plans       plans[[]maskPlan]
}

// maskPlan is a field and what stands in it.
type maskPlan struct {
	at   int
	mask connect.Value
}

// Configure implements connect.Transform.
func (t *maskField) Configure(s connect.Settings) error {
	t.fields, t.defaults = s.List("fields"), s.Bool("replace.null.with.default")
	t.replaces, t.replacement = s.Given("replacement"), s.String("replacement")
	if t.replaces && t.replacement == "" {
		return wrongSetting("replacement", "the replacement may not be empty")
	}
	return nil
}

// Apply implements connect.Transform.
func (t *maskField) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case s == nil:
		return true, t.applyMap(r, v)
	}
	st, err := structOf("mask_field", s, v)
	if err != nil {
		return false, err
	}
	masks, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	values := slices.Clone(st.Values())
	for i := range values {
		values[i] = field(st, i, t.defaults)
	}
	for _, m := range masks {
		if !values[m.at].IsNull() {
			values[m.at] = m.mask
		}
	}
	t.side.set(r, s, connect.StructValue(st.Schema().StructOf(values)))
	return true, nil
}

func (t *maskField) applyMap(r *connect.Record, v connect.Value) error {
	entries, err := entriesOf("mask_field", v)
	if err != nil {
		return err
	}
	for _, name := range t.fields {
		old, ok := lookup(entries, name)
		if !ok || old.IsNull() {
			continue
		}
		mask, err := t.mask(name, nil, old.Kind())
		if err != nil {
			return err
		}
		entries = put(entries, name, mask)
	}
	t.side.set(r, nil, connect.Map(entries))
	return nil
}

func (t *maskField) compile(s *connect.Schema) ([]maskPlan, error) {
	var list []maskPlan
	for i, f := range s.Fields() {
		if !slices.Contains(t.fields, f.Name) {
			continue
		}
		mask, err := t.mask(f.Name, f.Schema, f.Schema.Kind())
		if err != nil {
			return nil, err
		}
		list = append(list, maskPlan{i, mask})
	}
	return list, nil
}

// mask returns what stands for values of a kind.
func (t *maskField) mask(name string, s *connect.Schema, k connect.Kind) (connect.Value, error) {
	if t.replaces {
		return t.replacementFor(name, s, k)
	}
	switch k {
	case connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64:
		return connect.IntOf(k, 0), nil
	case connect.KindFloat32:
		return connect.Float32(0), nil
	case connect.KindFloat64:
		return connect.Float64(0), nil
	case connect.KindBool:
		return connect.Bool(false), nil
	case connect.KindString:
		return connect.String(""), nil
	case connect.KindBytes:
		if _, decimal := s.DecimalScale(); decimal {
			return connect.Bytes([]byte{0}), nil
		}
		return connect.Bytes(nil), nil
	case connect.KindArray:
		return connect.Array(nil), nil
	case connect.KindMap:
		return connect.Map(nil), nil
	}
	return connect.Value{}, bad("mask_field", "Cannot mask value of type %s in field %s", k, name)
}

func (t *maskField) replacementFor(name string, s *connect.Schema, k connect.Kind) (connect.Value, error) {
	var v connect.Value
	var err error
	switch k {
	case connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64:
		var n int64
		n, err = strconv.ParseInt(t.replacement, 10, bitsOf(k))
		v = connect.IntOf(k, n)
	case connect.KindFloat32:
		var f float64
		f, err = strconv.ParseFloat(t.replacement, 32)
		v = connect.Float32(float32(f))
	case connect.KindFloat64:
		var f float64
		f, err = strconv.ParseFloat(t.replacement, 64)
		v = connect.Float64(f)
	case connect.KindString:
		return connect.String(t.replacement), nil
	default:
		scale, decimal := s.DecimalScale()
		if !decimal {
			return v, bad("mask_field", "Cannot mask value of type %s in field %s with a custom replacement", k, name)
		}
		var unscaled []byte
		unscaled, err = rescale(t.replacement, scale)
		v = connect.Bytes(unscaled)
	}
	if err != nil {
		return v, bad("mask_field", "Unable to convert %s to the type %s of field %s", t.replacement, k, name)
	}
	return v, nil
}

func bitsOf(k connect.Kind) int {
	switch k {
	case connect.KindInt8:
		return 8
	case connect.KindInt16:
		return 16
	case connect.KindInt32:
		return 32
	}
	return 64
}

// rescale returns the unscaled value of a decimal number at a scale. Digits that do
// not fit are an error.
func rescale(text string, scale int) ([]byte, error) {
	d, err := connect.ParseDecimal(nil, text)
	if err != nil {
		return nil, err
	}
	n, ten := d.Int(), big.NewInt(10)
	for ; d.Scale < scale; d.Scale++ {
		n.Mul(n, ten)
	}
	for ; d.Scale > scale; d.Scale-- {
		var rest big.Int
		if n.QuoRem(n, ten, &rest); rest.Sign() != 0 {
			return nil, strconv.ErrRange
		}
	}
	return connect.AppendUnscaled(nil, n), nil
}
