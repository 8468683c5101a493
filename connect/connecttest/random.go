package connecttest

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"

	"github.com/tidemill/tidemill/connect"
)

// scalarKinds are the kinds that are not made of others.
var scalarKinds = []connect.Kind{
	connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64, connect.KindFloat32,
	connect.KindFloat64, connect.KindBool, connect.KindString, connect.KindBytes,
}

// RandomSchema returns a schema of any shape: scalars, logical types, arrays, maps
// with keys of any scalar kind, structs in one another. Names are such that Avro
// takes them too, and a name stands for one struct only.
func RandomSchema(r *rand.Rand) *connect.Schema {
	g := generator{r: r}
	return g.schema(0)
}

// RandomValue returns a value that fits s. It is null only where that is not read
// as the schema's default.
func RandomValue(r *rand.Rand, s *connect.Schema) connect.Value {
	g := generator{r: r}
	return g.value(s)
}

type generator struct {
	r     *rand.Rand
	named int
}

func (g *generator) oneIn(n int) bool { return g.r.IntN(n) == 0 }

func (g *generator) schema(depth int) *connect.Schema {
	d := connect.SchemaDef{Optional: g.oneIn(3)}
	switch n := g.r.IntN(10); {
	case n < 4 || depth > 3:
		d.Kind = scalarKinds[g.r.IntN(len(scalarKinds))]
		g.decorate(&d)
	case n < 5:
		return g.logical(d.Optional)
	case n < 6:
		d.Kind, d.Elem = connect.KindArray, g.schema(depth+1)
	case n < 7:
		d.Kind, d.Elem = connect.KindMap, g.schema(depth+1)
		d.Key = connect.Of(connect.KindString)
		if g.oneIn(3) {
			d.Key = connect.Of(scalarKinds[g.r.IntN(len(scalarKinds))])
		}
	default:
		d.Kind = connect.KindStruct
		if !g.oneIn(4) {
			g.named++
			d.Name = fmt.Sprintf("shop.public.t%d.%s", g.named, [...]string{"Value", "Key", "Source"}[g.r.IntN(3)])
			d.Version = g.r.IntN(3)
		}
		for i := range g.r.IntN(12) {
			d.Fields = append(d.Fields, connect.Field{Name: fmt.Sprintf("f%d", i), Schema: g.schema(depth + 1)})
		}
	}
	return d.MustBuild()
}

// decorate gives a scalar schema what people rarely use.
func (g *generator) decorate(d *connect.SchemaDef) {
	if g.oneIn(8) {
		d.Name, d.Version = "io.debezium.data.Semantic", 1
	}
	if g.oneIn(8) {
		d.Params = []connect.Param{{Key: "allowed", Value: `a,"b",ä`}, {Key: "length", Value: "7"}}
	}
	if g.oneIn(8) {
		d.Doc = "What it is, \"in words\".\n"
	}
	if g.oneIn(5) {
		d.Default = g.scalar(d.Kind, true)
	}
}

func (g *generator) logical(optional bool) *connect.Schema {
	var s *connect.Schema
	switch g.r.IntN(5) {
	case 0:
		s = connect.DecimalSchema(1+g.r.IntN(30), 0)
	case 1:
		s = connect.DecimalSchema(0, g.r.IntN(20))
	case 2:
		s = connect.SchemaDef{Kind: connect.KindInt32, Name: connect.LogicalDate, Version: 1}.MustBuild()
	case 3:
		s = connect.SchemaDef{Kind: connect.KindInt32, Name: connect.LogicalTime, Version: 1}.MustBuild()
	default:
		s = connect.SchemaDef{Kind: connect.KindInt64, Name: connect.LogicalTimestamp, Version: 1}.MustBuild()
	}
	if optional {
		return s.AsOptional()
	}
	return s
}

func (g *generator) value(s *connect.Schema) connect.Value {
	if s.Optional() && s.Default().IsNull() && g.oneIn(3) {
		return connect.Value{}
	}
	switch s.Kind() {
	case connect.KindArray:
		elems := make([]connect.Value, g.r.IntN(4))
		for i := range elems {
			elems[i] = g.value(s.Elem())
		}
		return connect.Array(elems)
	case connect.KindMap:
		entries := make([]connect.MapEntry, g.r.IntN(4))
		for i := range entries {
			entries[i] = connect.MapEntry{Key: g.value(s.Key()), Value: g.value(s.Elem())}
		}
		return connect.Map(entries)
	case connect.KindStruct:
		st := s.NewStruct()
		for i, f := range s.Fields() {
			st.Set(i, g.value(f.Schema))
		}
		return connect.StructValue(st)
	}
	if _, decimal := s.DecimalScale(); decimal {
		n := new(big.Int).SetBytes(g.scalar(connect.KindBytes, false).Bytes())
		if g.oneIn(2) {
			n.Neg(n)
		}
		return connect.Bytes(connect.AppendUnscaled(nil, n))
	}
	v := g.scalar(s.Kind(), false)
	if s.Name() == connect.LogicalTime {
		const day = 86_400_000
		v = connect.Int32(int32((v.Int()%day + day) % day))
	}
	return v
}

var texts = []string{"", "a", "tide", "ä€😀", "\"quoted\\\" \n\t\x00\x1f", "null", "0123456789012345678901234567890123456789"}

// scalar returns a value of kind k; a tame one can be written as a JSON default.
func (g *generator) scalar(k connect.Kind, tame bool) connect.Value {
	switch k {
	case connect.KindBool:
		return connect.Bool(g.oneIn(2))
	case connect.KindFloat32:
		if !tame && g.oneIn(6) {
			return connect.Float32([]float32{float32(math.Inf(1)), math.MaxFloat32, math.SmallestNonzeroFloat32}[g.r.IntN(3)])
		}
		return connect.Float32(float32(g.r.NormFloat64() * 1000))
	case connect.KindFloat64:
		if !tame && g.oneIn(6) {
			return connect.Float64([]float64{math.Inf(-1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64}[g.r.IntN(4)])
		}
		return connect.Float64(g.r.NormFloat64() * 1e9)
	case connect.KindString:
		return connect.String(texts[g.r.IntN(len(texts))])
	case connect.KindBytes:
		b := make([]byte, 1+g.r.IntN(9))
		for i := range b {
			b[i] = byte(g.r.Uint32())
		}
		return connect.Bytes(b)
	}
	n := int64(g.r.Uint64()) >> g.r.IntN(64)
	return connect.IntOf(k, n)
}

// ChangeSample returns a change of a table with ten columns in its envelope, as the
// PostgreSQL source makes them: an insert, with everything optional that may be
// absent.
func ChangeSample() (*connect.Schema, connect.Value) {
	str, i64 := connect.Of(connect.KindString), connect.Of(connect.KindInt64)
	stamp := connect.SchemaDef{Kind: connect.KindInt64, Name: "io.debezium.time.MicroTimestamp", Version: 1}.MustBuild()
	row := connect.SchemaDef{Kind: connect.KindStruct, Name: "shop.public.orders.Value", Fields: []connect.Field{
		{Name: "id", Schema: i64}, {Name: "customer", Schema: connect.Of(connect.KindInt32)}, {Name: "item", Schema: str},
		{Name: "note", Schema: str.AsOptional()}, {Name: "price", Schema: connect.DecimalSchema(10, 2)},
		{Name: "weight", Schema: connect.Of(connect.KindFloat64).AsOptional()}, {Name: "paid", Schema: connect.Of(connect.KindBool)},
		{Name: "created", Schema: stamp}, {Name: "changed", Schema: stamp.AsOptional()}, {Name: "city", Schema: str.AsOptional()},
	}}.MustBuild()
	state := connect.SchemaDef{
		Kind: connect.KindString, Optional: true, Name: "io.debezium.data.Enum", Version: 1, Default: connect.String("false"),
		Params: []connect.Param{{Key: "allowed", Value: "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}},
	}.MustBuild()
	source := connect.SchemaDef{Kind: connect.KindStruct, Name: "io.debezium.connector.postgresql.Source", Version: 1, Fields: []connect.Field{
		{Name: "version", Schema: str}, {Name: "connector", Schema: str}, {Name: "name", Schema: str}, {Name: "ts_ms", Schema: i64},
		{Name: "snapshot", Schema: state}, {Name: "db", Schema: str}, {Name: "sequence", Schema: str.AsOptional()},
		{Name: "ts_us", Schema: i64.AsOptional()}, {Name: "ts_ns", Schema: i64.AsOptional()}, {Name: "schema", Schema: str},
		{Name: "table", Schema: str}, {Name: "txId", Schema: i64.AsOptional()}, {Name: "lsn", Schema: i64.AsOptional()},
		{Name: "xmin", Schema: i64.AsOptional()},
	}}.MustBuild()
	envelope, err := connect.EnvelopeSchema("shop.public.orders.Envelope", row, source)
	if err != nil {
		panic(err)
	}
	const ms = 1_790_000_000_123
	after := row.StructOf([]connect.Value{
		connect.Int64(4711), connect.Int32(42), connect.String("a wooden boat, green"), connect.String("leave it with the neighbours"),
		connect.Bytes([]byte{0x01, 0xe2, 0x40}), connect.Float64(1.25), connect.Bool(true), connect.Int64(ms * 1000), {}, connect.String("Basel"),
	})
	from := source.StructOf([]connect.Value{
		connect.String("1.0.0"), connect.String("postgresql"), connect.String("shop"), connect.Int64(ms), connect.String("false"),
		connect.String("shop"), connect.String(`["24023128","24023128"]`), connect.Int64(ms * 1000), connect.Int64(ms * 1000000),
		connect.String("public"), connect.String("orders"), connect.Int64(771), connect.Int64(24023128), {},
	})
	return envelope, connect.StructValue(envelope.StructOf([]connect.Value{
		{}, connect.StructValue(after), connect.StructValue(from), {}, connect.String(connect.OpCreate),
		connect.Int64(ms), connect.Int64(ms * 1000), connect.Int64(ms * 1000000),
	}))
}
