package transforms

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// BenchmarkApply measures one record on its way through the transforms that stand in
// most configurations.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		class, config string
		in            connect.Record
	}{
		{"ExtractNewRecordState", "", event("u")},
		{"EventRouter", "", outbox("c", connect.String(`{"n":1}`))},
		{"Cast$Value", "spec=level:int64", person()},
		{"ExtractField$Key", "field=id", keyed()},
		{"Flatten$Value", "", person()},
		{"MaskField$Value", "fields=name", person()},
		{"RegexRouter", "regex=(.*);replacement=copy-$1", person()},
		{"ReplaceField$Value", "exclude=city;renames=name:who", person()},
		{"ValueToKey", "fields=id", person()},
	} {
		b.Run(fmt.Sprintf("transform=%s", c.class), func(b *testing.B) { measure(b, c.class, c.config, c.in) })
	}
}

// keyed returns a record whose key is a row.
func keyed() connect.Record {
	r := person()
	r.KeySchema = schemaOf("shop.Key", "id", connect.Of(connect.KindInt32))
	r.Key = rowOf(r.KeySchema, connect.Int32(7))
	return r
}

func measure(b *testing.B, class, config string, in connect.Record) {
	p, err := connect.FindPlugin(Plugins(), class)
	if err != nil {
		b.Fatal(err)
	}
	settings, err := p.Config.Parse(configOf(config))
	if err != nil {
		b.Fatal(err)
	}
	t := p.New()
	if err := t.Configure(settings); err != nil {
		b.Fatal(err)
	}
	headers := in.Headers
	b.ReportAllocs()
	for b.Loop() {
		r := in
		r.Headers = append([]connect.Header(nil), headers...)
		if out, err := t.Apply(&r); err != nil || !out {
			b.Fatal(out, err)
		}
	}
}
