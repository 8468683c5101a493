package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// chain is what a record goes through between its plugin and Kafka: transforms with
// their predicates, and the converters. One chain serves one task and one goroutine.
type chain struct {
	steps   []step
	key     converter
	value   converter
	headers connect.HeaderConverter
	header  site
	faults  *faults
}

// step is one transform and when it applies.
type step struct {
	transform connect.Transform
	predicate connect.Predicate // Nil: always.
	negate    bool
	at        site
}

type converter struct {
	connect.Converter
	at site
}

// newChain makes the plugins a connector's configuration names. What it made is
// closed again when something fails.
func newChain(plugins connect.Plugins, worker, config connect.Config, f *faults) (*chain, error) {
	c := &chain{faults: f}
	err := c.build(plugins, worker, config)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *chain) build(plugins connect.Plugins, worker, config connect.Config) error {
	for _, alias := range aliases(config, "transforms") {
		s, err := newStep(plugins, config, alias)
		if err != nil {
			return fmt.Errorf("transform %s: %w", alias, err)
		}
		c.steps = append(c.steps, s)
	}
	var err error
	if c.key, err = newConverter(plugins, worker, config, "key.converter"); err != nil {
		return err
	}
	if c.value, err = newConverter(plugins, worker, config, "value.converter"); err != nil {
		return err
	}
	class, own := converterConfig(worker, config, "header.converter")
	if class == "" {
		class = "org.apache.kafka.connect.storage.SimpleHeaderConverter"
	}
	p, err := connect.FindPlugin(plugins.HeaderConverters, class)
	if err != nil {
		return fmt.Errorf("header.converter: %w", err)
	}
	h := p.New()
	if err := h.Configure(own); err != nil {
		return fmt.Errorf("header.converter %s: %w", class, err)
	}
	c.headers, c.header = h, site{stageHeader, p.Class}
	return nil
}

// aliases returns the names in a list setting such as transforms.
func aliases(config connect.Config, setting string) []string {
	var names []string
	for name := range strings.SplitSeq(config[setting], ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// under returns the settings with a prefix, without it.
func under(config connect.Config, prefix string) connect.Config {
	sub := connect.Config{}
	for k, v := range config {
		if rest, ok := strings.CutPrefix(k, prefix); ok && rest != "" {
			sub[rest] = v
		}
	}
	return sub
}

func newStep(plugins connect.Plugins, config connect.Config, alias string) (step, error) {
	own := under(config, "transforms."+alias+".")
	p, err := connect.FindPlugin(plugins.Transforms, own["type"])
	if err != nil {
		return step{}, err
	}
	s := step{transform: p.New(), negate: strings.EqualFold(own["negate"], "true"), at: site{stageTransform, p.Class}}
	if name := own["predicate"]; name != "" {
		if s.predicate, err = newPredicate(plugins, config, name); err != nil {
			return step{}, err
		}
	}
	for _, k := range []string{"type", "predicate", "negate"} {
		delete(own, k)
	}
	settings, err := parseOwn(p.Config, own)
	if err == nil {
		err = s.transform.Configure(settings)
	}
	return s, err
}

func newPredicate(plugins connect.Plugins, config connect.Config, name string) (connect.Predicate, error) {
	own := under(config, "predicates."+name+".")
	p, err := connect.FindPlugin(plugins.Predicates, own["type"])
	if err != nil {
		return nil, fmt.Errorf("predicate %s: %w", name, err)
	}
	delete(own, "type")
	settings, err := parseOwn(p.Config, own)
	if err != nil {
		return nil, fmt.Errorf("predicate %s: %w", name, err)
	}
	predicate := p.New()
	if err := predicate.Configure(settings); err != nil {
		return nil, fmt.Errorf("predicate %s: %w", name, err)
	}
	return predicate, nil
}

func parseOwn(def *connect.ConfigDef, own connect.Config) (connect.Settings, error) {
	if def == nil {
		def = connect.NewConfigDef().OpenTo(func(string) bool { return true })
	}
	return def.Parse(own)
}

// converterConfig returns a converter's class and settings: the connector's own, or
// the worker's with the connector's settings over them.
func converterConfig(worker, config connect.Config, setting string) (string, connect.Config) {
	if class := config[setting]; class != "" {
		return class, under(config, setting+".")
	}
	own := under(worker, setting+".")
	for k, v := range under(config, setting+".") {
		own[k] = v
	}
	return worker[setting], own
}

func newConverter(plugins connect.Plugins, worker, config connect.Config, setting string) (converter, error) {
	class, own := converterConfig(worker, config, setting)
	p, err := connect.FindPlugin(plugins.Converters, class)
	if err != nil {
		return converter{}, fmt.Errorf("%s: %w", setting, err)
	}
	c := p.New()
	isKey := setting == "key.converter"
	if err := c.Configure(own, isKey); err != nil {
		return converter{}, fmt.Errorf("%s %s: %w", setting, class, err)
	}
	at := site{stageValue, p.Class}
	if isKey {
		at.stage = stageKey
	}
	return converter{c, at}, nil
}

// transform applies the steps in order. It returns false when one dropped the
// record.
func (c *chain) transform(ctx context.Context, r *connect.Record) (bool, *fault) {
	for i := range c.steps {
		s := &c.steps[i]
		if s.predicate != nil && s.predicate.Test(r) == s.negate {
			continue
		}
		keep, err := s.transform.Apply(r)
		if err != nil {
			bad := c.faults.retry(ctx, s.at, err, func() (err error) {
				keep, err = s.transform.Apply(r)
				return err
			})
			if bad != nil {
				return false, bad
			}
		}
		if !keep {
			return false, nil
		}
	}
	return true, nil
}

// encode converts a record into out, with its bytes in the arena.
func (c *chain) encode(ctx context.Context, r *connect.Record, a *arena, out *kgo.Record) *fault {
	var bad *fault
	if out.Key, bad = c.encodePart(ctx, c.key, a, piece{r.Topic, r.KeySchema, r.Key}); bad != nil {
		return bad
	}
	if out.Value, bad = c.encodePart(ctx, c.value, a, piece{r.Topic, r.ValueSchema, r.Value}); bad != nil {
		return bad
	}
	if len(r.Headers) > 0 {
		return c.encodeHeaders(ctx, r, a, out)
	}
	return nil
}

// piece is a key or value with what its converter needs to know.
type piece struct {
	topic  string
	schema *connect.Schema
	value  connect.Value
}

func (c *chain) encodePart(ctx context.Context, conv converter, a *arena, p piece) ([]byte, *fault) {
	data, err := conv.FromConnect(ctx, a.tail(), p.topic, p.schema, p.value)
	if err != nil {
		bad := c.faults.retry(ctx, conv.at, err, func() (err error) {
			data, err = conv.FromConnect(ctx, a.tail(), p.topic, p.schema, p.value)
			return err
		})
		if bad != nil {
			return nil, bad
		}
	}
	return a.keep(data), nil
}

func (c *chain) encodeHeaders(ctx context.Context, r *connect.Record, a *arena, out *kgo.Record) *fault {
	out.Headers = make([]kgo.RecordHeader, len(r.Headers))
	for i, h := range r.Headers {
		data, err := c.headers.FromConnectHeader(a.tail(), r.Topic, h)
		if err != nil {
			bad := c.faults.retry(ctx, c.header, err, func() (err error) {
				data, err = c.headers.FromConnectHeader(a.tail(), r.Topic, h)
				return err
			})
			if bad != nil {
				return bad
			}
		}
		out.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: a.keep(data)}
	}
	return nil
}

// decode converts a consumed record.
func (c *chain) decode(ctx context.Context, in *kgo.Record, r *connect.SinkRecord) *fault {
	var bad *fault
	if r.KeySchema, r.Key, bad = c.decodePart(ctx, c.key, in.Topic, in.Key); bad != nil {
		return bad
	}
	if r.ValueSchema, r.Value, bad = c.decodePart(ctx, c.value, in.Topic, in.Value); bad != nil {
		return bad
	}
	if len(in.Headers) == 0 {
		return nil
	}
	r.Headers = make([]connect.Header, len(in.Headers))
	for i, h := range in.Headers {
		header, err := c.headers.ToConnectHeader(in.Topic, h.Key, h.Value)
		if err != nil {
			return c.faults.retry(ctx, c.header, err, func() error { return err })
		}
		r.Headers[i] = header
	}
	return nil
}

func (c *chain) decodePart(ctx context.Context, conv converter, topic string, data []byte) (*connect.Schema, connect.Value, *fault) {
	s, v, err := conv.ToConnect(ctx, topic, data)
	if err != nil {
		bad := c.faults.retry(ctx, conv.at, err, func() (err error) {
			s, v, err = conv.ToConnect(ctx, topic, data)
			return err
		})
		if bad != nil {
			return nil, connect.Value{}, bad
		}
	}
	return s, v, nil
}

// close closes all plugins.
func (c *chain) close() error {
	var errs []error
	for _, s := range c.steps {
		errs = append(errs, s.transform.Close())
	}
	for _, conv := range []connect.Converter{c.key.Converter, c.value.Converter} {
		if conv != nil {
			errs = append(errs, conv.Close())
		}
	}
	if c.headers != nil {
		errs = append(errs, c.headers.Close())
	}
	return errors.Join(errs...)
}

// arena is where the bytes of records are put one behind the other. Memory is taken
// in chunks, which live as long as one of their records does; nothing that was put
// is ever moved.
type arena struct{ chunk []byte }

const (
	arenaChunk = 64 << 10
	arenaLow   = 1 << 10 // With less room than this a new chunk is begun.
)

// tail returns an empty slice, never nil, with the room that is left.
func (a *arena) tail() []byte {
	if cap(a.chunk)-len(a.chunk) < arenaLow {
		a.chunk = make([]byte, 0, arenaChunk)
	}
	return a.chunk[len(a.chunk):]
}

// keep takes what was appended to the tail. Appended bytes that found no room there
// have memory of their own, and the chunk stays as it is.
func (a *arena) keep(data []byte) []byte {
	if data == nil {
		return nil
	}
	if len(data) <= cap(a.chunk)-len(a.chunk) {
		a.chunk = a.chunk[:len(a.chunk)+len(data)]
	}
	return data[:len(data):len(data)]
}
