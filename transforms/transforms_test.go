package transforms

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// describe writes a schema in a line: its kind, name, fields, whether it is optional
// and its default.
func describe(s *connect.Schema) string {
	if s == nil {
		return "-"
	}
	text := s.Kind().String()
	if s.Kind() == connect.KindStruct {
		var fields []string
		for _, f := range s.Fields() {
			fields = append(fields, f.Name+" "+describe(f.Schema))
		}
		text = "{" + strings.Join(fields, ", ") + "}"
	}
	if s.Name() != "" {
		text += "(" + s.Name()[strings.LastIndexByte(s.Name(), '.')+1:]
		if s.Version() > 0 {
			text += fmt.Sprintf(" v%d", s.Version())
		}
		text += ")"
	}
	if s.Optional() {
		text += "?"
	}
	if !s.Default().IsNull() {
		text += "=" + s.Default().String()
	}
	return text
}

// show writes a record: what a transform may change, each on its line.
func show(r *connect.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", r.Topic)
	if r.KeySchema != nil || !r.Key.IsNull() {
		fmt.Fprintf(&b, "\nkey %s %s", describe(r.KeySchema), connect.AppendJSON(nil, r.KeySchema, r.Key))
	}
	fmt.Fprintf(&b, "\n%s %s", describe(r.ValueSchema), connect.AppendJSON(nil, r.ValueSchema, r.Value))
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "\n%s: %s %s", h.Key, describe(h.Schema), connect.AppendJSON(nil, h.Schema, h.Value))
	}
	return b.String()
}

func schemaOf(name string, fields ...any) *connect.Schema {
	d := connect.SchemaDef{Kind: connect.KindStruct, Name: name}
	for i := 0; i < len(fields); i += 2 {
		d.Fields = append(d.Fields, connect.Field{Name: fields[i].(string), Schema: fields[i+1].(*connect.Schema)})
	}
	return d.MustBuild()
}

func rowOf(s *connect.Schema, values ...connect.Value) connect.Value {
	return connect.StructValue(s.StructOf(values))
}

func mapOf(pairs ...any) connect.Value {
	var entries []connect.MapEntry
	for i := 0; i < len(pairs); i += 2 {
		entries = append(entries, connect.MapEntry{Key: connect.String(pairs[i].(string)), Value: pairs[i+1].(connect.Value)})
	}
	return connect.Map(entries)
}

// person is a record with a schema; plain is the same without one.
func person() connect.Record {
	str, i32 := connect.Of(connect.KindString), connect.Of(connect.KindInt32)
	city := schemaOf("a.City", "name", str, "zip", i32.AsOptional())
	level := connect.SchemaDef{Kind: connect.KindInt32, Optional: true, Default: connect.Int32(3)}.MustBuild()
	s := schemaOf("a.Person", "id", i32, "name", str.AsOptional(), "level", level, "city", city.AsOptional())
	return connect.Record{
		Topic: "shop.public.people", Partition: 2, Timestamp: 1700000000123,
		KeySchema: str, Key: connect.String("k"), ValueSchema: s,
		Value: rowOf(s, connect.Int32(7), connect.String("Ann"), connect.Value{}, rowOf(city, connect.String("Bern"), connect.Int32(3000))),
	}
}

func plain() connect.Record {
	r := person()
	r.KeySchema, r.ValueSchema = nil, nil
	r.Value = mapOf("id", connect.Int64(7), "name", connect.String("Ann"), "city", mapOf("name", connect.String("Bern")))
	return r
}

func tombstone() connect.Record {
	r := person()
	r.ValueSchema, r.Value = nil, connect.Value{}
	return r
}

// transformCase is one application of a transform.
type transformCase struct {
	class  string
	config string // Settings as name=value, divided by semicolons.
	in     connect.Record
	want   string // What show gives; "dropped", or an error's text after "error ".
}

func configOf(text string) connect.Config {
	config := connect.Config{}
	for item := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(item, "="); ok {
			config[name] = value
		}
	}
	return config
}

// apply makes the transform and applies it, twice, so that a plan is also used again.
func apply(class, config string, in connect.Record) (string, error) {
	p, err := connect.FindPlugin(Plugins(), class)
	if err != nil {
		return "", err
	}
	settings, err := p.Config.Parse(configOf(config))
	if err != nil {
		return "", err
	}
	t := p.New()
	if err := t.Configure(settings); err != nil {
		return "", err
	}
	first, second := in, in
	before := show(&in)
	keep, err := t.Apply(&first)
	if err != nil {
		if e := connect.AsError(err); e.Class != connect.ClassRecord || !strings.HasPrefix(e.Code, "transform.") {
			return "", fmt.Errorf("the error %w is not about a record", err)
		}
		return "", err
	}
	if again, err := t.Apply(&second); err != nil || again != keep || show(&first) != show(&second) {
		return "", fmt.Errorf("the second time gives %v, %v, %s", again, err, show(&second))
	}
	if now := show(&in); now != before {
		return "", fmt.Errorf("the record that was handed in has changed to %s", now)
	}
	for _, side := range []struct {
		s *connect.Schema
		v connect.Value
	}{{first.KeySchema, first.Key}, {first.ValueSchema, first.Value}} {
		if side.s != nil {
			if err := side.s.Check(side.v); err != nil {
				return "", err
			}
		}
	}
	if err := t.Close(); err != nil || !keep {
		return "dropped", err
	}
	return show(&first), nil
}

func runCases(t *testing.T, cases []transformCase) {
	t.Helper()
	for _, c := range cases {
		got, err := apply(c.class, c.config, c.in)
		if text, wanted := strings.CutPrefix(c.want, "error "); wanted {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s %s: %q, error %v; want the error %q", c.class, c.config, got, err, text)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s %s: error %v\n%s\nwant\n%s", c.class, c.config, err, got, c.want)
		}
	}
}

// TestList names the line that is missing in list.go for a file of its own.
func TestList(t *testing.T) {
	list, err := os.ReadFile("list.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`(?m)^func (\w+(?:Plugins|Predicates))\(\)`)
	apply := regexp.MustCompile(`(?m)^func \(.*\) (?:Apply|Test)\(r? ?\*connect\.Record\)`)
	for _, file := range files {
		if file == "list.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		entries := entry.FindAllSubmatch(source, -1)
		if apply.Match(source) && len(entries) == 0 {
			t.Errorf("%s has a transform or predicate, and no function …Plugins or …Predicates with its entry", file)
		}
		for _, m := range entries {
			if line := string(m[1]) + "(),"; !strings.Contains(string(list), line) {
				t.Errorf("list.go lacks the line %s for %s", line, file)
			}
		}
	}
}

// TestNames makes sure that the classes are the ones users write, each once.
func TestNames(t *testing.T) {
	var names []string
	for _, p := range Plugins() {
		names = append(names, p.Class)
		if p.Doc == "" || p.Config == nil {
			t.Errorf("%s has no doc or settings", p.Class)
		}
	}
	for _, p := range Predicates() {
		names = append(names, p.Class)
	}
	for _, want := range []string{
		kafka + "Cast$Key", kafka + "InsertField$Value", kafka + "RegexRouter", kafka + "ValueToKey", kafka + "predicates.TopicNameMatches",
		"io.debezium.transforms.ExtractNewRecordState", "io.debezium.transforms.outbox.EventRouter",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing", want)
		}
	}
	slices.Sort(names)
	if n := len(names); len(slices.Compact(names)) != n {
		t.Errorf("a class is there twice: %v", names)
	}
	if _, err := connect.FindPlugin(Plugins(), "InsertField$Value"); err != nil {
		t.Error(err)
	}
}

func TestPredicates(t *testing.T) {
	withHeader := person()
	withHeader.Headers = []connect.Header{{Key: "h"}}
	for _, c := range []struct {
		class, config string
		in            connect.Record
		want          bool
	}{
		{"HasHeaderKey", "name=h", withHeader, true},
		{"HasHeaderKey", "name=h", person(), false},
		{"RecordIsTombstone", "", tombstone(), true},
		{"RecordIsTombstone", "", person(), false},
		{"TopicNameMatches", `pattern=shop\..*`, person(), true},
		{"TopicNameMatches", "pattern=shop", person(), false},
	} {
		p, err := connect.FindPlugin(Predicates(), c.class)
		if err != nil {
			t.Fatal(err)
		}
		settings, err := p.Config.Parse(configOf(c.config))
		if err != nil {
			t.Fatal(err)
		}
		pred := p.New()
		if err := pred.Configure(settings); err != nil {
			t.Fatal(err)
		}
		if pred.Test(&c.in) != c.want || pred.Test(&c.in) != c.want {
			t.Errorf("%s %s on %s: not %v", c.class, c.config, c.in.Topic, c.want)
		}
	}
}

func TestPlansAreBounded(t *testing.T) {
	var c plans[int]
	made := 0
	for round := range 2 {
		for i := range 3 * maxPlans {
			s := schemaOf(fmt.Sprint("s", i), "a", connect.Of(connect.KindInt32))
			if _, err := c.get(s, func(*connect.Schema) (int, error) { made++; return i, nil }); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.known) > maxPlans {
			t.Errorf("round %d: %d plans are kept", round, len(c.known))
		}
	}
	if made < 3*maxPlans {
		t.Errorf("%d plans were made", made)
	}
}

func BenchmarkInsertField(b *testing.B) {
	p, err := connect.FindPlugin(Plugins(), "InsertField$Value")
	if err != nil {
		b.Fatal(err)
	}
	settings, err := p.Config.Parse(connect.Config{"topic.field": "topic", "timestamp.field": "at"})
	if err != nil {
		b.Fatal(err)
	}
	t := p.New()
	if err := t.Configure(settings); err != nil {
		b.Fatal(err)
	}
	in := person()
	b.ReportAllocs()
	for b.Loop() {
		r := in
		if _, err := t.Apply(&r); err != nil {
			b.Fatal(err)
		}
	}
}
