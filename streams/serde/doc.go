// Package serde writes the keys and values of streams as bytes and reads them
// back. A [Serde] does both for one type; [Text], [Bytes], [Int64] and [Float64]
// are those of plain types, in the forms of Kafka's own serializers. [Of] makes
// one from any converter, so that topics can be Avro or JSON, [Struct] does so for
// a Go struct, [JSON] and [Proto] are those of plain JSON and of Protobuf messages,
// and [Row] is the compact form for what only the streams engine reads again.
//
//	b, err := serde.Int64{}.Append(nil, 42)
//	n, err := serde.Int64{}.Decode(b)
package serde
