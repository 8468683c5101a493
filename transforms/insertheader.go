package transforms

import (
	"math"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func insertHeaderPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"InsertHeader", "Adds a header with a fixed value.", connect.NewConfigDef(
		connect.ConfigKey{Name: "header", Required: true, Importance: connect.High, Doc: "The name of the header."},
		connect.ConfigKey{Name: "value.literal", Required: true, Importance: connect.High, Doc: "The value. What reads as a number or boolean becomes one."},
	), func() connect.Transform { return &insertHeader{} })
}

type insertHeader struct {
	base
	header connect.Header
}

// Configure implements connect.Transform.
func (t *insertHeader) Configure(s connect.Settings) error {
	t.header = connect.Header{Key: s.String("header")}
	t.header.Schema, t.header.Value = parseLiteral(s.String("value.literal"))
	return nil
}

// Apply implements connect.Transform.
func (t *insertHeader) Apply(r *connect.Record) (bool, error) {
	r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], t.header)
	return true, nil
}

// parseLiteral reads a literal as Kafka Connect's Values.parseString does: booleans,
// integers of the smallest width that holds them, other numbers as floats. Dates and
// collections stay text, which a header's converter writes alike.
func parseLiteral(text string) (*connect.Schema, connect.Value) {
	switch strings.ToLower(text) {
	case "null":
		return nil, connect.Value{}
	case "true", "false":
		return connect.Of(connect.KindBool), connect.Bool(strings.EqualFold(text, "true"))
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		k := connect.KindInt64
		switch {
		case n >= math.MinInt8 && n <= math.MaxInt8:
			k = connect.KindInt8
		case n >= math.MinInt16 && n <= math.MaxInt16:
			k = connect.KindInt16
		case n >= math.MinInt32 && n <= math.MaxInt32:
			k = connect.KindInt32
		}
		return connect.Of(k), connect.IntOf(k, n)
	}
	if looksNumeric(text) {
		if f, err := strconv.ParseFloat(text, 32); err == nil {
			return connect.Of(connect.KindFloat32), connect.Float32(float32(f))
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return connect.Of(connect.KindFloat64), connect.Float64(f)
		}
	}
	return connect.Of(connect.KindString), connect.String(text)
}

// looksNumeric keeps words that Go reads as numbers, such as "inf", from being ones.
func looksNumeric(text string) bool {
	return text != "" && strings.Trim(text, "+-.0123456789eE") == "" && strings.ContainsAny(text, "0123456789")
}
