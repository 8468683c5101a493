package connecttest

import (
	"maps"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// TransformCase describes a transform to the suite.
type TransformCase struct {
	// Plugin is its entry in the list of plugins.
	Plugin connect.Plugin[connect.Transform]
	// Config are settings for it.
	Config connect.Config
	// Records are what it is given, in order, and what becomes of that.
	Records []Transformed
	// Bad are settings that, put over Config's, it must refuse; nil leaves that check out.
	Bad connect.Config
}

// Transformed is a record and what a transform makes of it.
type Transformed struct {
	Given connect.Record
	// Want is what becomes of it, nil when it is dropped.
	Want *connect.Record
	// Fails tells that the transform must refuse it.
	Fails bool
}

var transformChecks = []struct {
	name string
	run  func(tb testing.TB, c TransformCase)
}{
	{"records", checkTransformRecords},
	{"bad settings", checkTransformBad},
	{"an unknown setting", checkTransformUnknown},
}

// Transform checks that a transform keeps the contract of connect.Transform: each record
// becomes what it should, the same again each time; what a record pointed at is not
// written to; wrong settings are refused, and Close leaves nothing running.
func Transform(t *testing.T, c TransformCase) {
	t.Helper()
	for _, check := range transformChecks {
		t.Run(check.name, func(t *testing.T) { leakless(t, func(tb testing.TB) { check.run(tb, c) }) })
	}
}

// configure makes a transform with settings put over those of the case.
func (c TransformCase) configure(over connect.Config) (connect.Transform, error) {
	config := maps.Clone(c.Config)
	if config == nil {
		config = connect.Config{}
	}
	maps.Copy(config, over)
	def := c.Plugin.Config
	if def == nil {
		def = connect.NewConfigDef()
	}
	settings, err := def.Parse(config)
	if err != nil {
		return nil, err
	}
	transform := c.Plugin.New()
	return transform, transform.Configure(settings)
}

func checkTransformRecords(tb testing.TB, c TransformCase) {
	for range 2 {
		transform, err := c.configure(nil)
		if err != nil {
			tb.Fatalf("configure: %v", err)
		}
		for i, r := range c.Records {
			checkTransformed(tb, transform, i, r)
		}
		if err := transform.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	}
}

func checkTransformed(tb testing.TB, transform connect.Transform, i int, c Transformed) {
	tb.Helper()
	before := recordSays(&c.Given)
	r := c.Given
	keep, err := transform.Apply(&r)
	switch {
	case c.Fails:
		if err == nil {
			tb.Errorf("record %d is not refused", i)
		}
	case err != nil:
		tb.Errorf("record %d: %v", i, err)
	case keep != (c.Want != nil):
		tb.Errorf("record %d is kept: %v", i, keep)
	case keep && (recordSays(&r) != recordSays(c.Want) || r.KeySchema != c.Want.KeySchema || r.ValueSchema != c.Want.ValueSchema):
		tb.Errorf("record %d has become\n%s, want\n%s", i, recordSays(&r), recordSays(c.Want))
	}
	if after := recordSays(&c.Given); after != before {
		tb.Errorf("record %d was written to:\nwas %s\nis  %s", i, before, after)
	}
}

func checkTransformBad(tb testing.TB, c TransformCase) {
	if c.Bad == nil {
		return
	}
	c.refuses(tb, c.Bad)
}

func checkTransformUnknown(tb testing.TB, c TransformCase) {
	if c.Plugin.Config != nil && c.Plugin.Config.Open() {
		return
	}
	c.refuses(tb, connect.Config{"no.such.setting": "x"})
}

func (c TransformCase) refuses(tb testing.TB, over connect.Config) {
	tb.Helper()
	transform, err := c.configure(over)
	checkCoded(tb, err)
	if err == nil {
		_ = transform.Close() // That it was taken is told already.
	}
}

// recordSays writes out all of a record.
func recordSays(r *connect.Record) string {
	whole := connect.SourceRecord{Record: *r}
	text := []byte(recordText(&whole))
	for _, n := range []int64{int64(r.Partition), r.Timestamp} {
		text = connect.AppendJSON(append(text, ' '), nil, connect.Int64(n))
	}
	for _, h := range r.Headers {
		text = append(append(text, ' '), h.Key...)
		text = connect.AppendJSON(append(text, '='), h.Schema, h.Value)
	}
	return string(text)
}
