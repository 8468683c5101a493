package connecttest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// ConverterCase describes a converter to the suite.
type ConverterCase struct {
	// New makes a converter that is not configured.
	New func() connect.Converter
	// Config returns settings for it. It is called once for each check, and may start
	// what the converter talks to.
	Config func(tb testing.TB) connect.Config
	// Supports tells which schemas it can write; nil: all.
	Supports func(s *connect.Schema) bool
	// Read returns what a value is read as, once it was written; nil: as it was.
	Read func(s *connect.Schema, v connect.Value) (*connect.Schema, connect.Value)
	// Unknown is a setting it must refuse, such as one misspelt.
	Unknown string
}

var converterChecks = []struct {
	name string
	run  func(tb testing.TB, c ConverterCase)
}{
	{"samples", checkConverterSamples},
	{"random values", checkConverterRandom},
	{"null", checkConverterNull},
	{"damaged data", checkConverterDamage},
	{"misfits", checkConverterMisfit},
	{"writing and reading at once", checkConverterConcurrency},
	{"an unknown setting", checkConverterUnknown},
}

// Converter checks that a converter keeps the contract of connect.Converter: what
// it writes is appended and reads back the same, the same again each time; null
// stays null; damaged data and values that do not fit their schema are errors,
// never worse; reading and writing go on at once.
func Converter(t *testing.T, c ConverterCase) {
	t.Helper()
	for _, check := range converterChecks {
		t.Run(check.name, func(t *testing.T) { check.run(t, c) })
	}
}

// start returns a configured converter, closed at the test's end.
func (c ConverterCase) start(tb testing.TB) connect.Converter {
	tb.Helper()
	var config connect.Config
	if c.Config != nil {
		config = c.Config(tb)
	}
	conv := c.New()
	if err := conv.Configure(config, false); err != nil {
		tb.Fatalf("configure: %v", err)
	}
	tb.Cleanup(func() {
		if err := conv.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return conv
}

func (c ConverterCase) supports(s *connect.Schema) bool { return c.Supports == nil || c.Supports(s) }

// sample is a value and its schema.
type sample struct {
	schema *connect.Schema
	value  connect.Value
}

// samples returns one value of each shape worth looking at by name.
func (c ConverterCase) samples() []sample {
	r := rand.New(rand.NewPCG(1, 2))
	var list []sample
	add := func(s *connect.Schema, v connect.Value) {
		if c.supports(s) {
			list = append(list, sample{s, v})
		}
	}
	for _, k := range scalarKinds {
		s := connect.Of(k)
		g := generator{r: r}
		add(s, g.scalar(k, false))
		add(s.AsOptional(), g.scalar(k, false))
		add(connect.SchemaDef{Kind: connect.KindArray, Elem: s.AsOptional()}.MustBuild(), connect.Array([]connect.Value{g.scalar(k, false), {}}))
		add(connect.SchemaDef{Kind: connect.KindMap, Key: s, Elem: s}.MustBuild(),
			connect.Map([]connect.MapEntry{{Key: g.scalar(k, true), Value: g.scalar(k, false)}}))
	}
	add(connect.DecimalSchema(10, 2), connect.Bytes([]byte{0x80}))
	add(ChangeSample())
	return list
}

// topicOf names a topic for each schema, since a registry keeps the schemas of one
// topic compatible.
func topicOf(i int) string { return fmt.Sprintf("topic%d", i) }

func checkConverterSamples(tb testing.TB, c ConverterCase) {
	conv := c.start(tb)
	for i, s := range c.samples() {
		c.roundTrip(tb, conv, topicOf(i), s)
	}
}

func checkConverterRandom(tb testing.TB, c ConverterCase) {
	conv := c.start(tb)
	for i := range 300 {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		s := RandomSchema(r)
		for range 3 {
			if c.supports(s) {
				c.roundTrip(tb, conv, topicOf(i), sample{s, RandomValue(r, s)})
			}
		}
	}
}

func (c ConverterCase) roundTrip(tb testing.TB, conv connect.Converter, topic string, s sample) {
	tb.Helper()
	ctx := context.Background()
	first, err := conv.FromConnect(ctx, []byte("prefix"), topic, s.schema, s.value)
	if err != nil {
		tb.Errorf("%s: write %v: %v", s.schema, s.value, err)
		return
	}
	if first == nil {
		if !s.value.IsNull() {
			tb.Errorf("%s: %v was written as null", s.schema, s.value)
		}
		return
	}
	if !bytes.HasPrefix(first, []byte("prefix")) {
		tb.Errorf("%s: what stood in dst is lost: %q", s.schema, first)
		return
	}
	data := slices.Clone(first[len("prefix"):])
	clear(first)
	second, err := conv.FromConnect(ctx, []byte{}, topic, s.schema, s.value)
	if err != nil || !bytes.Equal(second, data) {
		tb.Errorf("%s: written again, %v is %q and not %q: %v", s.schema, s.value, second, data, err)
	}
	wantSchema, want := s.schema, s.value
	if c.Read != nil {
		wantSchema, want = c.Read(s.schema, s.value)
	}
	gotSchema, got, err := conv.ToConnect(ctx, topic, data)
	if err != nil {
		tb.Errorf("%s: read %q: %v", s.schema, data, err)
		return
	}
	if gotSchema != wantSchema {
		tb.Errorf("schema %s was read as %s:\n%+v\n%+v", wantSchema, gotSchema, defOf(wantSchema), defOf(gotSchema))
		return
	}
	if !sameValue(got, want) {
		tb.Errorf("%s: %v was read as %v", s.schema, want, got)
	}
}

func defOf(s *connect.Schema) any {
	if s == nil {
		return nil
	}
	return s.Def()
}

// sameValue is Equal, but for NaN, whose bits may change.
func sameValue(a, b connect.Value) bool {
	return a.Equal(b) || a.String() == b.String() && a.Kind() == b.Kind()
}

func checkConverterNull(tb testing.TB, c ConverterCase) {
	conv := c.start(tb)
	ctx := context.Background()
	data, err := conv.FromConnect(ctx, []byte("x"), "nulls", nil, connect.Value{})
	if data != nil || err != nil {
		tb.Errorf("null without a schema was written as %q: %v", data, err)
	}
	s, v, err := conv.ToConnect(ctx, "nulls", nil)
	if s != nil || !v.IsNull() || err != nil {
		tb.Errorf("Kafka's null was read as %s %v: %v", s, v, err)
	}
	for i, s := range c.samples() {
		opt := s.schema.AsOptional()
		if !c.supports(opt) {
			continue
		}
		data, err := conv.FromConnect(ctx, []byte{}, topicOf(i), opt, connect.Value{})
		if err != nil {
			tb.Errorf("%s: null: %v", opt, err)
			continue
		}
		if _, v, err := conv.ToConnect(ctx, topicOf(i), data); err != nil || !v.IsNull() {
			tb.Errorf("%s: null was read as %v: %v", opt, v, err)
		}
	}
}

// checkConverterDamage reads cut and changed data. What is read in spite of that
// must fit its schema.
func checkConverterDamage(tb testing.TB, c ConverterCase) {
	conv := c.start(tb)
	r := rand.New(rand.NewPCG(3, 4))
	for i, s := range c.samples() {
		data, err := conv.FromConnect(context.Background(), []byte{}, topicOf(i), s.schema, s.value)
		if err != nil {
			tb.Errorf("%s: %v", s.schema, err)
			continue
		}
		for n := range len(data) {
			readDamaged(tb, conv, topicOf(i), data[:n:n])
			changed := slices.Clone(data)
			changed[n] ^= byte(1 + r.IntN(255))
			readDamaged(tb, conv, topicOf(i), changed)
		}
	}
}

func readDamaged(tb testing.TB, conv connect.Converter, topic string, data []byte) {
	tb.Helper()
	s, v, err := conv.ToConnect(context.Background(), topic, data)
	if err != nil {
		if e := connect.AsError(err); e.Code == "internal" || e.Mend == "" {
			tb.Errorf("%q: the error has no code or no mend: %v", data, err)
		}
		return
	}
	if s != nil {
		if err := s.Check(v); err != nil {
			tb.Errorf("%q was read as what does not fit: %v", data, err)
		}
	}
}

func checkConverterMisfit(tb testing.TB, c ConverterCase) {
	conv := c.start(tb)
	other := connect.SchemaDef{Kind: connect.KindStruct, Name: "another", Fields: []connect.Field{{Name: "x", Schema: connect.Of(connect.KindBool)}}}.MustBuild()
	for i, s := range c.samples() {
		if s.schema.Kind() != connect.KindStruct {
			continue
		}
		for _, v := range []connect.Value{connect.Int64(1), connect.StructValue(other.NewStruct()), connect.StructValue(s.schema.NewStruct())} {
			data, err := conv.FromConnect(context.Background(), []byte{}, topicOf(i), s.schema, v)
			if err == nil {
				tb.Errorf("%s: %v was written as %q", s.schema, v, data)
			}
			if e := connect.AsError(err); e != nil && e.Class != connect.ClassRecord {
				tb.Errorf("%s: %v: the error is not the record's: %v", s.schema, v, err)
			}
		}
	}
}

func checkConverterConcurrency(tb testing.TB, c ConverterCase) {
	conv := c.start(tb)
	list := c.samples()
	written := make([][]byte, len(list))
	for i, s := range list {
		written[i], _ = conv.FromConnect(context.Background(), []byte{}, topicOf(i), s.schema, s.value)
	}
	var both sync.WaitGroup
	both.Go(func() {
		for i, s := range list {
			if _, err := conv.FromConnect(context.Background(), []byte{}, topicOf(i), s.schema, s.value); err != nil {
				tb.Errorf("%s: %v", s.schema, err)
			}
		}
	})
	both.Go(func() {
		for i, s := range list {
			if _, _, err := conv.ToConnect(context.Background(), topicOf(i), written[i]); err != nil {
				tb.Errorf("%s: %v", s.schema, err)
			}
		}
	})
	both.Wait()
}

func checkConverterUnknown(tb testing.TB, c ConverterCase) {
	if c.Unknown == "" {
		return
	}
	config := connect.Config{}
	if c.Config != nil {
		for k, v := range c.Config(tb) {
			config[k] = v
		}
	}
	config[c.Unknown] = "x"
	if err := c.New().Configure(config, false); err == nil {
		tb.Errorf("the unknown setting %s was taken", c.Unknown)
	}
}
