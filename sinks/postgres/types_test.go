package postgres

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// named returns a schema with a semantic name and parameters in pairs.
func named(k connect.Kind, name string, params ...string) *connect.Schema {
	d := connect.SchemaDef{Kind: k, Name: name, Version: 1, Optional: true}
	for i := 0; i < len(params); i += 2 {
		d.Params = append(d.Params, connect.Param{Key: params[i], Value: params[i+1]})
	}
	return d.MustBuild()
}

func listOf(elem *connect.Schema) *connect.Schema {
	return connect.SchemaDef{Kind: connect.KindArray, Elem: elem.AsOptional(), Optional: true}.MustBuild()
}

func decimal(text string) (*connect.Schema, connect.Value) {
	d, err := connect.ParseDecimal(nil, text)
	if err != nil {
		panic(err)
	}
	return connect.DecimalSchema(len(text)+5, d.Scale), connect.Bytes(d.Unscaled)
}

func variable(text string) (*connect.Schema, connect.Value) {
	d, err := connect.ParseDecimal(nil, text)
	if err != nil {
		panic(err)
	}
	s := structOf(nameVariableDecimal, "scale", connect.Of(connect.KindInt32), "value", connect.Of(connect.KindBytes))
	return s, connect.StructValue(s.StructOf([]connect.Value{connect.Int32(int32(d.Scale)), connect.Bytes(d.Unscaled)}))
}

// typeCase is a value, the type of the column made for it (or given), and what the
// column then holds.
type typeCase struct {
	schema *connect.Schema
	value  connect.Value
	typ    string // With a leading ! the column is made with this type beforehand.
	text   string
}

func numberCases() []typeCase {
	dec, decValue := decimal("-1234567890123456789.10")
	vsd, vsdValue := variable("10.1111")
	return []typeCase{
		{connect.Of(connect.KindInt8), connect.IntOf(connect.KindInt8, -8), "smallint", "-8"},
		{connect.Of(connect.KindInt16), connect.IntOf(connect.KindInt16, 300), "smallint", "300"},
		{connect.Of(connect.KindInt32), connect.Int32(math.MinInt32), "integer", "-2147483648"},
		{connect.Of(connect.KindInt64), connect.Int64(math.MinInt64), "bigint", "-9223372036854775808"},
		{connect.Of(connect.KindFloat32), connect.Float32(0.1), "real", "0.1"},
		{connect.Of(connect.KindFloat64), connect.Float64(5e-324), "double precision", "5e-324"},
		{connect.Of(connect.KindFloat64), connect.Float64(math.Inf(-1)), "double precision", "-Infinity"},
		{connect.Of(connect.KindFloat64), connect.Float64(math.NaN()), "double precision", "NaN"},
		{connect.Of(connect.KindBool), connect.Bool(true), "boolean", "t"},
		{connect.Of(connect.KindBool), connect.Bool(true), "!bit(1)", "1"},
		{connect.Of(connect.KindBool), connect.Bool(false), "!smallint", "0"},
		{dec, decValue, "numeric(28,2)", "-1234567890123456789.10"},
		{connect.DecimalSchema(0, 2), connect.Bytes([]byte{0xff}), "numeric", "-0.01"},
		{vsd, vsdValue, "numeric", "10.1111"},
		{connect.Of(connect.KindString), connect.String("NEGATIVE_INFINITY"), "!numeric", "-Infinity"},
		{connect.Of(connect.KindString), connect.String("NAN"), "!numeric", "NaN"},
		{connect.Of(connect.KindString), connect.String("12.50"), "!numeric(6,2)", "12.50"},
		{connect.Of(connect.KindInt64), connect.Int64(7), "!text", "7"},
	}
}

func textCases() []typeCase {
	raw := []byte{0, 1, 0xfe}
	return []typeCase{
		{connect.Of(connect.KindString), connect.String("a\"b\\c\n'é"), "text", "a\"b\\c\n'é"},
		{connect.Of(connect.KindString), connect.String(""), "text", ""},
		{connect.Of(connect.KindString), connect.String("cone      "), "!character(10)", "cone      "},
		{connect.Of(connect.KindBytes), connect.Bytes(raw), "bytea", `\x0001fe`},
		{connect.Of(connect.KindBytes), connect.Bytes([]byte("abc")), "!text", "abc"},
		{named(connect.KindString, dbzData+"Json"), connect.String(`{"b": 1,  "a": "\u0000"}`), "json", `{"b": 1,  "a": "\u0000"}`},
		{named(connect.KindString, dbzData+"Json"), connect.String(`{"b":1}`), "!jsonb", `{"b": 1}`},
		{named(connect.KindString, dbzData+"Xml"), connect.String(`<a>1</a>`), "xml", `<a>1</a>`},
		{named(connect.KindString, dbzData+"Uuid"), connect.String("6f1d3c2e-1b1a-4b7e-9c59-0a8d6b6c7d11"), "uuid", "6f1d3c2e-1b1a-4b7e-9c59-0a8d6b6c7d11"},
		{named(connect.KindString, dbzData+"Enum", "allowed", "a,b"), connect.String("b"), "text", "b"},
		{named(connect.KindString, dbzData+"Enum", "allowed", "sad,ok"), connect.String("ok"), "!mood", "ok"},
		{named(connect.KindString, dbzData+"Tsvector"), connect.String("'fat':2 'rat':3"), "tsvector", "'fat':2 'rat':3"},
		{named(connect.KindString, dbzData+"Ltree"), connect.String("a.b"), "text", "a.b"},
		{connect.Of(connect.KindString), connect.String("192.168.2.0/24"), "!cidr", "192.168.2.0/24"},
		{connect.Of(connect.KindString), connect.String("[1,5)"), "!int4range", "[1,5)"},
		{connect.Of(connect.KindString), connect.String("kept"), "!short_text", "kept"},
		{named(connect.KindBytes, dbzData+"Bits", "length", "7"), connect.Bytes([]byte{64}), "bit(7)", "1000000"},
		{named(connect.KindBytes, dbzData+"Bits", "length", "7"), connect.Bytes(nil), "bit(7)", "0000000"},
		{named(connect.KindBytes, dbzData+"Bits", "length", "24"), connect.Bytes([]byte{1, 2, 3}), "bit(24)", "000000110000001000000001"},
		{named(connect.KindBytes, dbzData+"Bits", "length", "2147483647"), connect.Bytes([]byte{1, 2, 35, 0xda, 1}), "bit varying", "111011010001000110000001000000001"},
	}
}

func timeCases() []typeCase {
	i32 := func(name string) *connect.Schema { return named(connect.KindInt32, name) }
	i64 := func(name string) *connect.Schema { return named(connect.KindInt64, name) }
	str := func(name string) *connect.Schema { return named(connect.KindString, name) }
	return []typeCase{
		{i32(dbzTime + "Date"), connect.Int32(17109), "date", "2016-11-04"},
		{i32(connect.LogicalDate), connect.Int32(-719528), "date", "0001-01-01 BC"},
		{i32(dbzTime + "Date"), connect.Int32(math.MaxInt32), "date", "infinity"},
		{i32(dbzTime + "Date"), connect.Int32(17109), "!integer", "17109"},
		{i32(dbzTime + "Time"), connect.Int32(49890123), "time(3) without time zone", "13:51:30.123"},
		{i32(connect.LogicalTime), connect.Int32(1), "time(3) without time zone", "00:00:00.001"},
		{i64(dbzTime + "MicroTime"), connect.Int64(86400000000), "time(6) without time zone", "24:00:00"},
		{i64(dbzTime + "NanoTime"), connect.Int64(49890123456000), "time(6) without time zone", "13:51:30.123456"},
		{i64(dbzTime + "Timestamp"), connect.Int64(1478267490123), "timestamp(3) without time zone", "2016-11-04 13:51:30.123"},
		{i64(connect.LogicalTimestamp), connect.Int64(-1), "timestamp(3) without time zone", "1969-12-31 23:59:59.999"},
		{i64(dbzTime + "MicroTimestamp"), connect.Int64(-1047174587392000), "timestamp(6) without time zone", "1936-10-25 22:10:12.608"},
		{i64(dbzTime + "MicroTimestamp"), connect.Int64(601060312290123456), "timestamp(6) without time zone", "21016-11-04 13:51:30.123456"},
		{i64(dbzTime + "MicroTimestamp"), connect.Int64(-210831897600000001), "timestamp(6) without time zone", "4713-12-31 23:59:59.999999 BC"},
		{i64(dbzTime + "MicroTimestamp"), connect.Int64(9223371331199999999), "timestamp(6) without time zone", "294247-01-01 23:59:59.999999"},
		{i64(dbzTime + "MicroTimestamp"), connect.Int64(infinityMicros), "timestamp(6) without time zone", "infinity"},
		{i64(dbzTime + "Timestamp"), connect.Int64(floorDiv(minusInfinityMicros, 1000)), "timestamp(3) without time zone", "-infinity"},
		{i64(dbzTime + "NanoTimestamp"), connect.Int64(1478267490123456000), "timestamp(6) without time zone", "2016-11-04 13:51:30.123456"},
		{i64(dbzTime + "NanoTimestamp"), connect.Int64(math.MaxInt64), "timestamp(6) without time zone", "infinity"},
		{i64(dbzTime + "MicroTimestamp"), connect.Int64(5), "!bigint", "5"},
		{str(dbzTime + "ZonedTimestamp"), connect.String("2016-11-04T11:51:30.123456Z"), "timestamp with time zone", "2016-11-04 11:51:30.123456+00"},
		{str(dbzTime + "ZonedTimestamp"), connect.String("+21016-11-04T06:51:30.000000Z"), "timestamp with time zone", "21016-11-04 06:51:30+00"},
		{str(dbzTime + "ZonedTimestamp"), connect.String("-4713-12-31T23:59:59.999999Z"), "timestamp with time zone", "4714-12-31 23:59:59.999999+00 BC"},
		{str(dbzTime + "ZonedTimestamp"), connect.String("-infinity"), "timestamp with time zone", "-infinity"},
		{str(dbzTime + "ZonedTime"), connect.String("11:51:30.123789Z"), "time with time zone", "11:51:30.123789+00"},
		{str(dbzTime + "IsoDate"), connect.String("2017-09-15Z"), "date", "2017-09-15"},
		{str(dbzTime + "IsoTime"), connect.String("04:05:11.789Z"), "time(6) without time zone", "04:05:11.789"},
		{str(dbzTime + "IsoTimestamp"), connect.String("2019-07-09T02:28:57.123456Z"), "timestamp(6) without time zone", "2019-07-09 02:28:57.123456"},
		{i64(dbzTime + "MicroDuration"), connect.Int64(37091106780000), "interval", "10303:05:06.78"},
		{i64(dbzTime + "MicroDuration"), connect.Int64(-1500000), "interval", "-00:00:01.5"},
		{str(dbzTime + "Interval"), connect.String("P1Y2M3DT4H5M6.78S"), "interval", "1 year 2 mons 3 days 04:05:06.78"},
		{i32(dbzTime + "Year"), connect.Int32(2024), "integer", "2024"},
		structured("StructuredTimestamp", "timestamp(6) without time zone", "2024-02-03 04:05:06.000007", 2024, 2, 3, 4, 5, 6, 7000),
		structured("StructuredTimestamp", "timestamp(6) without time zone", "0002-02-03 04:05:06 BC", -1, 2, 3, 4, 5, 6, 0),
	}
}

func structured(name, typ, text string, parts ...int32) typeCase {
	i32 := connect.Of(connect.KindInt32).AsOptional()
	s := structOf(dbzTime+name, "year", i32, "month", i32, "day", i32, "hour", i32, "minute", i32, "second", i32, "nanos", i32, "specialValue", connect.Of(connect.KindString).AsOptional())
	values := make([]connect.Value, len(s.Fields()))
	for i, p := range parts {
		values[i] = connect.Int32(p)
	}
	return typeCase{s, connect.StructValue(s.StructOf(values)), typ, text}
}

func compoundCases() []typeCase {
	str, i32, f64 := connect.Of(connect.KindString), connect.Of(connect.KindInt32), connect.Of(connect.KindFloat64)
	strs := func(list ...string) connect.Value {
		var elems []connect.Value
		for _, s := range list {
			elems = append(elems, connect.String(s))
		}
		return connect.Array(append(elems, connect.Value{}))
	}
	address := structOf("Address", "city", str, "zip", i32)
	addressValue := connect.StructValue(address.StructOf([]connect.Value{connect.String("Bern"), connect.Int32(3000)}))
	point := structOf(dbzData+"geometry.Point", "x", f64, "y", f64, "wkb", connect.Of(connect.KindBytes).AsOptional(), "srid", i32.AsOptional())
	line := structOf(dbzData+"geometry.Line", "a", f64, "b", f64, "c", f64)
	circle := structOf(dbzData+"geometry.Circle", "center", point, "radius", f64)
	floats := func(s *connect.Schema, list ...float64) *connect.Struct {
		values := make([]connect.Value, len(s.Fields()))
		for i, f := range list {
			values[i] = connect.Float64(f)
		}
		return s.StructOf(values)
	}
	geometry := structOf(dbzData+"geometry.Geometry", "wkb", connect.Of(connect.KindBytes), "srid", i32.AsOptional())
	wkb, _ := hex.DecodeString("0101000000000000000000f03f0000000000000040")
	dec, decValue := decimal("1.50")
	pairs := connect.SchemaDef{Kind: connect.KindMap, Key: str, Elem: str.AsOptional()}.MustBuild()
	vector := connect.SchemaDef{Kind: connect.KindArray, Elem: f64, Name: dbzData + "DoubleVector"}.MustBuild()
	return []typeCase{
		{listOf(str), strs(`a"b\`, "NULL", "", "c,d {}"), "text[]", `{"a\"b\\","NULL","","c,d {}",NULL}`},
		{listOf(i32), connect.Array([]connect.Value{connect.Int32(1), connect.Int32(-2)}), "integer[]", "{1,-2}"},
		{listOf(i32), connect.Array(nil), "integer[]", "{}"},
		{listOf(listOf(i32)), connect.Array([]connect.Value{connect.Array([]connect.Value{connect.Int32(1)}), connect.Array([]connect.Value{connect.Int32(2)})}), "integer[]", "{{1},{2}}"},
		{listOf(connect.Of(connect.KindBytes)), connect.Array([]connect.Value{connect.Bytes([]byte{1})}), "bytea[]", `{"\\x01"}`},
		{listOf(dec), connect.Array([]connect.Value{decValue}), "numeric(9,2)[]", "{1.50}"},
		{listOf(named(connect.KindInt32, dbzTime+"Date")), connect.Array([]connect.Value{connect.Int32(17109)}), "date[]", "{2016-11-04}"},
		{listOf(named(connect.KindString, dbzData+"Uuid")), strs("6f1d3c2e-1b1a-4b7e-9c59-0a8d6b6c7d11"), "uuid[]", "{6f1d3c2e-1b1a-4b7e-9c59-0a8d6b6c7d11,NULL}"},
		{listOf(named(connect.KindString, dbzData+"Json")), strs(`{"a": "x"}`), "json[]", `{"{\"a\": \"x\"}",NULL}`},
		{listOf(str), strs("ok"), "!mood[]", "{ok,NULL}"},
		{listOf(str), strs("b"), "!text", `["b",null]`},
		{listOf(address), connect.Array([]connect.Value{addressValue}), "jsonb", `[{"zip": 3000, "city": "Bern"}]`},
		{address, addressValue, "jsonb", `{"zip": 3000, "city": "Bern"}`},
		{pairs, connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.String("v")}, {Key: connect.String("n")}}), "jsonb", `{"k": "v", "n": null}`},
		{point, connect.StructValue(floats(point, 1, 2.5)), "point", "(1,2.5)"},
		{line, connect.StructValue(floats(line, 1, 2, 3)), "line", "{1,2,3}"},
		{circle, connect.StructValue(circle.StructOf([]connect.Value{connect.StructValue(floats(point, 1, 2)), connect.Float64(3)})), "circle", "<(1,2),3>"},
		{geometry, connect.StructValue(geometry.StructOf([]connect.Value{connect.Bytes(wkb), {}})), "bytea", `\x0101000000000000000000f03f0000000000000040`},
		{vector, connect.Array([]connect.Value{connect.Float64(1), connect.Float64(0.5)}), "double precision[]", "{1,0.5}"},
	}
}

// TestTypes writes a value of each type into a table of its own and reads what the
// server made of it.
func TestTypes(t *testing.T) {
	d := newTarget(t)
	d.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE DOMAIN short_text AS varchar(5)", "SET timezone = 'UTC'")
	run := d.sink(d.config(), false)
	var cases []typeCase
	for _, list := range [][]typeCase{numberCases(), textCases(), timeCases(), compoundCases()} {
		cases = append(cases, list...)
	}
	for i, c := range cases {
		table := fmt.Sprintf("t%d", i)
		typ, given := strings.CutPrefix(c.typ, "!")
		if given {
			d.exec("CREATE TABLE " + table + " (id integer PRIMARY KEY, v " + typ + ")")
		}
		key, row := structOf("k", "id", connect.Of(connect.KindInt32)), structOf("r", "id", connect.Of(connect.KindInt32), "v", c.schema.AsOptional())
		record := func(id int32, v connect.Value) connect.Record {
			return connect.Record{
				KeySchema: key, Key: connect.StructValue(key.StructOf([]connect.Value{connect.Int32(id)})),
				ValueSchema: row, Value: connect.StructValue(row.StructOf([]connect.Value{connect.Int32(id), v})),
			}
		}
		if err := run.TryPut(connecttest.SinkRecords(table, 0, record(1, c.value), record(2, connect.Value{}))...); err != nil {
			t.Errorf("%v %v: %v", c.schema, c.value, err)
			continue
		}
		var made, text string
		err := d.conn.QueryRow(t.Context(), "SELECT format_type(a.atttypid, a.atttypmod), CASE WHEN t.v::text = 'true' THEN 't' ELSE t.v::text END FROM pg_attribute a, "+table+" t WHERE a.attrelid = '"+table+"'::regclass AND attname = 'v' AND t.id = 1").Scan(&made, &text)
		if err != nil {
			t.Errorf("%v %v: %v", c.schema, c.value, err)
			continue
		}
		if made != typ || text != c.text && strings.TrimRight(text, " ") != strings.TrimRight(c.text, " ") {
			t.Errorf("%v %v became %s %q; want %s %q", c.schema, c.value, made, text, typ, c.text)
		}
		d.holds("SELECT count(*) FROM "+table+" WHERE v IS NULL", "(1)")
	}
}

// TestDates compares the calendar with the server's, over the whole of its range.
func TestDates(t *testing.T) {
	d := newTarget(t)
	for days := int64(-2440588); days < 2147483493-5000000; days = days*1 + 1 + (days%97+97)*1013 {
		text, bc := appendDate(nil, days)
		var same bool
		if err := d.conn.QueryRow(t.Context(), "SELECT $1::text::date = '1970-01-01'::date + $2::int", string(text)+bc, days).Scan(&same); err != nil || !same {
			t.Fatalf("day %d is %s%s: %v", days, text, bc, err)
		}
		if days > 5000000 {
			days += 9_999_999
		}
	}
}

// TestTooLong makes sure that nothing is cut to fit: casts would.
func TestTooLong(t *testing.T) {
	s := newShop()
	for _, typ := range []string{"varchar(3)", "character(3)", "name_of_three"} {
		d := newTarget(t)
		d.exec("CREATE DOMAIN name_of_three AS varchar(3)", "CREATE TABLE t (id integer PRIMARY KEY, name "+typ+", qty integer)")
		run := d.sink(d.config(), false)
		err := run.TryPut(connecttest.SinkRecords("t", 0, s.plain(1, "four", 1))...)
		if e := connect.AsError(err); e == nil || e.Code != "pgsink.row" {
			t.Errorf("%s: %v", typ, err)
		}
		d.holds("SELECT * FROM t", "")
	}
}

func FuzzArrayElements(f *testing.F) {
	f.Add(`a"b\`, "")
	f.Fuzz(func(t *testing.T, a, b string) {
		c := &column{elem: &column{base: "text", category: "S"}}
		v := connect.Array([]connect.Value{connect.String(a), connect.String(b)})
		text := string(encoderFor(listOf(connect.Of(connect.KindString)), c)(nil, v))
		unescape := strings.NewReplacer(`\\`, `\`, `\"`, `"`)
		if want := `{"` + a + `","` + b + `"}`; unescape.Replace(text) != want {
			t.Errorf("%q read back is %q; want %q", text, unescape.Replace(text), want)
		}
	})
}
