package connect

import "context"

// Converter turns values into the bytes of a Kafka record and back. One instance
// serves keys or values of one task. FromConnect and ToConnect may each be called
// by one goroutine at a time, and by two at once.
type Converter interface {
	// Configure hands over the raw settings (without the key.converter. or
	// value.converter. prefix), once, before anything else.
	Configure(config Config, isKey bool) error
	// FromConnect appends the bytes of v to dst and returns the longer slice. A nil
	// result, whatever dst held, is Kafka's null. dst is not nil. It may block on the
	// first record of a schema, to ask a registry; then an error of ClassRetriable
	// says that it can be tried again.
	FromConnect(ctx context.Context, dst []byte, topic string, s *Schema, v Value) ([]byte, error)
	// ToConnect reads what FromConnect wrote; nil data is Kafka's null. The value may
	// point into data, which the caller hands over.
	ToConnect(ctx context.Context, topic string, data []byte) (*Schema, Value, error)
	// Close releases everything.
	Close() error
}

// HeaderConverter is a Converter's counterpart for headers.
type HeaderConverter interface {
	Configure(config Config) error
	// FromConnectHeader appends the bytes of a header to dst; a nil result is null.
	FromConnectHeader(dst []byte, topic string, h Header) ([]byte, error)
	// ToConnectHeader reads a header's bytes; nil is null.
	ToConnectHeader(topic, key string, data []byte) (Header, error)
	Close() error
}

// Prober is the ability of a converter to try what it depends on, such as a schema
// registry. Probe is called after Configure, when a configuration is validated; it
// changes nothing and returns when ctx is done at the latest. The place of its
// error is the setting to look at, without a prefix.
type Prober interface {
	Probe(ctx context.Context) error
}
