package datagen

import (
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// template is a table to make rows of. Where Confluent's generator has a table of
// the same name, its fields come first, by the same names.
type template struct {
	name   string
	keys   uint64 // The number of distinct keys unless the setting says otherwise.
	fields []connect.Field
	// key is the field whose value is the record's key.
	key int
	// fill sets the values of one version of a row.
	fill func(s *slab, row []connect.Value, v version)
}

// version is one state of one row.
type version struct {
	seed, key, round uint64
	ms               int64 // When it came about.
}

// pick returns a number below n for the salt, the same for the same version.
func (v version) pick(salt, n uint64) uint64 { return mix(v.seed^v.key, v.round, salt<<8) % n }

// fixed is pick for what does not change with the version.
func (v version) fixed(salt, n uint64) uint64 { return mix(v.seed^v.key, salt, 77) % n }

func templates() []template {
	str, i32, i64, f64 := connect.Of(connect.KindString), connect.Of(connect.KindInt32), connect.Of(connect.KindInt64), connect.Of(connect.KindFloat64)
	millis := connect.SchemaDef{Kind: connect.KindInt64, Name: "io.debezium.time.Timestamp", Version: 1}.MustBuild()
	address := connect.SchemaDef{Kind: connect.KindStruct, Name: "datagen.Address", Fields: []connect.Field{
		{Name: "city", Schema: str}, {Name: "state", Schema: str}, {Name: "zipcode", Schema: i64},
	}}.MustBuild()
	return []template{
		{name: "orders", keys: 1000, key: 1, fields: []connect.Field{
			{Name: "ordertime", Schema: millis}, {Name: "orderid", Schema: i32}, {Name: "itemid", Schema: str}, {Name: "orderunits", Schema: f64},
			{Name: "address", Schema: address}, {Name: "amount", Schema: connect.DecimalSchema(10, 2)}, {Name: "status", Schema: str},
			{Name: "note", Schema: str.AsOptional()},
		}, fill: orders(address)},
		{name: "users", keys: 100, key: 1, fields: []connect.Field{
			{Name: "registertime", Schema: millis}, {Name: "userid", Schema: str}, {Name: "regionid", Schema: str}, {Name: "gender", Schema: str},
		}, fill: users},
		{name: "pageviews", keys: 0, key: 0, fields: []connect.Field{
			{Name: "viewid", Schema: i64}, {Name: "viewtime", Schema: millis}, {Name: "userid", Schema: str}, {Name: "pageid", Schema: str},
		}, fill: pageviews},
		{name: "inventory", keys: 50, key: 0, fields: []connect.Field{
			{Name: "id", Schema: i64}, {Name: "quantity", Schema: i32}, {Name: "productid", Schema: i32},
		}, fill: inventory},
	}
}

func templateNames() []string {
	var names []string
	for _, t := range templates() {
		names = append(names, t.name)
	}
	return names
}

// place is a city with its state.
type place struct{ city, state string }

func orders(address *connect.Schema) func(s *slab, row []connect.Value, v version) {
	places := []place{{"Basel", "BS"}, {"Bern", "BE"}, {"Chur", "GR"}, {"Genève", "GE"}, {"Lugano", "TI"}, {"Luzern", "LU"}, {"Zürich", "ZH"}}
	stages := []string{"placed", "paid", "shipped", "delivered"}
	return func(s *slab, row []connect.Value, v version) {
		units := 1 + v.fixed(1, 40)
		cents := units * (99 + v.fixed(2, 10000)) / 2
		at := places[v.fixed(3, uint64(len(places)))]
		home := s.row(3)
		home[0], home[1], home[2] = connect.String(at.city), connect.String(at.state), connect.Int64(int64(1000+v.fixed(4, 9000)))
		row[0] = connect.Int64(v.ms)
		row[1] = connect.Int32(int32(v.key + 1))
		row[2] = s.text("Item_", v.fixed(5, 200))
		row[3] = connect.Float64(float64(units) / 4)
		row[4] = s.structOf(address, home)
		row[5] = s.decimal(int64(cents))
		row[6] = connect.String(stages[v.round%uint64(len(stages))])
		if v.pick(6, 3) == 0 {
			row[7] = s.text("note ", v.pick(7, 100000))
		}
	}
}

func users(s *slab, row []connect.Value, v version) {
	genders := [3]string{"MALE", "FEMALE", "OTHER"}
	row[0] = connect.Int64(v.ms)
	row[1] = s.text("User_", v.key+1)
	row[2] = s.text("Region_", 1+v.pick(1, 9))
	row[3] = connect.String(genders[v.fixed(2, 3)])
}

func pageviews(s *slab, row []connect.Value, v version) {
	row[0] = connect.Int64(int64(v.key + 1))
	row[1] = connect.Int64(v.ms)
	row[2] = s.text("User_", 1+v.pick(1, 100))
	row[3] = s.text("Page_", 10+v.pick(2, 90))
}

func inventory(_ *slab, row []connect.Value, v version) {
	row[0] = connect.Int64(int64(v.key + 1))
	row[1] = connect.Int32(int32(v.pick(1, 500)))
	row[2] = connect.Int32(int32(1 + v.fixed(2, 20)))
}

// slab holds the values of the records of one batch, so that they are made by few
// allocations. What was cut from it stays valid when it grows.
type slab struct {
	values  []connect.Value
	structs []connect.Struct
	bytes   []byte
}

// row returns n values, null as yet.
func (s *slab) row(n int) []connect.Value {
	if len(s.values)+n > cap(s.values) {
		s.values = make([]connect.Value, 0, max(n, 4096))
	}
	at := len(s.values)
	s.values = s.values[:at+n]
	return s.values[at : at+n : at+n]
}

// structOf returns a struct of values.
func (s *slab) structOf(schema *connect.Schema, values []connect.Value) connect.Value {
	if len(s.structs) == cap(s.structs) {
		s.structs = make([]connect.Struct, 0, 512)
	}
	s.structs = append(s.structs, schema.MakeStruct(values))
	return connect.StructValue(&s.structs[len(s.structs)-1])
}

// room makes sure that n bytes fit without moving those already cut.
func (s *slab) room(n int) {
	if len(s.bytes)+n > cap(s.bytes) {
		s.bytes = make([]byte, 0, max(n, 8192))
	}
}

// text returns the string of prefix and number.
func (s *slab) text(prefix string, n uint64) connect.Value {
	s.room(len(prefix) + 20)
	at := len(s.bytes)
	s.bytes = strconv.AppendUint(append(s.bytes, prefix...), n, 10)
	return connect.StringBytes(s.bytes[at:len(s.bytes):len(s.bytes)])
}

// decimal returns the unscaled value of a decimal.
func (s *slab) decimal(unscaled int64) connect.Value {
	s.room(8)
	at := len(s.bytes)
	size := 1
	for size < 8 && unscaled>>(8*size-1) != 0 {
		size++
	}
	for i := size - 1; i >= 0; i-- {
		s.bytes = append(s.bytes, byte(unscaled>>(8*i)))
	}
	return connect.Bytes(s.bytes[at:len(s.bytes):len(s.bytes)])
}
