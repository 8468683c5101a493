package serde

import (
	"context"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// Of returns the Serde of values in a converter's format, so that topics can be
// in any format there is one for. schema describes what is written; a struct that
// brings its own schema is written with that. The converter is used by all tasks,
// one at a time in each direction.
func Of(c connect.Converter, schema *connect.Schema) Serde[connect.Value] {
	return &converterSerde{converterTopic{shared: &converterShared{c: c}, schema: schema}}
}

type converterShared struct {
	c                connect.Converter
	writing, reading sync.Mutex // one caller each way, as the contract of converters asks
}

type converterTopic struct {
	shared *converterShared
	schema *connect.Schema
	topic  string
}

type converterSerde struct{ converterTopic }

// Bind implements Binder.
func (s *converterSerde) Bind(topic string, _ bool) Serde[connect.Value] {
	bound := *s
	bound.topic = topic
	return &bound
}

// Append implements Serde.
func (s *converterSerde) Append(dst []byte, v connect.Value) ([]byte, error) {
	schema := s.schema
	if v.Kind() == connect.KindStruct {
		schema = v.Struct().Schema()
	}
	if dst == nil {
		dst = []byte{}
	}
	s.shared.writing.Lock()
	defer s.shared.writing.Unlock()
	return s.shared.c.FromConnect(context.Background(), dst, s.topic, schema, v)
}

// Decode implements Serde.
func (s *converterSerde) Decode(b []byte) (connect.Value, error) {
	s.shared.reading.Lock()
	defer s.shared.reading.Unlock()
	// The value may point into its bytes, so it gets bytes of its own.
	_, v, err := s.shared.c.ToConnect(context.Background(), s.topic, append([]byte{}, b...))
	return v, err
}
