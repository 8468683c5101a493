// Package raw holds the converters that need no schema language: text, bytes, and
// numbers and booleans as fixed big-endian bytes, in the forms that Kafka's own
// serializers write. They stand in for Kafka Connect's StringConverter,
// ByteArrayConverter, ShortConverter, IntegerConverter, LongConverter,
// FloatConverter, DoubleConverter and BooleanConverter, and for
// SimpleHeaderConverter, which writes headers as text and guesses their types when
// it reads them.
//
// The few types: [Text] for strings, [Fixed] for everything of a fixed layout and
// for bytes, [SimpleHeaders] for headers. [Plugins] and [HeaderPlugins] list them
// under their class names:
//
//	p, err := connect.FindPlugin(raw.Plugins(), "org.apache.kafka.connect.storage.StringConverter")
//	if err != nil {
//		return err
//	}
//	c := p.New()
//	if err := c.Configure(connect.Config{}, true); err != nil {
//		return err
//	}
//	key, err := c.FromConnect(ctx, buf[:0], "orders", nil, connect.String("k1"))
//
// All of them read null as null without a schema, so that a tombstone stays one.
package raw
