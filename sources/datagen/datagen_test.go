package datagen

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name   string
		config connect.Config
	}{
		{"orders", connect.Config{"keys": "5", "delete.percent": "30"}},
		{"users", connect.Config{"shape": "row", "keys": "4", "delete.percent": "25"}},
		{"pageviews", nil},
		{"inventory", connect.Config{"rate": "500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			connecttest.Source(t, connecttest.SourceCase{
				New: Plugin().New,
				Config: func(testing.TB) connect.Config {
					config := connect.Config{"topic": "t-1.x", "quickstart": c.name, "rate": "1e9", "seed": "3"}
					for k, v := range c.config {
						config[k] = v
					}
					return config
				},
				Records: 40,
				Bad:     connect.Config{"quickstart": "ordres"},
			})
		})
	}
}

// TestFold follows every key through its changes: what a change says was before must
// be what the last one left.
func TestFold(t *testing.T) {
	run := connecttest.StartSource(t, Plugin().New(), connect.Config{"topic": "t", "rate": "1e9", "keys": "7", "delete.percent": "35"}, &connecttest.Offsets{})
	held, ops, deleted := map[string]connect.Value{}, map[string]int{}, ""
	for _, r := range run.Take(2000) {
		key := r.Key.String()
		if (deleted != "") != r.Value.IsNull() || r.Value.IsNull() && key != deleted {
			t.Fatalf("a delete of %q is followed by %v", deleted, r.Value)
		}
		deleted = ""
		if r.Value.IsNull() {
			continue
		}
		e, ok := connect.EnvelopeOf(r.ValueSchema)
		if !ok {
			t.Fatalf("%v is no envelope", r.ValueSchema)
		}
		c := e.Change(r.Value)
		ops[c.Op]++
		if !c.Before.Equal(held[key]) {
			t.Fatalf("before is %v; the row was %v", c.Before, held[key])
		}
		if c.After.IsNull() != (c.Op == connect.OpDelete) || c.Before.IsNull() != (c.Op == connect.OpCreate) {
			t.Fatalf("op %s: before %v, after %v", c.Op, c.Before, c.After)
		}
		held[key] = c.After
		if c.Op == connect.OpDelete {
			deleted = key
		}
	}
	if ops["c"] < 7 || ops["u"] < 500 || ops["d"] < 100 {
		t.Errorf("operations %v", ops)
	}
}

func TestEachKeyOnceARound(t *testing.T) {
	for _, keys := range []uint64{1, 2, 6, 97, 100, 1000} {
		r := rows{seed: 5, keys: keys}
		for round := range uint64(4) {
			seen := map[uint64]bool{}
			for i := range keys {
				seen[r.at(round*keys+i).key] = true
			}
			if uint64(len(seen)) != keys {
				t.Errorf("%d keys: %d had their turn in round %d", keys, len(seen), round)
			}
		}
	}
}

func TestFirstOrder(t *testing.T) {
	run := connecttest.StartSource(t, Plugin().New(), connect.Config{"topic": "shop.orders", "rate": "1e9", "seed": "7", "keys": "3"}, &connecttest.Offsets{})
	r := run.Take(4)[3]
	got := r.Key.String() + " " + r.Value.String()
	const want = `{"orderid":2} {"before":{"ordertime":1704067201000,"orderid":2,"itemid":"Item_58","orderunits":4.0,"address":{"city":"Genève","state":"GE","zipcode":1992},"amount":311.12,"status":"placed","note":null},` +
		`"after":{"ordertime":1704067204000,"orderid":2,"itemid":"Item_58","orderunits":4.0,"address":{"city":"Genève","state":"GE","zipcode":1992},"amount":311.12,"status":"paid","note":null},` +
		`"source":{"version":"1","connector":"datagen","name":"conformance","ts_ms":1704067203000,"snapshot":"false","db":"datagen","table":"orders","row":3},` +
		`"transaction":null,"op":"u","ts_ms":1704067203000,"ts_us":1704067203000000,"ts_ns":1704067203000000000}`
	if got != want {
		t.Errorf("the fourth row is\n%s\nwant\n%s", got, want)
	}
	if r.ValueSchema.Name() != "shop.orders.Envelope" || r.KeySchema.Name() != "shop.orders.Key" {
		t.Errorf("schemas %v, %v", r.KeySchema, r.ValueSchema)
	}
}

// TestPace runs in virtual time: the rate is kept, and the end is one.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		run := connecttest.StartSource(t, Plugin().New(), connect.Config{"topic": "t", "rate": "4", "rows": "21"}, &connecttest.Offsets{})
		run.Take(21)
		if took := time.Since(began); took < 5*time.Second || took > 5100*time.Millisecond {
			t.Errorf("21 rows at 4 a second took %v", took)
		}
		if more := run.Poll(10 * time.Second); len(more) > 0 {
			t.Errorf("%d rows after the last", len(more))
		}
		if more := connecttest.StartSource(t, Plugin().New(), connect.Config{"topic": "t", "rate": "0"}, &connecttest.Offsets{}).Poll(time.Hour); len(more) > 0 {
			t.Errorf("%d rows at none a second", len(more))
		}
		slow := connecttest.StartSource(t, Plugin().New(), connect.Config{"topic": "t", "max.interval": "20000"}, &connecttest.Offsets{})
		began = time.Now()
		slow.Take(2)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the second row came after %v", took)
		}
	})
}

func TestOffsetsAreChecked(t *testing.T) {
	for _, c := range []struct {
		text string
		want position
		ok   bool
	}{
		{"", position{}, true}, {"null", position{}, true}, {`{"row":0}`, position{}, true},
		{`{"row":12,"tombstone":true}`, position{12, true}, true},
		{`{"row":-1}`, position{}, false}, {`{}`, position{}, false}, {`{"row":"x"}`, position{}, false}, {`[`, position{}, false}, {`{"row":0,"tombstone":true}`, position{}, false},
	} {
		got, err := parsePosition([]byte(c.text))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %v, %v", c.text, got, err)
		}
		alterer := Plugin().New().(connect.OffsetAlterer)
		_, err = alterer.AlterOffsets(t.Context(), nil, map[connect.SourcePartition][]byte{{}: []byte(c.text)})
		if (err == nil) != c.ok {
			t.Errorf("alter to %s: %v", c.text, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		config connect.Config
		place  string
	}{
		{connect.Config{"topic": "t"}, ""},
		{connect.Config{"kafka.topic": "t", "iterations": "-1", "max.interval": "100", "quickstart": "Users"}, ""},
		{connect.Config{}, "topic"},
		{connect.Config{"topic": "t", "rate": "-1"}, "rate"},
		{connect.Config{"topic": "t", "rate": "5", "max.interval": "100"}, "max.interval"},
		{connect.Config{"topic": "t", "delete.percent": "101"}, "delete.percent"},
		{connect.Config{"topic": "t", "quickstart": "user"}, "quickstart"},
		{connect.Config{"topic": "t", "row": "5"}, "row"},
	} {
		values := Plugin().Config.Validate(c.config)
		Plugin().New().(connect.Validator).Validate(t.Context(), c.config, values)
		for name, v := range values {
			if (len(v.Errors) > 0) != (name == c.place) {
				t.Errorf("%v: %s: %v", c.config, name, v.Errors)
			}
		}
		if c.place != "" && values[c.place] == nil {
			t.Errorf("%v: nothing is said of %s", c.config, c.place)
		}
	}
}

func TestSample(t *testing.T) {
	text, err := os.ReadFile("sample.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample struct{ Config connect.Config }
	if err := json.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	if _, err := connect.FindPlugin([]connect.Plugin[connect.SourceConnector]{Plugin()}, sample.Config["connector.class"]); err != nil {
		t.Error(err)
	}
	delete(sample.Config, "connector.class")
	delete(sample.Config, "tasks.max")
	if _, err := Plugin().Config.Parse(sample.Config); err != nil {
		t.Error(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Plugin().Config.Keys() {
		if !strings.Contains(string(readme), "`"+k.Name+"`") {
			t.Errorf("README.md does not mention %s", k.Name)
		}
	}
}

func BenchmarkPoll(b *testing.B) {
	task := &task{}
	env := connect.SourceTaskEnv{Config: connect.Config{"topic": "t", "rate": "1e9"}, StoredOffset: (&connecttest.Offsets{}).Get}
	if err := task.Start(b.Context(), env); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; n < b.N; {
		records, err := task.Poll(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n += len(records)
	}
}
