package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// formCase is a type with some of its values: the ends, the special ones, and an
// expression that gives others by chance.
type formCase struct {
	typ    string
	values []string
	random string
	// textOnly: the server has no binary form of it, or none that is read here.
	textOnly bool
}

func formCases() []formCase {
	return slices.Concat(scalarForms(), textForms(), nestedForms())
}

func scalarForms() []formCase {
	return []formCase{
		{typ: "bool", values: []string{"t", "f"}, random: "random() < 0.5"},
		{typ: "int2", values: []string{"-32768", "32767", "0"}, random: "(random()*65535)::int - 32768"},
		{typ: "int4", values: []string{"-2147483648", "2147483647", "0", "-1"}, random: "(random()*4294967295)::bigint - 2147483648"},
		{typ: "int8", values: []string{"-9223372036854775808", "9223372036854775807", "0", "-1", "1000000000000000000"}, random: "((random()-0.5)*1e18)::bigint"},
		{typ: "oid", values: []string{"0", "4294967295", "4000000000"}, random: "(random()*4294967295)::bigint::oid"},
		{typ: "xid", values: []string{"0", "4294967295"}},
		{typ: "cid", values: []string{"0", "4294967295"}},
		{typ: "xid8", values: []string{"0", "9223372036854775807", "4294967296", "18446744073709551615"}},
		{typ: "float4", values: []string{"NaN", "Infinity", "-Infinity", "0", "-0", "1.1", "3.4028235e38", "1e-45", "16777217", "123456.7", "1e6"}, random: "(random()*2e9)::float4"},
		{typ: "float8", values: []string{"NaN", "Infinity", "-Infinity", "0", "-0", "1.1", "1.7976931348623157e308", "5e-324", "1e15", "123456789012345.6"}, random: "random()*1e9"},
		{typ: "numeric", values: numericValues("0", "0.00", "1", "-1", "100.00", "1e20", "-1e-20", "0.1", "0.0001", "0.00010", "9999.9999", "10000", "10000.0000", "1e-16383", "123456789012345678901234567890.123456789", "99999999999999999999", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1e1000", "12345678.90123456", "999999999999999999", "0.999999999999999999"), random: "(random()*1e6 - 5e5)::numeric * power(10, (random()*30)::int - 15)::numeric"},
		{typ: "numeric(5,2)", values: numericNaNs("0", "-999.99", "999.99", "0.5", "12.3"), random: "round((random()*1998-999)::numeric, 2)"},
		{typ: "numeric(18,0)", values: numericNaNs("0", "999999999999999999", "-999999999999999999")},
		{typ: "numeric(38,10)", values: numericNaNs("0", "9999999999999999999999999999.9999999999", "-0.0000000001"), random: "(random()*1e12)::numeric"},
		{typ: "numeric(20,18)", values: numericNaNs("0", "0.000000000000000001", "99.999999999999999999")},
		{typ: "numeric(5,-2)", values: numericNaNs("0", "1234567", "-99", "50", "9999900")},
		{typ: "numeric(2,5)", values: numericNaNs("0", "0.00099", "-0.00001")},
		{typ: "money", values: []string{"0", "-92233720368547758.08", "92233720368547758.07", "-1234.11", "0.01"}, random: "(random()*1e6)::numeric::money"},
		{typ: "text", values: []string{"", "é", "a\nb", "NULL", `"q"\`}, random: "md5(random()::text)"},
		{typ: "varchar(10)", values: []string{"", "é", "0123456789"}, random: "left(md5(random()::text), (random()*10)::int)"},
		{typ: "char(4)", values: []string{"", "ab", "é"}},
		{typ: "name", values: []string{"", "a_name", strings.Repeat("n", 63)}},
		{typ: `"char"`, values: []string{"", "x", "~"}, random: `((random()*127)::int)::"char"`},
		{typ: "json", values: []string{`{"a": 1.0,  "b":"\ud800"}`, "null", "[]", `"\u0000"`}},
		{typ: "jsonb", values: []string{`{"b":[1,2,{"c":null}]}`, "null", "1e400", `"s"`}},
		{typ: "xml", values: []string{"", "<a>b</a>", `<?xml version="1.0" encoding="UTF-8"?><a/>`, `<?xml version="1.1" standalone="yes"?><a>é</a>`, "<!-- c --> t"}},
		{typ: "uuid", values: []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}, random: "gen_random_uuid()"},
		{typ: "bytea", values: []string{`\x`, `\x00ff10`}, random: "decode(md5(random()::text), 'hex')"},
		{typ: "bit", values: []string{"0", "1"}},
		{typ: "bit(7)", values: []string{"0000000", "1000000", "0000001", "1111111"}},
		{typ: "bit(8)", values: []string{"00000000", "10000000", "11111111"}},
		{typ: "bit(12)", values: []string{"000000000000", "000000010001", "100000000000"}, random: "(random()*4095)::int::bit(12)"},
		{typ: "bit(64)", values: []string{strings.Repeat("10", 32)}, random: "(random()*1e18)::bigint::bit(64)"},
		{typ: "varbit", values: []string{"", "0", "1", "00", "01", "000000000", "111011010001000110000001000000001", "0000000010000000"}, random: "substring((random()*1e18)::bigint::bit(64) for (random()*64)::int)"},
		{typ: "varbit(1)", values: []string{"", "0", "1"}},
		{typ: "varbit(24)", values: []string{"", "000000110000001000000001", "1"}},
		{typ: "date", values: []string{"2000-01-01", "1970-01-01", "4714-11-24 BC", "0001-01-01 BC", "0001-01-01", "5874897-12-31", "infinity", "-infinity", "1900-02-28", "2000-02-29"}, random: "'epoch'::date + (random()*200000-100000)::int"},
		{typ: "time", values: []string{"00:00:00", "24:00:00", "23:59:59.999999", "13:51:30.1"}, random: "(random()*86399999999 * interval '1 us')::time"},
		{typ: "time(3)", values: []string{"00:00:00", "24:00:00", "23:59:59.999", "13:51:30.123"}},
		{typ: "time(0)", values: []string{"13:51:30"}},
		{typ: "timetz", values: []string{"00:00:00+00", "24:00:00+00", "24:00:00+02", "13:51:30.123789+02", "00:00:00+15:59:59", "23:59:59.999999-15:59", "01:00:00+05:30"}},
		{typ: "timetz(3)", values: []string{"13:51:30.123789+02"}},
		{typ: "timestamp", values: timestamps(""), random: "'2000-01-01'::timestamp + random() * interval '100 years' - interval '80 years'"},
		{typ: "timestamp(0)", values: timestamps(""), random: "'2000-01-01'::timestamp + random() * interval '100 years' - interval '80 years'"},
		{typ: "timestamp(3)", values: timestamps("")},
		{typ: "timestamp(6)", values: timestamps("")},
		{typ: "timestamptz", values: timestamps("+02"), random: "'2000-01-01'::timestamptz + random() * interval '100 years' - interval '80 years'"},
		{typ: "timestamptz(0)", values: timestamps("+02")},
		{typ: "timestamptz(3)", values: timestamps("+02")},
		{typ: "interval", values: []string{"0", "P1Y2M3DT4H5M6.78S", "1 year", "-1 year -2 mons 3 days -04:05:06.78", "1 us", "-1 us", "178000000 years", "-178000000 years", "2147483647 days", "-2147483648 mons",
			"2562047788:00:54.775807", "-2562047788:00:54.775807", "292000 years 100 days", "1 mon -1 day", "00:59:59.999999"}, random: "make_interval(months => (random()*1000-500)::int, days => (random()*1000-500)::int, secs => random()*1e6-5e5)"},
		{typ: "interval(3)", values: []string{"1.23456 s"}},
	}
}

func textForms() []formCase {
	return []formCase{
		{typ: "citext", values: []string{"", "CiText", "é"}},
		{typ: "isbn", values: []string{"978-0-393-04002-9"}, textOnly: true},
		{typ: "jsonpath", values: []string{"$.a[*] ? (@ > 1)"}},
		{typ: "refcursor", values: []string{"c"}},
		{typ: "ltree", values: []string{"", "Top.Science.A_1"}},
		{typ: "lquery", values: []string{"Top.*{1,2}.a|b"}},
		{typ: "ltxtquery", values: []string{"a & b*"}},
		{typ: "hstore", values: []string{"", `k=>v, "n"=>NULL, "q\"x"=>"\\", "é"=>""`, `"NULL"=>"NULL"`}, random: "hstore(chr(32 + (random()*94)::int), chr(32 + (random()*94)::int)) || hstore('n', null)"},
		{typ: "tsvector", values: []string{"", "a fat cat", "x:1A,2B,3C,4 y", `'it''s' 'back\\slash' 'a b':16383`}, random: "to_tsvector('simple', md5(random()::text) || ' ' || md5(random()::text))"},
		{typ: "pg_lsn", values: []string{"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"}, random: "'0/0'::pg_lsn + (random()*1e15)::numeric(18)"},
		{typ: "tid", values: []string{"(0,0)", "(4294967295,65535)"}},
		{typ: "inet", values: []string{"192.168.2.0/12", "1.2.3.4", "0.0.0.0/0", "::1", "::", "::/0", "::ffff:1.2.3.4", "::1.2.3.4", "::ffff:0:1.2.3.4", "2001:db8::1:0:0:1", "1:0:0:2:0:0:0:3", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:0:8", "fe80::/10", "::1:2", "0:0:0:0:0:0:1:0", "1::", "0:0:1::"},
			random: "(array_to_string(array(select to_hex(case when random() < 0.5 then 0 else (random()*65535)::int end) from generate_series(1, 8 + g*0)), ':'))::inet"},
		{typ: "cidr", values: []string{"10.1.0.0/16", "1.2.3.4/32", "::/0", "2001:db8::/32", "::1/128"}},
		{typ: "macaddr", values: []string{"00:00:00:00:00:00", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"}, random: "left(md5(random()::text), 12)::macaddr"},
		{typ: "macaddr8", values: []string{"08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff"}},
		{typ: "point", values: []string{"(1.5,-2)", "(NaN,Infinity)", "(-0,1e-300)"}, random: "point(random(), random()*1e9)"},
		{typ: "box", values: []string{"(1,2),(3,4)", "(0,0),(0,0)"}, random: "box(point(random(), random()), point(random(), random()))"},
		{typ: "lseg", values: []string{"[(1,2),(3,4)]"}},
		{typ: "line", values: []string{"{1,2,3}", "{0,-1,5e-3}"}},
		{typ: "path", values: []string{"[(1,2),(3,4),(5,6)]", "((1,2),(3,4))", "[(0,0)]"}},
		{typ: "polygon", values: []string{"((1,2),(3,4),(5,0))", "((1,2),(3,4),(1,2))", "((0,0))"}, random: "polygon(3 + (random()*20)::int, circle(point(random(), random()), random()))"},
		{typ: "circle", values: []string{"<(1,2),3>", "<(0,0),0>"}, random: "circle(point(random(), random()), random())"},
	}
}

// nestedForms are types made of others.
func nestedForms() []formCase {
	ranges := []string{"empty", "[1,10)", "(,)", "(1,)", "(,5)", "[-3,-3]"}
	when := []string{"empty", "(,)", `["2019-03-31 15:30:00",infinity)`, `["0044-03-15 12:00:00 BC","2019-03-31 15:30:00.123456"]`, "(-infinity,2000-01-01)"}
	return []formCase{
		{typ: "int4range", values: ranges, random: "int4range((random()*100)::int, 100 + (random()*100)::int, '(]')"},
		{typ: "int8range", values: append(ranges, "[-9223372036854775808,9223372036854775807)"), random: "int8range((random()*1e15)::int8, 1e16::int8 + (random()*1e15)::int8, '[]')"},
		{typ: "numrange", values: append(ranges, "(1.50,2e20]"), random: "numrange((random()*100)::numeric, (100 + random()*100)::numeric, '()')"},
		{typ: "tsrange", values: when, random: "tsrange('2000-01-01'::timestamp + random() * interval '9 years', '2010-01-01'::timestamp + random() * interval '9 years')"},
		{typ: "tstzrange", values: append(when, `["2019-03-31 15:30:00+05:30",)`)},
		{typ: "daterange", values: []string{"empty", "(,)", "[2019-01-01,2019-02-01)", "[4714-11-24 BC,5874897-12-30]", "[-infinity,infinity]"}},
		{typ: "floatrange", values: append(ranges, "[1e15,1e300]", "[1e-5,1e14]", "[0.0001,123456789012345]", "[-Infinity,NaN]", "[-0,0.1]")},
		{typ: "realrange", values: append(ranges, "[1e6,1e30]", "[1e5,123456.7]", "[1e-5,0.0001]")},
		{typ: "textrange", values: []string{"empty", `["","a b")`, `[a,"b,c"]`, `["say \"\"hi\\",z]`, `("(",")")`}, random: "textrange(chr(33 + (random()*60)::int) || 'a', chr(98 + (random()*20)::int) || chr(32 + (random()*90)::int))"},
		{typ: "clockrange", values: []string{"[10:00,24:00]", "[00:00:00.5,)"}},
		{typ: "addressrange", values: []string{"[1.2.3.4/8,1.2.3.5]", "[::1,)"}},
		{typ: "uuidrange", values: []string{"[a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,)"}},
		{typ: "moodrange", values: []string{"[sad,\"it's ok\"]"}},
		{typ: "spanrange", values: []string{"[1 day,)"}, textOnly: true},
		{typ: "int4multirange", values: []string{"{}", "{[1,3),[5,7)}", "{(,1),[5,)}", "{[1,2)}"}},
		{typ: "tstzmultirange", values: []string{"{}", "{[2019-01-01,2019-01-02),[2020-01-01,)}"}},
		{typ: "textmultirange", values: []string{`{["a,]","b\\)"],("x y",)}`}},
		{typ: "nummultirange", values: []string{"{[1.5,2.5]}"}},
		{typ: "mood", values: []string{"sad", "it's ok"}},
		{typ: "price", values: []string{"1.20", "-99.99"}},
		{typ: "dear", values: []string{"2.50"}},
		{typ: "pair", values: []string{"(1,x)", "(,)", `(2,"")`, `(3,"a ""quoted"" \\ , ) thing")`, `(4,"(")`}, random: "ROW(g, chr(32 + (random()*94)::int) || chr(32 + (random()*94)::int))::pair"},
		{typ: "nest", values: []string{`("(1,x)","{""(2,y)"",NULL}",2016-11-04,1.50,"{{1,2},{3,4}}")`, "(,,,,)", `("(,)",{},infinity,,{})`}},
		{typ: "lonely", values: []string{"()", "(1)"}},
		{typ: "hollow", values: []string{"()"}},
		{typ: "rowtype", values: []string{`(7,"a b")`}},
		{typ: "bool[]", values: []string{"{}", "{t,f,NULL}"}},
		{typ: "int2[]", values: []string{"{}", "{1,NULL,-3}", "[0:1]={7,8}", "[-5:-5]={1}"}},
		{typ: "int4[]", values: []string{"{}", "{1,NULL,-3}"}, random: "array(select (random()*1000)::int from generate_series(1, g % 7))"},
		{typ: "int4[][]", values: []string{"{}", "{{1,2},{3,NULL}}", "[0:1][2:3]={{1,2},{3,4}}", "{{1}}"}},
		{typ: "text[][][]", values: []string{"{}", `{{{a,"b,c"},{NULL,"NULL"}},{{"","{"},{"}","\"\\"}}}`}},
		{typ: "int8[]", values: []string{"{9223372036854775807}"}},
		{typ: "oid[]", values: []string{"{4000000000}"}},
		{typ: "float4[]", values: []string{"{1.1,NaN,-Infinity}"}},
		{typ: "float8[]", values: []string{"{1.1,NaN,-Infinity}"}, random: "array(select random()*1e9 from generate_series(1, g % 5))"},
		{typ: "numeric[]", values: []string{"{1.10,NULL,1e30}"}},
		{typ: "numeric(5,1)[]", values: []string{"{1.5,-2.0}"}},
		{typ: "money[]", values: []string{"{1234.11,NULL,-1}"}},
		{typ: "text[]", values: []string{"{}", `{a,"b,c","say \"hi\"",NULL,"NULL",""," x ","{}"}`}, random: "array(select case when random() < 0.1 then null else chr(32 + (random()*94)::int) || chr(32 + (random()*94)::int) end from generate_series(1, g % 7))"},
		{typ: "char(4)[]", values: []string{"{ab,NULL}"}},
		{typ: "varchar(4)[]", values: []string{"{ab,NULL}"}},
		{typ: "name[]", values: []string{"{ab,NULL}"}},
		{typ: `"char"[]`, values: []string{"{a,NULL}"}},
		{typ: "citext[]", values: []string{"{Ab,NULL}"}},
		{typ: "xml[]", values: []string{`{"<a x=\"1\"/>"}`}},
		{typ: "json[]", values: []string{`{"{\"a\": 1}"}`}},
		{typ: "jsonb[]", values: []string{`{"{\"a\": 1}",NULL,null}`}},
		{typ: "uuid[]", values: []string{"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"}},
		{typ: "bytea[]", values: []string{`{"\\x0102",NULL}`}},
		{typ: "bit[]", values: []string{"{0,1}"}},
		{typ: "bit(3)[]", values: []string{"{101,NULL}"}},
		{typ: "varbit[]", values: []string{`{1010,""}`}},
		{typ: "date[]", values: []string{"{2016-11-04,infinity}"}},
		{typ: "time[]", values: []string{"{24:00:00}"}},
		{typ: "timetz[]", values: []string{"{24:00:00+02}"}},
		{typ: "timestamp[]", values: []string{`{"0001-01-01 00:00:00 BC",-infinity}`}},
		{typ: "timestamptz[]", values: []string{`{"2016-11-04 13:51:30+02",infinity}`}},
		{typ: "interval[]", values: []string{`{"1 year 2 days",-00:00:01}`}},
		{typ: "inet[]", values: []string{"{1.2.3.4/8,::1}"}},
		{typ: "macaddr[]", values: []string{"{08:00:2b:01:02:03}"}},
		{typ: "int4range[]", values: []string{`{"[1,3)",empty}`}},
		{typ: "int4multirange[]", values: []string{`{"{[1,3),[5,7)}"}`}},
		{typ: "mood[]", values: []string{`{sad,"it's ok",NULL}`}},
		{typ: "price[]", values: []string{"{1.25,NULL}"}},
		{typ: "pair[]", values: []string{`{"(1,\"a b\")",NULL,"(,)"}`}},
		{typ: "grid", values: []string{"{{1,2},{3,4}}"}},
		{typ: "grids", values: []string{`{"{{1,2},{3,4}}",NULL}`}},
		{typ: "hstore[]", values: []string{`{"a=>1",NULL}`}},
		{typ: "ltree[]", values: []string{"{a.b}"}},
		{typ: "isbn[]", values: []string{"{978-0-393-04002-9}"}, textOnly: true},
		{typ: "point[]", values: []string{`{"(1,2)",NULL}`}},
		{typ: "box[]", values: []string{"{(3,4),(1,2);(1,1),(0,0)}"}},
		{typ: "circle[]", values: []string{`{"<(1,2),3>"}`}},
		{typ: "tsvector[]", values: []string{`{"'a':1"}`}},
		{typ: "pg_lsn[]", values: []string{"{0/1}"}},
	}
}

// formTypes are the types that the cases speak of.
const formTypes = `
CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS ltree; CREATE EXTENSION IF NOT EXISTS isn;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN price AS numeric(8,2); CREATE DOMAIN dear AS price CHECK (VALUE > 1);
CREATE DOMAIN grid AS int[][]; CREATE DOMAIN grids AS grid[];
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nest AS (one pair, many pair[], "day" date, cost price, cells int[][]);
CREATE TYPE lonely AS (a int); CREATE TYPE hollow AS (); CREATE TABLE rowtype (id int PRIMARY KEY, gone int, t text); ALTER TABLE rowtype DROP COLUMN gone;
CREATE TYPE floatrange AS RANGE (SUBTYPE = float8); CREATE TYPE realrange AS RANGE (SUBTYPE = float4);
CREATE TYPE textrange AS RANGE (SUBTYPE = text, MULTIRANGE_TYPE_NAME = textmultirange, COLLATION = "C");
CREATE TYPE clockrange AS RANGE (SUBTYPE = time); CREATE TYPE addressrange AS RANGE (SUBTYPE = inet);
CREATE TYPE uuidrange AS RANGE (SUBTYPE = uuid); CREATE TYPE moodrange AS RANGE (SUBTYPE = mood); CREATE TYPE spanrange AS RANGE (SUBTYPE = interval);
`

func numericValues(values ...string) []string {
	return append(numericNaNsInf(values...), strings.Repeat("9", 131072)+"."+strings.Repeat("9", 16383))
}

func numericNaNsInf(values ...string) []string { return append(values, "NaN", "Infinity", "-Infinity") }

func numericNaNs(values ...string) []string { return append(values, "NaN") }

func timestamps(zone string) []string {
	list := []string{"infinity", "-infinity"}
	for _, t := range []string{"2016-11-04 13:51:30.123456", "1936-10-25 22:10:12.608", "1969-12-31 23:59:59.999999", "2000-01-01 00:00:00", "21016-11-04 13:51:30.123456", "294247-01-01 23:59:59.999999",
		"294247-01-10 04:00:54.775807", "294247-01-10 04:00:54.775808", "294276-12-31 23:59:59", "4713-12-31 23:59:59.999999 BC", "4713-01-01 00:00:00 BC", "0001-01-01 00:00:00 BC", "1677-09-21 00:12:44", "2262-04-11 23:47:17"} {
		body, bc := strings.CutSuffix(t, " BC")
		if t = body + zone; bc {
			t += " BC"
		}
		list = append(list, t)
	}
	return list
}

// formModes are the settings under which the forms are compared.
func formModes() [][]string {
	return [][]string{
		{},
		{"decimal.handling.mode", "double", "time.precision.mode", "adaptive_time_microseconds", "binary.handling.mode", "base64", "interval.handling.mode", "string", "hstore.handling.mode", "map"},
		{"decimal.handling.mode", "string", "time.precision.mode", "connect", "binary.handling.mode", "base64-url-safe"},
		{"time.precision.mode", "isostring", "decimal.handling.mode", "string", "interval.handling.mode", "string", "hstore.handling.mode", "map"},
		{"time.precision.mode", "microseconds", "binary.handling.mode", "hex"},
		{"time.precision.mode", "nanoseconds"},
		{"time.precision.mode", "structured"},
	}
}

// TestBothFormsAreOneValue has the server send every type in both forms: they are
// read as one value, which fits the schema, or both cannot be read. In two modes that
// lose nothing the values go back as SQL, and the server must find in them what it has
// stored.
func TestBothFormsAreOneValue(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(formTypes)
	if asked := bothForms(t, d, formCases()); asked < 3000 {
		t.Errorf("only %d values were held against the server's", asked)
	}
}

// TestFormsOfNewerServers has what younger versions can send and older ones cannot.
func TestFormsOfNewerServers(t *testing.T) {
	t.Parallel()
	bothForms(t, openTestDB(t, devstack.TestPostgresVersion(t, 18)), []formCase{
		{typ: "interval", values: []string{"infinity", "-infinity", "1 day"}},
		{typ: "interval[]", values: []string{"{infinity,-infinity}"}},
		{typ: `"char"`, values: []string{`\377`, `\200`, "x"}},
		{typ: "timestamptz", values: timestamps("+02")},
		{typ: "numeric(5,-2)", values: []string{"1234567", "NaN"}},
		{typ: "tstzmultirange", values: []string{"{[2019-01-01,infinity)}"}},
		{typ: "tsvector", values: []string{"x:1A,2B,3C,4 y"}},
		{typ: "pg_lsn", values: []string{"16/B374D848"}},
	})
}

// bothForms compares the forms of all values in every mode and returns how many were
// held against the server's.
func bothForms(t *testing.T, d *testDB, cases []formCase) (asked int) {
	t.Helper()
	set, err := newSettings(d.config())
	if err != nil {
		t.Fatal(err)
	}
	db, err := set.open(context.Background(), "forms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.close(context.Background()) })
	for i, c := range cases {
		rel, facts, texts, binaries := formRows(t, db, fmt.Sprintf("forms%d", i), c)
		for k, mode := range formModes() {
			set, err := newSettings(d.config(mode...))
			if err != nil {
				t.Fatal(err)
			}
			types := newTypeTable(set.modes, func(oid uint32) (*typeInfo, error) { return db.loadType(context.Background(), oid) })
			cd, err := types.compile(rel.columns[0].typ, rel.columns[0].mod, facts.columns["v"].dims)
			if err != nil {
				t.Errorf("%s: %v", c.typ, err)
				break
			}
			if (cd.binary == nil) != c.textOnly {
				t.Errorf("%s: its binary form is understood: %v", c.typ, cd.binary != nil)
				break
			}
			if cd.binary != nil {
				compareForms(t, c.typ+" "+strings.Join(mode, " "), cd, texts, binaries)
			}
			if k == 0 || k == 3 {
				asked += askServer(t, db, c.typ, cd, texts)
			}
		}
	}
	return asked
}

// formRows makes a table of the values and reads it in both forms.
func formRows(t *testing.T, db *db, table string, c formCase) (rel *relation, facts *tableFacts, texts, binaries [][][]byte) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", c.typ, err)
		}
	}
	must(db.exec(ctx, "CREATE TABLE "+table+" (v "+c.typ+")"))
	must(db.exec(ctx, "INSERT INTO "+table+" VALUES (NULL)"))
	for _, v := range c.values {
		must(db.exec(ctx, "INSERT INTO "+table+" VALUES ("+quoteLiteral(v)+")"))
	}
	if c.random != "" {
		must(db.exec(ctx, "INSERT INTO "+table+" SELECT "+c.random+" FROM generate_series(1, 50) g"))
	}
	oid, err := db.row(ctx, "SELECT "+quoteLiteral(table)+"::regclass::oid")
	must(err)
	rel, facts, err = db.describe(ctx, uint32(number(oid[0])))
	must(err)
	read := func(format int16) [][][]byte {
		r := db.ExecParams(ctx, "SELECT v FROM "+table+" ORDER BY ctid", nil, nil, nil, []int16{format}).Read()
		must(r.Err)
		return r.Rows
	}
	texts = read(0)
	if !c.textOnly {
		binaries = read(1)
	}
	return rel, facts, texts, binaries
}

func compareForms(t *testing.T, name string, cd codec, texts, binaries [][][]byte) {
	t.Helper()
	a := &arena{}
	for i := range texts {
		if (texts[i][0] == nil) != (binaries[i][0] == nil) {
			t.Fatal("the rows came in another order")
		}
		if texts[i][0] == nil {
			continue
		}
		short := string(texts[i][0])
		if len(short) > 100 {
			short = short[:100]
		}
		v, err := cd.decode(a, texts[i][0])
		w, errBinary := cd.binary(a, binaries[i][0])
		if (err == nil) != (errBinary == nil) {
			t.Errorf("%s %q: from the text %v, from the binary form %v", name, short, err, errBinary)
			continue
		}
		if err != nil {
			continue
		}
		if !v.Equal(w) {
			t.Errorf("%s %q: from the text %v, from the binary form %v", name, short, v, w)
		}
		if err := cd.schema.Check(w); err != nil {
			t.Errorf("%s %q: %v", name, short, err)
		}
	}
}
