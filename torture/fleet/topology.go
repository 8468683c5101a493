package fleet

import (
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
	"github.com/tidemill/tidemill/torture/recount"
	"github.com/tidemill/tidemill/torture/storm"
)

// bank reads the topics of changes.
type bank struct {
	prefix      string
	key, change serde.Serde[connect.Value]
}

func newBank(prefix, registry string) (*bank, error) {
	keys, values := &avro.Converter{}, &avro.Converter{}
	config := connect.Config{"schema.registry.url": registry}
	if err := keys.Configure(config, true); err != nil {
		return nil, err
	}
	if err := values.Configure(config, false); err != nil {
		return nil, err
	}
	return &bank{prefix: prefix, key: serde.Of(keys, nil), change: serde.Of(values, nil)}, nil
}

// columns is the schema of rows with these columns, all of them numbers.
func columns(names ...string) *connect.Schema {
	def := connect.SchemaDef{Kind: connect.KindStruct}
	for _, name := range names {
		def.Fields = append(def.Fields, connect.Field{Name: name, Schema: connect.Of(connect.KindInt64).AsOptional()})
	}
	return def.MustBuild()
}

func (b *bank) cdc(table string, names ...string) streams.CDC {
	return streams.CDC{Topic: b.prefix + "." + table, Key: b.key, Envelope: b.change, Row: columns(names...), StoredKey: serde.Row(columns(names[0]))}
}

// text is the Serde of everything between the operators.
var text serde.Text

// Topology is the application, over the topics of changes that begin with prefix.
func Topology(prefix, registry string) (*streams.Topology, error) {
	changes, err := newBank(prefix, registry)
	if err != nil {
		return nil, err
	}
	b := streams.NewBuilder()
	events := events(b, changes)
	accounts := accounts(b, changes)
	events.Filter(func(_, v string) bool { return v[0] == recount.Beat }).To(recount.Beats, text, text)
	moves := events.Filter(func(_, v string) bool { return v[0] != recount.Beat }, streams.With{Name: "moves"})
	aggregates(moves)
	joins(moves, accounts)
	sums(accounts)
	return b.Build()
}

// events are the moves, manifests and ticks, dealt out by their keys.
func events(b *streams.Builder, changes *bank) *streams.Stream[string, string] {
	type event = streams.Record[string, string]
	moves := streams.FlatMap(changes.cdc("public.xfer", "id", "a", "b").Stream(b), func(r streams.Record[connect.Value, streams.Change[connect.Value]], emit func(event)) {
		if !r.Value.HasNew {
			return
		}
		row := r.Value.New.Struct()
		for _, m := range recount.MovesOf(row.Get("id").Int(), number(row.Get("a")), number(row.Get("b")), r.Time) {
			emit(event{Key: m.Key, Value: m.Value, Time: m.Time})
		}
	}, streams.With{Name: "movements"})
	beats := streams.FlatMap(changes.cdc(storm.TableManifest, "txid").Stream(b), func(r streams.Record[connect.Value, streams.Change[connect.Value]], emit func(event)) {
		if r.Value.HasNew {
			emit(event{Key: strconv.FormatInt(r.Value.New.Struct().Get("txid").Int(), 10), Value: string(recount.Beat), Time: r.Time})
		}
	}, streams.With{Name: "manifests"})
	ticks := streams.MapValues(streams.From(b, recount.Ticks, text, text), func(string, string) string { return string(recount.Tick) }, streams.With{Name: "ticks"})
	return moves.Merge(beats).Merge(ticks).Repartition(text, text, streams.With{Name: "events", Partitions: recount.Partitions})
}

func number(v connect.Value) *int64 {
	if v.IsNull() {
		return nil
	}
	n := v.Int()
	return &n
}

// accounts is the table of all accounts, each with its version and balance, dealt out by
// their numbers.
func accounts(b *streams.Builder, changes *bank) *streams.Table[string, string] {
	rows := changes.cdc(storm.TableAccounts, "id", "bal", "_v").Table(b, streams.With{Name: "changed", Store: "changed"})
	type record = streams.Record[string, string]
	states := streams.Map(rows.ToStream(), func(r streams.Record[connect.Value, connect.Value]) record {
		out := record{Key: strconv.FormatInt(r.Key.Struct().Get("id").Int(), 10), NoValue: r.NoValue, Time: r.Time}
		if !r.NoValue {
			row := r.Value.Struct()
			out.Value = recount.State(row.Get("_v").Int(), row.Get("bal").Int())
		}
		return out
	}, streams.With{Name: "states"})
	return states.Repartition(text, text, streams.With{Name: "accounts", Partitions: recount.Partitions}).
		ToTable(text, text, streams.With{Name: "account", Store: "account"})
}

// aggregates count the moves of each account, and count and add them up in windows.
func aggregates(moves *streams.Stream[string, string]) {
	every := streams.With{Uncached: true}
	streams.MapValues(moves.GroupByKey(text, text).Count(every, streams.With{Name: "counts", Store: "counts"}).ToStream(), func(_ string, n int64) string {
		return strconv.FormatInt(n, 10)
	}).To(recount.Counts, text, text)
	sum := window.Aggregation[string, string, string]{
		Init: func() string { return recount.Aggregate(0, 0) },
		Add: func(_, v, agg string) string {
			if v[0] == recount.Tick {
				return agg
			}
			n, sum := aggregate(agg)
			return recount.Aggregate(n+1, sum+recount.Weight(v))
		},
	}
	tumbling := window.Tumbling(recount.WindowSize).Grace(recount.WindowGrace)
	keys := window.TimeKeys[string](text, recount.WindowSize)
	window.Aggregate(moves.GroupByKey(text, text), tumbling, sum, text, every, streams.With{Name: "windows", Store: "windows"}).
		ToStream().To(recount.Windows, keys, text)
	window.Aggregate(moves.GroupByKey(text, text), tumbling.OnClose().EmitEvery(0), sum, text, streams.With{Name: "closed", Store: "closed"}).
		ToStream().To(recount.Closed, keys, text)
}

// aggregate reads what recount.Aggregate wrote.
func aggregate(value string) (n, sum int64) {
	left, right, _ := strings.Cut(value, ":")
	n, _ = strconv.ParseInt(left, 10, 64)
	sum, _ = strconv.ParseInt(right, 10, 64)
	return n, sum
}

// joins bring debits together with the credits near them, and with accounts.
func joins(moves *streams.Stream[string, string], accounts *streams.Table[string, string]) {
	debits := moves.Filter(func(_, v string) bool { return v[0] == recount.Debit }, streams.With{Name: "debits"})
	others := moves.Filter(func(_, v string) bool { return v[0] != recount.Debit }, streams.With{Name: "others"})
	near := join.Within[string, string, string]{Before: recount.JoinReach, After: recount.JoinReach, Grace: recount.JoinGrace, Key: text, Left: text, Right: text}
	or := func(side string, has bool) string {
		if has {
			return side
		}
		return recount.Gone
	}
	join.Streams(debits, others, near, join.Left(func(_ string, p join.Pair[string, string]) string {
		return recount.Paired(p.Left, or(p.Right, p.HasRight))
	}), streams.With{Name: "pairs"}).To(recount.Pairs, text, text)
	lately(moves, or)
	join.StreamTable(debits, accounts, join.Left(func(_ string, p join.Pair[string, string]) string {
		return recount.Look(p.Left, or(p.Right, p.HasRight))
	}), text, streams.With{Name: "enriched"}).To(recount.Enriched, text, text)
}

// lately joins debits with the last credit of their account at their time: they wait for
// those that come late, and credits are kept for a while. Ticks wait too, and move the time
// of those on that wait before them.
func lately(moves *streams.Stream[string, string], or func(string, bool) string) {
	credits := moves.Filter(func(_, v string) bool { return v[0] == recount.Credit }, streams.With{Name: "credits"}).
		ToTable(text, text, streams.With{Name: "credited", Store: "credited", History: recount.History})
	patient := moves.Filter(func(_, v string) bool { return v[0] != recount.Credit }, streams.With{Name: "patient"})
	join.StreamTable(patient, credits, join.Left(func(_ string, p join.Pair[string, string]) string {
		return recount.Late(p.Left, or(p.Right, p.HasRight))
	}), text, streams.With{Name: "lately", Grace: recount.Patience}).To(recount.Lately, text, text)
}

// sums add all accounts up, and join each with the size of its group.
func sums(accounts *streams.Table[string, string]) {
	all := streams.GroupTable(accounts, func(_, state string) (string, string) { return recount.AllAccounts, state }, text, text, streams.With{Name: "all", Partitions: 1})
	step := func(by int64) func(string, string, string) string {
		return func(_, state, agg string) string {
			n, sum := aggregate(agg)
			_, balance := aggregate(state)
			return recount.Aggregate(n+by, sum+by*balance)
		}
	}
	streams.Aggregate(all, streams.Aggregation[string, string, string]{
		Init: func() string { return recount.Aggregate(0, 0) }, Add: step(1), Subtract: step(-1),
	}, text, streams.With{Name: "total", Store: "total"}).ToStream().To(recount.Total, text, text)

	group := func(account string) string {
		n, _ := strconv.ParseInt(account, 10, 64) // Accounts have numbers.
		return recount.GroupOf(n)
	}
	sizes := streams.GroupTable(accounts, func(account, state string) (string, string) { return group(account), state }, text, text, streams.With{Name: "groups", Partitions: 2}).
		Count(streams.With{Name: "sizes", Store: "sizes"})
	join.ForeignKey(accounts, join.On(sizes, func(account, _ string) (string, bool) { return group(account), true }),
		join.Inner(func(_ string, p join.Pair[string, int64]) string { return recount.Member(p.Left, p.Right) }), text, streams.With{Name: "members", Store: "members"}).
		ToStream().To(recount.Members, text, text)
}
