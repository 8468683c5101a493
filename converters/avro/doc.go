// Package avro converts records to Avro and back, with their schemas in a schema
// registry, as Confluent's AvroConverter does: a zero byte, the schema's id, then
// the value in Avro's binary encoding. Schemas are mapped as that converter maps
// them, down to the text that is registered, so that one can take the other's place
// on the same topics.
//
// The few types: [Converter] is the converter; [Client] asks the registry and
// remembers its answers; [Registry] is what a registry must be able to do. Inside,
// a node is an Avro schema; an encoder and a decoder are a Connect schema compiled
// against one, once for each, after which values are appended to and read from bytes
// with no maps and no boxes on the way. Reading shares the record's bytes.
//
//	c := &avro.Converter{}
//	if err := c.Configure(connect.Config{"schema.registry.url": "http://localhost:8081"}, false); err != nil {
//		return err
//	}
//	data, err := c.FromConnect(ctx, buf[:0], "orders", schema, value)
//
// The schema language itself is read here rather than by a library: numbers of 64
// bits keep their digits, defaults may belong to any member of a union, and there
// are limits to size and depth. Every schema that is about to be registered must
// also be one to hamba/avro, an independent reader of the language.
//
// Not mapped are records that contain themselves, which Connect's schemas cannot
// express, save for the one by which Confluent's converter writes values without a
// schema.
package avro
