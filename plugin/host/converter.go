package host

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// converter is a converter whose code is in a process. Keys and values travel as values of
// records.
type converter struct {
	step
	encode, decode lane
}

// Configure implements connect.Converter.
func (c *converter) Configure(config connect.Config, isKey bool) error {
	return c.start(config, isKey)
}

// EncodeAll makes bytes of the values of records, or null: see worker.Options.External.
func (c *converter) EncodeAll(ctx context.Context, records []*connect.Record) (bad []error, err error) {
	_, bad, err = c.encode.through(ctx, &c.step, line.Encode, records)
	for i := range records {
		if k := records[i].Value.Kind(); err == nil && k != connect.KindBytes && k != connect.KindNull && (bad == nil || bad[i] == nil) {
			err = c.misunderstood(fmt.Errorf("in the place of bytes stands a value of kind %s", k))
		}
	}
	return bad, err
}

// DecodeAll makes values of bytes.
func (c *converter) DecodeAll(ctx context.Context, records []*connect.Record) (bad []error, err error) {
	_, bad, err = c.decode.through(ctx, &c.step, line.Decode, records)
	return bad, err
}

// FromConnect implements connect.Converter.
func (c *converter) FromConnect(ctx context.Context, dst []byte, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	r := connect.Record{Topic: topic, ValueSchema: s, Value: v}
	bad, err := c.EncodeAll(ctx, []*connect.Record{&r})
	if err == nil && bad != nil {
		err = bad[0]
	}
	if err != nil || r.Value.IsNull() {
		return nil, err
	}
	return append(dst, r.Value.Bytes()...), nil
}

// ToConnect implements connect.Converter.
func (c *converter) ToConnect(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	r := connect.Record{Topic: topic}
	if data != nil {
		r.Value = connect.Bytes(data)
	}
	bad, err := c.DecodeAll(ctx, []*connect.Record{&r})
	if err == nil && bad != nil {
		err = bad[0]
	}
	if err != nil {
		return nil, connect.Value{}, err
	}
	return r.ValueSchema, r.Value, nil
}

// Probe implements connect.Prober.
func (c *converter) Probe(ctx context.Context) error {
	if !c.class.Probes {
		return nil
	}
	_, err := c.process.call(ctx, line.Probe, nil)
	return err
}
