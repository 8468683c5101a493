package oracle

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// tape is what a real connector wrote of a real storm, to be meddled with.
type tape struct {
	*scene
	records []*kgo.Record
	read    []*record // The same, read.
	source  *pgx.Conn
}

// newTape records a storm.
func newTape(t *testing.T) *tape {
	t.Helper()
	s := newScene(t, true, storm.Options{Seed: 3, Clients: 3, TPS: -1, BigTx: -1, DDL: -1, Hold: time.Millisecond})
	stop := s.work(2)
	s.settle()
	s.blow(80)
	s.finish()
	stop()
	for _, a := range s.check() {
		t.Fatal(a)
	}
	conn, err := s.connect(t.Context())
	s.must(err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	p := &tape{scene: s, source: conn}
	ends, err := s.reader.Committed(t.Context())
	s.must(err)
	from := map[string]map[int32]kgo.Offset{}
	for tp, end := range ends {
		if end > 0 && from[tp.Topic] == nil {
			from[tp.Topic] = map[int32]kgo.Offset{}
		}
		if end > 0 {
			from[tp.Topic][tp.Partition] = kgo.NewOffset().AtStart()
		} else {
			delete(ends, tp)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	s.must(err)
	defer client.Close()
	for len(ends) > 0 {
		for _, r := range client.PollFetches(t.Context()).Records() {
			tp := connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			if r.Offset+1 >= ends[tp] {
				delete(ends, tp)
			}
			if r.Attrs.IsControl() {
				continue
			}
			x, err := s.reader.ledger.decoder.decode(t.Context(), r)
			s.must(err)
			p.records, p.read = append(p.records, r), append(p.read, x)
		}
	}
	return p
}

// play reads records as a reader does and compares what they say with the source.
func (p *tape) play(once bool, records []*kgo.Record, more ...func(*ledger)) []Anomaly {
	p.t.Helper()
	l := newLedger(once, nil, p.reader.ledger.decoder)
	for _, f := range more {
		f(l)
	}
	for _, r := range records {
		p.must(l.take(p.t.Context(), r))
	}
	list, err := l.check(p.t.Context(), Truth{Source: p.source, Decoded: p.decoding})
	p.must(err)
	return list
}

// find returns the place of the n-th record of which ok is true.
func (p *tape) find(n int, ok func(*record) bool) int {
	p.t.Helper()
	for i, r := range p.read {
		if !ok(r) {
			continue
		}
		if n--; n < 0 {
			return i
		}
	}
	p.t.Fatal("the tape has no such record")
	return 0
}

// transferred tells whether a record is the row of a transfer.
func transferred(r *record) bool {
	return r.table == "public.xfer" && r.op == "c" && slices.ContainsFunc(r.row, func(c storm.Column) bool { return strings.HasPrefix(c.Text, "from ") })
}

func streamedManifest(r *record) bool { return r.table == storm.TableManifest && r.op == "c" }

// without leaves records out.
func (p *tape) without(drop func(*record) bool) []*kgo.Record {
	var list []*kgo.Record
	for i, r := range p.read {
		if !drop(r) {
			list = append(list, p.records[i])
		}
	}
	return list
}

// with puts a record at a place.
func (p *tape) with(at int, r *kgo.Record) []*kgo.Record {
	return slices.Insert(slices.Clone(p.records), at, r)
}

// replaced puts a record in the place of another.
func (p *tape) replaced(at int, r *kgo.Record) []*kgo.Record {
	list := slices.Clone(p.records)
	list[at] = r
	return list
}

// third returns the place of a transfer with at least two others before it in its
// partition.
func (p *tape) third() int {
	before := map[int32]int{}
	return p.find(0, func(r *record) bool {
		if !transferred(r) {
			return false
		}
		before[r.Partition]++
		return before[r.Partition] == 3
	})
}

// rewrite returns a record with another value.
func (p *tape) rewrite(raw *kgo.Record, change func(*connect.Schema, []connect.Value) (*connect.Schema, []connect.Value)) *kgo.Record {
	p.t.Helper()
	d := p.reader.ledger.decoder
	schema, value, err := d.value.ToConnect(p.t.Context(), raw.Topic, raw.Value)
	p.must(err)
	schema, values := change(schema, slices.Clone(value.Struct().Values()))
	again := *raw
	again.Value, err = d.value.FromConnect(p.t.Context(), nil, raw.Topic, schema, connect.StructValue(schema.StructOf(values)))
	p.must(err)
	return &again
}

// aborted returns a record as one of another transaction, which nobody committed.
func (p *tape) aborted(raw *kgo.Record) *kgo.Record {
	return p.rewrite(raw, func(s *connect.Schema, v []connect.Value) (*connect.Schema, []connect.Value) {
		set := func(of int, field string, to connect.Value) {
			st := v[of].Struct()
			values := slices.Clone(st.Values())
			values[st.Schema().Index(field)] = to
			v[of] = connect.StructValue(st.Schema().StructOf(values))
		}
		set(s.Index("source"), "txId", connect.Int64(4_000_000_000))
		set(s.Index("transaction"), "id", connect.String("4000000000:99999999999"))
		return s, v
	})
}

// neighbours finds two manifests of one partition that follow each other.
func (p *tape) neighbours() (int, int) {
	for i, r := range p.read {
		for j := i + 1; j < len(p.read); j++ {
			if q := p.read[j]; q.Topic == r.Topic && q.Partition == r.Partition {
				if streamedManifest(r) && streamedManifest(q) {
					return i, j
				}
				break
			}
		}
	}
	p.t.Fatal("the tape has no such neighbours")
	return 0, 0
}

// TestMeddled takes what a connector wrote of a storm and meddles with it, each time in
// another way: each has its name, and the tape itself has none.
func TestMeddled(t *testing.T) {
	p := newTape(t)
	if list := p.play(true, p.records); len(list) > 0 {
		t.Fatalf("not meddled with: %v", list)
	}
	row := p.third()
	victim := p.read[row]
	swapped := slices.Clone(p.records)
	i, j := p.neighbours()
	swapped[i], swapped[j] = swapped[j], swapped[i]
	changed := *p.records[row]
	changed.Value = []byte(strings.Replace(string(changed.Value), "from ", "form ", 1))
	zombie := *p.records[row]
	zombie.ProducerID++
	manifest := p.find(4, streamedManifest)
	for name, c := range map[string]struct {
		name    string
		records []*kgo.Record
	}{
		"one row left out":       {Torn, p.without(func(r *record) bool { return r == victim })},
		"a transaction left out": {Lost, p.without(func(r *record) bool { return r.commit == victim.commit })},
		"a manifest left out":    {Torn, p.without(func(r *record) bool { return r == p.read[manifest] })},
		"an end left out":        {Lost, p.without(func(r *record) bool { return r.op == opEnd && r.commit == victim.commit })},
		"a tombstone left out": {Lost, p.without(func(r *record) bool {
			return r == p.read[p.find(0, func(r *record) bool { return r.op == opTombstone })]
		})},
		"one row twice":            {Duplicate, p.with(row+1, p.records[row])},
		"two rows changed places":  {Reorder, swapped},
		"one value changed":        {ValueDiff, p.replaced(row, &changed)},
		"a key of another row":     {ValueDiff, p.rekeyed(row)},
		"a row of nobody":          {AbortedRead, p.with(len(p.records), p.aborted(p.records[row]))},
		"a manifest of nobody":     {AbortedRead, p.with(len(p.records), p.unknownManifest(manifest))},
		"a writer that comes back": {ZombieWrite, p.with(row, &zombie)},
		"a row read less":          {SnapshotHole, p.without(func(r *record) bool { return r.op == "r" && r.table == storm.TableManifest })},
		"a row read too much":      {SnapshotGhost, p.with(0, p.readToo(manifest))},
		"a column renamed":         {SchemaMismatch, p.renamed(row)},
		"not to be read":           {SchemaMismatch, p.with(row, &kgo.Record{Topic: victim.Topic, Partition: victim.Partition, Offset: victim.Offset, Value: []byte("?")})},
	} {
		t.Run(name, func(t *testing.T) {
			found := p.play(true, c.records)
			if !slices.ContainsFunc(found, func(a Anomaly) bool { return a.Name == c.name }) {
				t.Errorf("no %s in %v", c.name, found)
			}
		})
	}
	t.Run("read beside the log", func(t *testing.T) { readBeside(t, p) })
	t.Run("told too early", func(t *testing.T) { toldTooEarly(t, p) })
	t.Run("a secret", func(t *testing.T) {
		found := p.play(true, p.records, func(l *ledger) { l.secrets = [][]byte{[]byte(storm.KindFinal)} })
		if len(found) == 0 || found[0].Name != SecretLeak {
			t.Errorf("%v", found)
		}
	})
	t.Run("repeated", func(t *testing.T) { repeated(t, p, row) })
	t.Run("late", func(t *testing.T) { comesLate(t, p, row) })
}

// comesLate has a row come after all else: until then the last transaction is not waited
// for to the end.
func comesLate(t *testing.T, p *tape, row int) {
	l := newLedger(false, nil, p.reader.ledger.decoder)
	for i, r := range p.records {
		if i != row {
			p.must(l.take(t.Context(), r))
		}
	}
	var final int64
	for txid := range l.transactions.commits {
		final = max(final, txid)
	}
	if !l.has(final) || !l.lags(final) {
		t.Error("nothing lags while a row is missing")
	}
	p.must(l.take(t.Context(), p.records[row]))
	if l.lags(final) {
		t.Error("something lags when all has come")
	}
}

// readBeside has accounts read beside the log: what one is at that moment is right, what
// it was before is not, nor is one that is deleted or was never told of.
func readBeside(t *testing.T, p *tape) {
	next := func(i int) int { // The next change of the same account.
		for j := i + 1; j < len(p.read); j++ {
			if r := p.read[j]; r.table == storm.TableAccounts && r.streamed() && string(r.Key) == string(p.read[i].Key) {
				return j
			}
		}
		return 0
	}
	followed := func(deleted bool) (int, int) {
		i := p.find(0, func(r *record) bool {
			if r.table != storm.TableAccounts || r.op == connect.OpDelete {
				return false
			}
			j := next(slices.Index(p.read, r))
			return j > 0 && deleted == (p.read[j].op == connect.OpDelete)
		})
		return i, next(i)
	}
	first, second := followed(false)
	last, gone := followed(true)
	for name, c := range map[string]struct {
		name    string
		records []*kgo.Record
	}{
		"as it is":             {"", p.with(first+1, p.besideOf(first))},
		"as it was":            {Reorder, p.with(second+1, p.besideOf(first))},
		"as it will be":        {Lost, p.with(first+1, p.besideOf(second))},
		"though deleted":       {SnapshotGhost, p.with(gone+2, p.besideOf(last))},
		"before it is told of": {Lost, p.with(0, p.besideOf(first))},
	} {
		found := p.play(true, c.records)
		if c.name == "" && len(found) > 0 || c.name != "" && !slices.ContainsFunc(found, func(a Anomaly) bool { return a.Name == c.name }) {
			t.Errorf("an account read %s: %v instead of %q", name, found, c.name)
		}
	}
}

// besideOf returns the record of a change as that of a row that was read beside the log.
func (p *tape) besideOf(at int) *kgo.Record {
	return p.rewrite(p.records[at], func(s *connect.Schema, v []connect.Value) (*connect.Schema, []connect.Value) {
		source := v[s.Index("source")].Struct()
		values := slices.Clone(source.Values())
		values[source.Schema().Index("snapshot")] = connect.String("incremental")
		v[s.Index("source")] = connect.StructValue(source.Schema().StructOf(values))
		v[s.Index("op")], v[s.Index("transaction")] = connect.String(connect.OpRead), connect.Value{}
		return s, v
	})
}

// toldTooEarly has the source told of all positions before half of the events are there,
// and then of no position that is not. Rows of snapshots may stand anywhere on the tape.
func toldTooEarly(t *testing.T, p *tape) {
	streamed := 0
	for _, r := range p.read {
		if r.streamed() {
			streamed++
		}
	}
	half := p.find(streamed/2, (*record).streamed)
	play := func(lsn func(next uint64) uint64) []Anomaly {
		l := newLedger(true, nil, p.reader.ledger.decoder)
		ends := map[connect.TopicPartition]int64{}
		for _, r := range p.records[:half] {
			p.must(l.take(t.Context(), r))
			ends[connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = r.Offset + 1
		}
		next := uint64(math.MaxUint64)
		for _, r := range p.read[half:] {
			if r.streamed() {
				next = min(next, r.commit)
			}
		}
		l.acknowledge(lsn(next), ends)
		for _, r := range p.records[half:] {
			p.must(l.take(t.Context(), r))
		}
		return l.found.all()
	}
	if found := play(func(next uint64) uint64 { return next + 1 }); len(found) == 0 || found[0].Name != EarlyAck {
		t.Errorf("told of more than there is: %v", found)
	}
	if found := play(func(next uint64) uint64 { return next }); len(found) > 0 {
		t.Errorf("told of what there is: %v", found)
	}
}

// repeated repeats records to a reader that allows what a writer does who begins again.
func repeated(t *testing.T, p *tape, row int) {
	of := p.read[row]
	var all, same []*kgo.Record
	for _, raw := range p.records {
		r := *raw
		r.ProducerID = -1 // Whoever wrote it.
		if all = append(all, &r); r.Topic == of.Topic && r.Partition == of.Partition {
			same = append(same, &r)
		}
	}
	tail := append(slices.Clone(all), same[len(same)/2:]...)
	if found := p.play(false, tail); len(found) > 0 {
		t.Errorf("a writer that begins again: %v", found)
	}
	if found := p.play(false, slices.Insert(slices.Clone(all), row+1, same[0])); len(found) == 0 || found[0].Name != Duplicate {
		t.Errorf("a stray repetition: %v", found)
	}
	other := *p.records[row]
	other.ProducerID, other.Value = -1, []byte(strings.Replace(string(other.Value), "from ", "form ", 1))
	if found := p.play(false, append(all, &other)); len(found) == 0 || found[0].Name != ValueDiff {
		t.Errorf("a repetition that says something else: %v", found)
	}
}

// rekeyed gives a record the key of another.
func (p *tape) rekeyed(row int) []*kgo.Record {
	other := *p.records[row]
	other.Key = p.records[p.find(0, transferred)].Key
	return p.replaced(row, &other)
}

// unknownManifest returns a manifest of a transaction that nobody committed.
func (p *tape) unknownManifest(at int) *kgo.Record {
	return p.rewrite(p.aborted(p.records[at]), func(s *connect.Schema, v []connect.Value) (*connect.Schema, []connect.Value) {
		after := v[s.Index("after")].Struct()
		values := slices.Clone(after.Values())
		values[after.Schema().Index("txid")] = connect.Int64(4_000_000_000)
		v[s.Index("after")] = connect.StructValue(after.Schema().StructOf(values))
		return s, v
	})
}

// readToo returns a record as a row of a snapshot.
func (p *tape) readToo(at int) *kgo.Record {
	again := p.rewrite(p.records[at], func(s *connect.Schema, v []connect.Value) (*connect.Schema, []connect.Value) {
		v[s.Index("op")], v[s.Index("transaction")] = connect.String(connect.OpRead), connect.Value{}
		return s, v
	})
	again.Offset = 0
	return again
}

// renamed returns the tape with a column of one row under another name.
func (p *tape) renamed(row int) []*kgo.Record {
	return p.replaced(row, p.rewrite(p.records[row], func(s *connect.Schema, v []connect.Value) (*connect.Schema, []connect.Value) {
		def := s.Def()
		def.Fields = slices.Clone(def.Fields)
		inner := def.Fields[s.Index("after")].Schema.Def()
		inner.Fields = slices.Clone(inner.Fields)
		inner.Fields[len(inner.Fields)-1].Name = "remark"
		own := inner.MustBuild()
		def.Fields[s.Index("after")].Schema, def.Fields[s.Index("before")].Schema = own, own
		v[s.Index("after")] = connect.StructValue(own.StructOf(v[s.Index("after")].Struct().Values()))
		return def.MustBuild(), v
	}))
}
