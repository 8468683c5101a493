package transforms

import (
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/javatime"
)

func timestampConverterPlugins() []connect.Plugin[connect.Transform] {
	return both("TimestampConverter", "Converts between the forms of a time: text, numbers, Connect's Date, Time and Timestamp.", connect.NewConfigDef(
		connect.ConfigKey{Name: "field", Importance: connect.High, Doc: "The field; empty means the whole."},
		connect.ConfigKey{Name: "target.type", Required: true, Check: connect.OneOf("string", "unix", "Date", "Time", "Timestamp"), Importance: connect.High, Doc: "string, unix, Date, Time or Timestamp."},
		connect.ConfigKey{Name: "format", Check: connect.CheckText(checkDatePattern), Importance: connect.Medium, Doc: "The pattern of text, as java.text.SimpleDateFormat reads it."},
		connect.ConfigKey{Name: "unix.precision", Default: "milliseconds", Check: connect.OneOf("nanoseconds", "microseconds", "milliseconds", "seconds"), Importance: connect.Low, Doc: "The unit of numbers."},
		replaceNull(),
	), func(k side) connect.Transform { return &timestampConverter{side: k} })
}

type timestampConverter struct {
	base
	side      side
	name      string
	target    string            // In lower case.
	pattern   *javatime.Pattern // Nil without a format.
	perSecond int64
	defaults  bool
	plans     plans[*timestampPlan]
}

// timestampPlan is the schema after the conversion, where the field stands, -1 for
// the whole, and how its values are read.
type timestampPlan struct {
	out  *connect.Schema
	at   int
	read func(connect.Value) (time.Time, error)
}

// Configure implements connect.Transform.
func (t *timestampConverter) Configure(s connect.Settings) (err error) {
	t.name, t.target, t.defaults = s.String("field"), strings.ToLower(s.String("target.type")), s.Bool("replace.null.with.default")
	if format := s.String("format"); format != "" {
		if t.pattern, err = javatime.Compile(javatime.SimpleDateFormat, format); err != nil {
			return wrongSetting("format", "%s", err)
		}
	}
	if t.target == "string" && t.pattern == nil {
		return wrongSetting("format", "TimestampConverter requires format option to be specified when using string timestamps")
	}
	switch strings.ToLower(s.String("unix.precision")) {
	case "seconds":
		t.perSecond = 1
	case "milliseconds":
		t.perSecond = 1e3
	case "microseconds":
		t.perSecond = 1e6
	default:
		t.perSecond = 1e9
	}
	return nil
}

// Apply implements connect.Transform.
func (t *timestampConverter) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case s == nil:
		return true, t.applyPlain(r, v)
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	if p.at < 0 {
		if v, err = t.convert(v, p.read); err == nil {
			t.side.set(r, p.out, v)
		}
		return err == nil, err
	}
	st, err := structOf("timestamp_converter", s, v)
	if err != nil {
		return false, err
	}
	values := slices.Clone(st.Values())
	for i := range values {
		values[i] = field(st, i, t.defaults)
	}
	if values[p.at], err = t.convert(values[p.at], p.read); err != nil {
		return false, err
	}
	t.side.set(r, p.out, connect.StructValue(p.out.StructOf(values)))
	return true, nil
}

// applyPlain converts without a schema: numbers are unix times, text has the format.
func (t *timestampConverter) applyPlain(r *connect.Record, v connect.Value) error {
	if t.name == "" {
		v, err := t.convert(v, t.readPlain)
		t.side.set(r, nil, v)
		return err
	}
	entries, err := entriesOf("timestamp_converter", v)
	if err != nil {
		return err
	}
	old, _ := lookup(entries, t.name)
	if old, err = t.convert(old, t.readPlain); err != nil {
		return err
	}
	t.side.set(r, nil, connect.Map(put(entries, t.name, old)))
	return nil
}

func (t *timestampConverter) compile(s *connect.Schema) (*timestampPlan, error) {
	var err error
	p := &timestampPlan{at: -1}
	if t.name == "" {
		p.read = t.reader(s)
		p.out, err = t.schema(s.Optional())
		return p, err
	}
	if s.Kind() != connect.KindStruct || s.Index(t.name) < 0 {
		return nil, bad("timestamp_converter", "Unknown field: %s", t.name)
	}
	p.at = s.Index(t.name)
	fields := slices.Clone(s.Fields())
	p.read = t.reader(fields[p.at].Schema)
	if fields[p.at].Schema, err = t.schema(fields[p.at].Schema.Optional()); err != nil {
		return nil, err
	}
	p.out, err = derive(s, fields)
	return p, err
}

// schema is that of the target.
func (t *timestampConverter) schema(optional bool) (*connect.Schema, error) {
	d := connect.SchemaDef{Kind: connect.KindInt64, Optional: optional}
	switch t.target {
	case "string":
		d.Kind = connect.KindString
	case "date":
		d.Kind, d.Name, d.Version = connect.KindInt32, connect.LogicalDate, 1
	case "time":
		d.Kind, d.Name, d.Version = connect.KindInt32, connect.LogicalTime, 1
	case "timestamp":
		d.Name, d.Version = connect.LogicalTimestamp, 1
	}
	return d.Build()
}

// reader returns how values of a schema are read.
func (t *timestampConverter) reader(s *connect.Schema) func(connect.Value) (time.Time, error) {
	switch s.Name() {
	case connect.LogicalDate:
		return func(v connect.Value) (time.Time, error) { return time.Unix(v.Int()*86400, 0).UTC(), nil }
	case connect.LogicalTime, connect.LogicalTimestamp:
		return func(v connect.Value) (time.Time, error) { return time.UnixMilli(v.Int()).UTC(), nil }
	}
	return t.readPlain
}

func (t *timestampConverter) readPlain(v connect.Value) (time.Time, error) {
	switch {
	case v.IsInt() && t.perSecond == 1:
		return time.Unix(v.Int(), 0).UTC(), nil
	case v.IsInt():
		n := v.Int()
		return time.Unix(n/t.perSecond, n%t.perSecond*(1e9/t.perSecond)).UTC(), nil
	case v.Kind() == connect.KindString && t.pattern == nil:
		return time.Time{}, bad("timestamp_converter", "a text can be read only with the setting format")
	case v.Kind() == connect.KindString:
		at, err := t.pattern.Parse(v.Str(), time.UTC)
		if err != nil {
			err = bad("timestamp_converter", "Could not parse timestamp: Unparseable date: %q: %v", v.Str(), err)
		}
		return at, err
	}
	return time.Time{}, bad("timestamp_converter", "a value of type %s is no time", v.Kind())
}

// convert writes a time in the form of the target; null stays null.
func (t *timestampConverter) convert(v connect.Value, read func(connect.Value) (time.Time, error)) (connect.Value, error) {
	if v.IsNull() {
		return v, nil
	}
	if !v.IsInt() && v.Kind() != connect.KindString {
		return v, bad("timestamp_converter", "a value of type %s is no time", v.Kind())
	}
	at, err := read(v)
	if err != nil {
		return v, err
	}
	// Times have milliseconds here, as in Kafka Connect: what is finer is cut off.
	ms := at.UnixMilli()
	day := ms / 86_400_000
	if ms%86_400_000 < 0 {
		day--
	}
	switch t.target {
	case "string":
		return connect.String(string(t.pattern.AppendFormat(nil, time.UnixMilli(ms).UTC()))), nil
	case "date":
		return connect.Int32(int32(day)), nil
	case "time":
		return connect.Int32(int32(ms - day*86_400_000)), nil
	case "timestamp":
		return connect.Int64(ms), nil
	}
	if t.perSecond == 1 {
		return connect.Int64((ms - (ms%1000+1000)%1000) / 1000), nil
	}
	return connect.Int64(ms * (t.perSecond / 1000)), nil
}
