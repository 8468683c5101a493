package postgres

import (
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// everyType is a table with all types, and rows with their extremes.
const everyType = `
CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS ltree;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN price AS numeric(8,2); CREATE DOMAIN dear AS price CHECK (VALUE > 1);
CREATE TABLE "Every ""Type""" (
	id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8,
	n numeric, n52 numeric(5,2), nneg numeric(5,-2), m money,
	c char(4), vc varchar(10), t text, ci citext, nm name, ch "char", j json, jb jsonb, x xml, u uuid, h hstore, lt ltree, ts tsvector,
	bin bytea, b1 bit, b8 bit(8), b12 bit(12), vb varbit, vb9 varbit(9),
	d date, tm time, tm3 time(3), tmz timetz, st timestamp, st3 timestamp(3), st0 timestamptz(0), stz timestamptz, iv interval,
	ip inet, cd cidr, ma mac_addr, pt point, ir int4range, nr numrange, tr tsrange, tzr tstzrange, dr daterange,
	e mood, dm price, dd dear,
	ai int[], at text[], an numeric(5,1)[], ab bytea[], ae mood[], atz timestamptz[], au uuid[], aj jsonb[], abo bool[], ad price[], ah hstore[], ar int4range[], ast timestamp[],
	gen int GENERATED ALWAYS AS (id * 2) STORED, tq tsquery DEFAULT 'fat & cat', pr pair DEFAULT (1, 'x'), "Ärger & ""Co""" text
);
`

const everyRow = `INSERT INTO "Every ""Type""" (id, b, i2, i4, i8, o, f4, f8, n, n52, nneg, m, c, vc, t, ci, nm, ch, j, jb, x, u, h, lt, ts,
	bin, b1, b8, b12, vb, vb9, d, tm, tm3, tmz, st, st3, st0, stz, iv, ip, cd, ma, pt, ir, nr, tr, tzr, dr, e, dm, dd,
	ai, at, an, ab, ae, atz, au, aj, abo, ad, ah, ar, ast, "Ärger & ""Co""") VALUES
(1+$1, true, -32768, 2147483647, -9223372036854775808, 4000000000, 1.1, 5e-324, 10.1111, -999.99, 1234500, '-1234.11',
	'ab', 'vc', E'line\n"quoted"\\ é', 'CiText', 'a_name', 'x', '{"a": 1.0}', '{"b":[1,2,{"c":null}]}', '<a>b</a>', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'k=>v, "n"=>NULL, "q\"x"=>"\\"', 'Top.Science', 'a fat cat',
	'\x00ff10', B'1', B'00000000', B'000000010001', B'111011010001000110000001000000001', B'00',
	'2016-11-04', '13:51:30.123456', '13:51:30.123', '13:51:30.123789+02', '2016-11-04 13:51:30.123456', '2016-11-04 13:51:30.123', '2016-11-04 13:51:30+02', '2016-11-04 13:51:30.123456+02', 'P1Y2M3DT4H5M6.78S',
	'192.168.2.0/12', '10.1.0.0/16', '08:00:2b:01:02:03', '(1.5,-2)', '[1,10)', '(1.5,)', '["2019-03-31 15:30:00",infinity)', '["2019-03-31 15:30:00+02",)', '[2019-01-01,2019-02-01)',
	'it''s ok', 12.30, 1.50, '{1,NULL,-3}', '{a,"b,c","say \"hi\"",NULL,"NULL",""}', '{1.5,-2.0}', '{"\\x0102",NULL}', '{sad,happy}', '{"2016-11-04 13:51:30+02",infinity}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{"{\"a\": 1}"}', '{t,f,NULL}', '{1.25}', '{"a=>1"}', '{"[1,3)"}', '{"0001-01-01 00:00:00 BC"}', 'x'),
(2+$1, false, 0, 0, 0, 0, 'NaN', '-Infinity', 1e20, 0, 0, '0', '', '', '', '', '', '', '0', '"s"', '', '00000000-0000-0000-0000-000000000000', '', '', '', '', B'0', B'11111111', B'111111111111', B'', B'111111111',
	'infinity', '24:00:00', '00:00:00', '24:00:00+00', '-infinity', '4713-12-31 23:59:59.999 BC', 'infinity', '4714-12-31 23:59:59.999999Z BC', '-1 year -2 mons 3 days -04:05:06.78',
	'::1', '::/0', 'ff:ff:ff:ff:ff:ff', '(0,0)', 'empty', 'empty', 'empty', 'empty', 'empty', 'happy', -1, NULL,
	'{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', ''),
(3+$1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
	NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(4+$1, true, 1, -1, 1, 1, 'Infinity', 'NaN', '123456789012345678901234567890.123456789', 999.99, 99999, '92233720368547758.07', 'abcd', '0123456789', repeat('long ', 4000), 'z', repeat('n', 63), '~', 'null', 'null', '<x/>', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'a=>b', 'a.b.c', 'x:1A',
	decode(repeat('ab', 9000), 'hex'), B'1', B'10000000', B'100000000000', B'1', B'100000000',
	'5874897-12-31', '23:59:59.999999', '23:59:59.999', '00:00:00-12', '294276-12-31 23:59:59.999999', '2300-01-01', '21016-11-04 13:51:30+07', '21016-11-04 13:51:30+07', '1 us',
	'1.2.3.4', '1.2.3.4/32', '00:00:00:00:00:00', '(1e300,-1e-300)', '(,)', '(,)', '(,)', '(,)', '(,)', 'sad', 999999.99, 2,
	'[0:1]={7,8}', '{"{}"}', '{NULL}', '{"\\x"}', '{NULL}', '{-infinity}', '{NULL}', '{null}', '{NULL}', '{NULL}', '{NULL}', '{empty}', '{-infinity}', E'\t\\')`

// TestSnapshotEqualsStream reads every type both ways, in several modes: the same
// values under the same schemas.
func TestSnapshotEqualsStream(t *testing.T) {
	for _, mode := range [][]string{
		{},
		{"decimal.handling.mode", "string", "time.precision.mode", "connect", "binary.handling.mode", "base64", "interval.handling.mode", "string", "hstore.handling.mode", "map"},
		{"decimal.handling.mode", "double", "time.precision.mode", "isostring", "binary.handling.mode", "hex", "before.missing.values", "fallback"},
		{"time.precision.mode", "microseconds", "include.unknown.datatypes", "true"},
	} {
		t.Run(strings.Join(mode, " "), func(t *testing.T) {
			d := newTestDB(t)
			d.exec("ALTER DATABASE " + d.get("SELECT current_database()") + " SET datestyle = 'German'")
			d.exec("ALTER DATABASE " + d.get("SELECT current_database()") + " SET timezone = 'Asia/Kolkata'")
			d.exec("ALTER DATABASE " + d.get("SELECT current_database()") + " SET extra_float_digits = -5")
			d.exec("CREATE DOMAIN mac_addr AS macaddr")
			d.exec(everyType)
			insert(t, d, 0)
			run := d.start(&connecttest.Offsets{}, mode...)
			snapshot := run.Take(4)
			insert(t, d, 10)
			stream := run.Take(4)
			for i := range snapshot {
				compareRows(t, &snapshot[i], &stream[i])
			}
		})
	}
}

func insert(t *testing.T, d *testDB, base int) {
	t.Helper()
	d.exec(strings.ReplaceAll(everyRow, "$1", strconv.Itoa(base)))
}

func compareRows(t *testing.T, a, b *connect.SourceRecord) {
	t.Helper()
	if a.ValueSchema != b.ValueSchema || a.KeySchema != b.KeySchema {
		t.Errorf("schemas differ:\n%s", schemaDiff(a.ValueSchema, b.ValueSchema))
		return
	}
	if err := a.ValueSchema.Check(a.Value); err != nil {
		t.Error(err)
	}
	if err := b.ValueSchema.Check(b.Value); err != nil {
		t.Error(err)
	}
	x, y := a.Value.Struct().Get("after").Struct(), b.Value.Struct().Get("after").Struct()
	for i, f := range x.Schema().Fields() {
		if f.Name != "id" && !x.At(i).Equal(y.At(i)) {
			t.Errorf("%s: the snapshot has %v, the stream %v", f.Name, x.At(i), y.At(i))
		}
	}
}

func schemaDiff(a, b *connect.Schema) string {
	text := ""
	x, y := a.Fields()[1].Schema.Fields(), b.Fields()[1].Schema.Fields()
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			text += x[i].Name + " " + x[i].Schema.String() + " / " + y[i].Name + " " + y[i].Schema.String() + "\n"
		}
	}
	return text
}

// TestValuesFromTheServer compares some columns with what they must be, so that
// both ways being wrong alike is noticed.
func TestValuesFromTheServer(t *testing.T) {
	d := newTestDB(t)
	d.exec("CREATE DOMAIN mac_addr AS macaddr")
	d.exec(everyType)
	insert(t, d, 0)
	rows := d.start(&connecttest.Offsets{}).Take(4)
	if rows[0].Topic != "shop.public.Every__Type_" {
		t.Error(rows[0].Topic)
	}
	for row, fields := range map[int]map[string]string{
		0: {
			"b": "true", "i8": "-9223372036854775808", "o": "4000000000", "f4": "1.1", "f8": "5e-324", "n": `{"scale":4,"value":"AYr3"}`, "n52": "-999.99",
			"nneg": "1234500", "m": "-1234.11", "c": `"ab  "`, "t": `"line\n\"quoted\"\\ é"`, "j": `"{\"a\": 1.0}"`, "jb": `"{\"b\": [1, 2, {\"c\": null}]}"`,
			"bin": `"AP8Q"`, "b1": "true", "b8": `"AA=="`, "b12": `"EQA="`, "vb": `"AQIj2gE="`, "d": "17109", "tm": "49890123456", "tm3": "49890123",
			"tmz": `"11:51:30.123789Z"`, "st": "1478267490123456", "st3": "1478267490123", "stz": `"2016-11-04T11:51:30.123456Z"`, "st0": `"2016-11-04T11:51:30Z"`, "iv": "37091106780000",
			"ip": `"192.168.2.0/12"`, "tzr": `"[\"2019-03-31 13:30:00+00\",)"`, "e": `"it's ok"`, "dm": "12.30", "dd": "1.50", "ai": "[1,null,-3]", "ab": `["AQI=",null]`,
			"atz": `["2016-11-04T11:51:30.000000Z","infinity"]`, "ast": "[-62167219200000000]", `Ärger & "Co"`: `"x"`, "ad": "[1.25]",
		},
		1: {
			"f4": `"NaN"`, "f8": `"-Infinity"`, "vb": `""`, "d": "2147483647", "tm": "86400000000", "tmz": `"24:00:00Z"`, "st": "-9223372036832400000",
			"stz": `"-4713-12-31T23:59:59.999999Z"`, "ai": "[]", "lt": `""`,
		},
		2: {"b": "null", "n": "null", "ai": "null"},
		3: {"stz": `"+21016-11-04T06:51:30.000000Z"`, "at": `["{}"]`, "d": "2145042905", "iv": "1", "ai": "[7,8]"},
	} {
		st := rows[row].Value.Struct().Get("after").Struct()
		for name, want := range fields {
			i := st.Schema().Index(name)
			if i < 0 {
				t.Errorf("row %d has no field %s", row, name)
				continue
			}
			if got := string(connect.AppendJSON(nil, st.Schema().Fields()[i].Schema, st.At(i))); got != want {
				t.Errorf("row %d, %s: %s, want %s", row, name, got, want)
			}
		}
		for _, name := range []string{"gen", "tq"} {
			if st.Schema().Index(name) >= 0 {
				t.Errorf("%s, which is generated or of an unknown type, is in the row", name)
			}
		}
	}
}
