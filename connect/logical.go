package connect

import "strconv"

// The names of Kafka Connect's own logical types: a Decimal is KindBytes (unscaled
// value, big-endian two's complement, parameter "scale"), a Date is KindInt32
// (days since the epoch), a Time is KindInt32 (milliseconds of the day), a
// Timestamp is KindInt64 (milliseconds since the epoch).
const (
	LogicalDecimal   = "org.apache.kafka.connect.data.Decimal"
	LogicalDate      = "org.apache.kafka.connect.data.Date"
	LogicalTime      = "org.apache.kafka.connect.data.Time"
	LogicalTimestamp = "org.apache.kafka.connect.data.Timestamp"

	// ParamScale and ParamPrecision are parameters of Decimal schemas: the scale,
	// which Connect requires, and the precision, which the Avro mapping understands.
	ParamScale     = "scale"
	ParamPrecision = "connect.decimal.precision"
)

// DecimalSchema returns the required schema of decimals with the given scale
// (digits after the point) and precision (digits in all; 0 when not known).
func DecimalSchema(precision, scale int) *Schema {
	params := []Param{{ParamScale, strconv.Itoa(scale)}}
	if precision > 0 {
		params = append(params, Param{ParamPrecision, strconv.Itoa(precision)})
	}
	return SchemaDef{Kind: KindBytes, Name: LogicalDecimal, Version: 1, Params: params}.MustBuild()
}

// DecimalScale returns the scale of a Decimal schema, and whether s, which may be
// nil, is one.
func (s *Schema) DecimalScale() (int, bool) {
	if s == nil || s.def.Kind != KindBytes || s.def.Name != LogicalDecimal {
		return 0, false
	}
	text, _ := s.Param(ParamScale)
	scale, err := strconv.Atoi(text)
	return scale, err == nil
}
