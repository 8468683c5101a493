// Package json converts records to JSON and back in the form of Kafka Connect's
// JsonConverter: with schemas.enable an envelope {"schema":…,"payload":…} in which
// every record carries its schema, without it the bare payload.
//
// The few types: [Converter] is all there is to see. Behind it a plan, compiled
// once for each schema, appends values and reads them; a scanner walks over the
// text without building a tree. Strings without escapes share the record's bytes.
//
//	c := &json.Converter{}
//	if err := c.Configure(connect.Config{"schemas.enable": "false"}, false); err != nil {
//		return err
//	}
//	data, err := c.FromConnect(ctx, buf[:0], "orders", schema, value)
//
// Bytes are base64, decimals base64 of their unscaled value or, with
// decimal.format=NUMERIC, numbers; dates and times are their numbers. Maps with
// string keys are objects, others arrays of pairs. Without schemas integers are
// read as int64, other numbers as float64, objects as maps with string keys.
//
// Where Kafka Connect's own converter would silently put something else in a
// value's place (0 for text, a number cut to its width), reading fails instead.
package json
