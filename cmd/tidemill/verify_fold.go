package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
)

// fold reads the topics of a connector and keeps what they say of each row: a hash of
// every column.
type fold struct {
	key, value connect.Converter
	sees       func(xid int64) bool
	tables     []*foldedRows
	byTopic    map[string]*foldedRows
	byName     map[string]*foldedRows
	records    int64
	// written is where the topics ended before the view was opened; late tells that a
	// snapshot's row was met behind that.
	written map[string]map[int32]int64
	late    bool
}

// foldedRows is one table's state.
type foldedRows struct {
	table pgsource.ViewTable
	place map[string]int // Of columns.
	seed  maphash.Seed
	rows  map[string]*foldedRow
	bag   map[string]int // Rows of a table without a key, and how often each is there.
	// emptied is the position of the last TRUNCATE: what was written before it is gone,
	// whichever partition it is in.
	emptied int64
	// snapshot is the position of the last snapshot of the table: it repeats the rows that
	// an earlier one, which was cut short, wrote.
	snapshot int64
	text     []byte
	found    verifiedTable
}

// foldedRow is one row: the hashes of its columns, 0 for one the topic does not have.
type foldedRow struct {
	at      int64 // Position of its last change; 0 when it has none.
	columns []uint64
	seen    bool
}

// newFold makes the converters that the connector writes with.
func newFold(settings, connector connect.Config) (f *fold, err error) {
	f = &fold{}
	if f.key, err = converterOf(settings, connector, "key.converter"); err != nil {
		return nil, err
	}
	f.value, err = converterOf(settings, connector, "value.converter")
	return f, err
}

// converterOf returns the connector's own converter, or else the worker's.
func converterOf(settings, connector connect.Config, role string) (connect.Converter, error) {
	from := connector
	if from[role] == "" {
		from = settings
	}
	p, err := connect.FindPlugin(plugins(nil).Converters, from[role])
	if err != nil {
		e := *connect.AsError(err)
		e.Place, e.Mend = role, "give the worker's settings with -c"
		return nil, &e
	}
	own := connect.Config{}
	for name, text := range from {
		if rest, ok := strings.CutPrefix(name, role+"."); ok {
			own[rest] = text
		}
	}
	c := p.New()
	return c, c.Configure(own, role == "key.converter")
}

// begin prepares for the tables of a view; sees tells which transactions it sees, and
// written where the topics ended before it was opened.
func (f *fold) begin(tables []pgsource.ViewTable, sees func(int64) bool, written map[string]map[int32]int64) {
	f.sees, f.written, f.byTopic, f.byName = sees, written, map[string]*foldedRows{}, map[string]*foldedRows{}
	f.tables, f.records, f.late = nil, 0, false
	seed := maphash.MakeSeed()
	for _, t := range tables {
		rows := &foldedRows{table: t, place: map[string]int{}, seed: seed, rows: map[string]*foldedRow{}, bag: map[string]int{}}
		for i, field := range t.Row.Fields() {
			rows.place[field.Name] = i
		}
		f.tables = append(f.tables, rows)
		f.byTopic[t.Topic], f.byName[t.Name] = rows, rows
	}
}

// read reads the topics up to where they end now.
func (f *fold) read(ctx context.Context, opts []kgo.Opt, topics []string, tell func(string)) error {
	from, to, err := extent(ctx, opts, topics)
	if err != nil || len(to) == 0 {
		return err
	}
	told := time.Now()
	for fetches, err := range kafkalog.ReadTo(ctx, opts, from, to) {
		if err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			f.records++
			if err := f.record(ctx, r); err != nil {
				return err
			}
		}
		if time.Since(told) > time.Second/2 {
			told = time.Now()
			tell(fmt.Sprintf("%d records read", f.records))
		}
	}
	return nil
}

// extent returns where each partition that is not empty begins and ends.
func extent(ctx context.Context, opts []kgo.Opt, topics []string) (from, to map[string]map[int32]int64, err error) {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	first, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	last, err := admin.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	from, to = map[string]map[int32]int64{}, map[string]map[int32]int64{}
	var faults []error
	last.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			faults = append(faults, fmt.Errorf("the end of %s-%d: %w", o.Topic, o.Partition, o.Err))
		}
		if start, ok := first.Lookup(o.Topic, o.Partition); ok && o.Offset > start.Offset {
			if to[o.Topic] == nil {
				from[o.Topic], to[o.Topic] = map[int32]int64{}, map[int32]int64{}
			}
			from[o.Topic][o.Partition], to[o.Topic][o.Partition] = start.Offset, o.Offset
		}
	})
	return from, to, errors.Join(faults...)
}

// record folds one record. Topics that are no table's, such as that of heartbeats, have
// records that are no changes.
func (f *fold) record(ctx context.Context, r *kgo.Record) error {
	schema, value, err := f.value.ToConnect(ctx, r.Topic, r.Value)
	if err != nil {
		return fmt.Errorf("value of %s-%d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	env, isChange := connect.EnvelopeOf(schema)
	rows := f.byTopic[r.Topic]
	var c connect.Change
	var at int64
	if isChange && !value.IsNull() {
		c = env.Change(value)
		if c.Source.Kind() == connect.KindStruct {
			source := c.Source.Struct()
			if own := f.byName[source.Get("schema").Str()+"."+source.Get("table").Str()]; own != nil {
				rows = own
			}
			if xid := source.Get("txId"); !xid.IsNull() && !f.sees(xid.Int()) {
				return nil // It came after the view.
			}
			if lsn := source.Get("lsn"); !lsn.IsNull() {
				at = lsn.Int()
			}
		}
		if c.Op == connect.OpRead && rows != nil {
			f.late = f.late || r.Offset >= f.written[r.Topic][r.Partition]
			rows.read(at)
		}
	} else if rows != nil && !value.IsNull() {
		c = flatChange(schema, value)
	}
	if rows == nil {
		return nil
	}
	if r.Key == nil {
		rows.keyless(c, at)
		return nil
	}
	keySchema, key, err := f.key.ToConnect(ctx, r.Topic, r.Key)
	if err != nil {
		return fmt.Errorf("key of %s-%d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	if value.IsNull() {
		return nil // The deletion before it has said so; without one it speaks of a later state.
	}
	rows.change(string(connect.AppendJSON(nil, keySchema, key)), c, at)
	return nil
}

// flatChange makes a change of a row that a transform has taken out of its envelope.
func flatChange(schema *connect.Schema, value connect.Value) connect.Change {
	if value.Kind() != connect.KindStruct {
		return connect.Change{}
	}
	c := connect.Change{Op: connect.OpUpdate, After: value}
	if i := schema.Index("__deleted"); i >= 0 {
		if at := value.Struct().At(i); at.Kind() == connect.KindString && at.Str() == "true" {
			c.Op, c.After = connect.OpDelete, connect.Value{}
		}
	}
	return c
}

// change applies a change of a row with a key.
func (t *foldedRows) change(key string, c connect.Change, at int64) {
	if at != 0 && at < t.emptied {
		return
	}
	if c.After.IsNull() {
		delete(t.rows, key)
		return
	}
	row := t.rows[key]
	if row == nil {
		row = &foldedRow{columns: make([]uint64, len(t.place))}
		t.rows[key] = row
	}
	row.at = at
	t.hash(c.After, row.columns)
}

// read learns of a row that a snapshot at a position has read: rows without a key that
// were written before it are in it again.
func (t *foldedRows) read(at int64) {
	if at > t.snapshot {
		t.snapshot = at
		clear(t.bag)
	}
}

// keyless applies a change of a table without keys: a TRUNCATE, or a row among others
// like it.
func (t *foldedRows) keyless(c connect.Change, at int64) {
	switch {
	case c.Op == connect.OpTruncate:
		t.emptied = max(t.emptied, at)
		clear(t.bag)
		for key, row := range t.rows {
			if row.at < t.emptied {
				delete(t.rows, key)
			}
		}
		return
	case at != 0 && at < max(t.emptied, t.snapshot):
		return
	}
	if c.Op != connect.OpCreate && c.Op != connect.OpRead && !c.Before.IsNull() {
		t.put(c.Before, -1)
	}
	if !c.After.IsNull() {
		t.put(c.After, 1)
	}
}

func (t *foldedRows) put(row connect.Value, n int) {
	columns := make([]uint64, len(t.place))
	t.hash(row, columns)
	id := fmt.Sprint(columns)
	if t.bag[id] += n; t.bag[id] == 0 {
		delete(t.bag, id)
	}
}

// hash takes in the columns of a row. What stands for a value that the log did not hold
// leaves what was known before.
func (t *foldedRows) hash(row connect.Value, columns []uint64) {
	st := row.Struct()
	for i, f := range st.Schema().Fields() {
		to, ok := t.place[f.Name]
		if !ok || st.At(i).Equal(t.table.Unavailable[to]) && columns[to] != 0 {
			continue
		}
		t.text = connect.AppendJSON(t.text[:0], f.Schema, st.At(i))
		columns[to] = maphash.Bytes(t.seed, t.text) | 1
	}
}
