package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestDefaultsFromTheServer makes a table of defaults: what is constant is in the
// schema, as the server would store it.
func TestDefaultsFromTheServer(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN price AS numeric(8,2)")
	cases := []struct{ column, want, fallback string }{
		{"text DEFAULT 'it''s \\ \"q\"'", `"it's \\ \"q\""`, ""},
		{"varchar(20) DEFAULT 'a::text'", `"a::text"`, ""},
		{"char(4) DEFAULT 'é'", `"é   "`, ""},
		{"text DEFAULT ''", `""`, ""},
		{"int DEFAULT 42", "42", ""},
		{"int DEFAULT -1", "-1", ""},
		{"smallint DEFAULT '7'", "7", ""},
		{"bigint DEFAULT 9223372036854775807", "9223372036854775807", ""},
		{"serial", "0", ""},
		{"bool DEFAULT true", "true", ""},
		{"bool DEFAULT 'no'", "false", ""},
		{"numeric(10,2) DEFAULT 0", "0.00", ""},
		{"numeric(10,2) DEFAULT 1.5", "1.50", ""},
		{"numeric(10,2) DEFAULT -1.5", "-1.50", ""},
		{"price DEFAULT 3", "3.00", ""},
		{"numeric DEFAULT 3", "null", ""}, // A struct cannot be a default.
		{"float8 DEFAULT -1.5", "-1.5", ""},
		{"float8 DEFAULT 'Infinity'", `"Infinity"`, ""},
		{"real DEFAULT 1", "1.0", ""},
		{"money DEFAULT 1", "1.00", ""},
		{"money DEFAULT '$12.34'", "12.34", ""},
		{"date DEFAULT '2016-11-04'", "17109", ""},
		{"timestamp DEFAULT '2016-11-04 13:51:30.123456'", "1478267490123456", ""},
		{"timestamptz DEFAULT '2016-11-04 13:51:30+02'", `"2016-11-04T11:51:30.000000Z"`, ""},
		{"time DEFAULT '13:51'", "49860000000", ""},
		{"timetz DEFAULT '13:51+02'", `"11:51:00Z"`, ""},
		{"interval DEFAULT '1 year'", "31557600000000", ""},
		{"interval DEFAULT '1 day'::interval", "86400000000", ""},
		{"bytea DEFAULT '\\x00ff'", `"AP8="`, ""},
		{"bit DEFAULT B'1'", "true", ""},
		{"bit(9) DEFAULT B'100000001'", `"AQE="`, ""},
		{"varbit DEFAULT B'101'", `"BQ=="`, ""},
		{"uuid DEFAULT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, ""},
		{"json DEFAULT '{\"a\": \"b''c\"}'", `"{\"a\": \"b'c\"}"`, ""},
		{"jsonb DEFAULT '{}'::jsonb", `"{}"`, ""},
		{"mood DEFAULT 'it''s ok'", `"it's ok"`, ""},
		{"inet DEFAULT '1.2.3.4'", `"1.2.3.4"`, ""},
		{"int4range DEFAULT '[1,2]'", `"[1,3)"`, ""},
		{"hstore DEFAULT 'a=>1'", `"{\"a\":\"1\"}"`, ""},
		{"timestamptz DEFAULT now()", "null", `"1970-01-01T00:00:00Z"`},
		{"timestamp DEFAULT CURRENT_TIMESTAMP", "null", "0"},
		{"uuid DEFAULT gen_random_uuid()", "null", `"00000000-0000-0000-0000-000000000000"`},
		{"text DEFAULT upper('a')", "null", `""`},
		{"text DEFAULT 'a' || 'b'", "null", "null"},
		{"text DEFAULT NULL", "null", "null"},
		{"int DEFAULT 1 + 1", "null", "null"},
		{"text DEFAULT CURRENT_USER", "null", `""`},
		{"int[] DEFAULT '{1}'", "null", ""},
	}
	var columns []string
	for i, c := range cases {
		columns = append(columns, "c"+string(rune('a'+i/26))+string(rune('a'+i%26))+" "+c.column)
	}
	d.exec("CREATE TABLE def (" + strings.Join(columns, ", ") + ")")
	for _, mode := range []string{"null", "fallback"} {
		set, err := newSettings(d.config("before.missing.values", mode))
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		db, err := set.open(ctx, "defaults")
		if err != nil {
			t.Fatal(err)
		}
		rel, facts, err := db.describe(ctx, uint32(number([]byte(d.get("SELECT 'def'::regclass::oid::text")))))
		if err != nil {
			t.Fatal(err)
		}
		types := newTypeTable(set.modes, func(oid uint32) (*typeInfo, error) { return db.loadType(ctx, oid) })
		for i, col := range rel.columns {
			cd, err := types.compile(col.typ, col.mod, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := cases[i].want
			if mode == "fallback" && cases[i].fallback != "" {
				want = cases[i].fallback
			}
			expression := facts.columns[col.name].expression
			if got := string(connect.AppendJSON(nil, cd.schema, defaultOf(expression, cd, set.modes))); got != want {
				t.Errorf("%s (%s), %s: %s, want %s", cases[i].column, expression, mode, got, want)
			}
		}
		db.close(ctx)
	}
}

// TestSourceTypesArePropagated looks for the parameters in the schemas of keys and
// values, also where a value is a struct.
func TestSourceTypesArePropagated(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE DOMAIN price AS numeric(8,2)")
	d.exec("CREATE TABLE t (id varchar(7) PRIMARY KEY, i int, n numeric(5,2), vc varchar(128), f real, \"at\" timestamp(3), pt point, dm price, u text)")
	d.exec("COMMENT ON COLUMN t.vc IS 'what it is'")
	d.exec("INSERT INTO t VALUES ('k', 1, 1.5, 'x', 1, '2020-01-01', '(1,2)', 2, 'u')")
	run := d.start(&connecttest.Offsets{}, "column.propagate.source.type", "public\\.t\\.(id|pt|vc|dm), .*\\.t\\.u", "datatype.propagate.source.type", ".+\\.NUMERIC,.+\\.FLOAT4,public\\.t\\.timestamp")
	record := run.Take(1)[0]
	if err := record.ValueSchema.Check(record.Value); err != nil {
		t.Error(err)
	}
	row := record.Value.Struct().Get("after").Struct().Schema()
	for field, want := range map[string]string{
		"i":  "",
		"id": "VARCHAR 7 0 id ", "n": "NUMERIC 5 2 n ", "vc": "VARCHAR 128 0 vc what it is", "f": "FLOAT4 8 8 f ", "at": "TIMESTAMP 26 3 at ",
		"pt": "POINT 2147483647 0 pt ", "dm": "PRICE 8 2 dm ", "u": "TEXT 2147483647 0 u ",
	} {
		if got := sourceParams(row.Fields()[row.Index(field)].Schema); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := sourceParams(record.KeySchema.Fields()[0].Schema); got != "VARCHAR 7 0 id " {
		t.Errorf("the key: %q", got)
	}
}

func sourceParams(s *connect.Schema) string {
	if _, ok := s.Param(paramType); !ok {
		return ""
	}
	var words []string
	for _, key := range []string{paramType, paramLength, paramScale, paramName, paramComment} {
		v, _ := s.Param(key)
		words = append(words, v)
	}
	return strings.Join(words, " ")
}

// TestKnownValues has values whose events are known, some of which other connectors
// get wrong: leading zeros of bits, arrays of bits, unknown types as bytes.
func TestKnownValues(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE EXTENSION hstore; CREATE EXTENSION isn; CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS numeric(5,2); CREATE DOMAIN smaller AS small")
	cases := []struct{ typ, value, want, schema string }{
		{"bit(8)", "00000000", `"AA=="`, "bytes io.debezium.data.Bits?"},
		{"bit(7)", "1000000", `"QA=="`, "bytes io.debezium.data.Bits?"},
		{"bit[]", "{1,0,NULL}", "[true,false,null]", "array?"},
		{"bit(9)[]", "{100000001}", `["AQE="]`, "array?"},
		{"varbit(2)", "00", `""`, "bytes io.debezium.data.Bits?"},
		{"varbit(24)", "000000110000001000000001", `"AQID"`, "bytes io.debezium.data.Bits?"},
		{"smaller", "1.1", "1.10", "bytes org.apache.kafka.connect.data.Decimal?"},
		{"smaller[]", "{1.1}", "[1.10]", "array?"},
		{"numeric(4)", "10.11", "10", "bytes org.apache.kafka.connect.data.Decimal?"},
		{"char(10)[]", "{cone}", `["cone      "]`, "array?"},
		{"hstore[]", `{"key4=>val4,key5=>NULL"}`, `["{\"key4\":\"val4\",\"key5\":null}"]`, "array?"},
		{"isbn", "978-0-393-04002-9", `"0-393-04002-X"`, "string?"},
		{"inet", "192.168.2.0/12", `"192.168.2.0/12"`, "string?"},
		{"oid", "4000000000", "4000000000", "int64?"},
		{"money", "-1234.11", "-1234.11", "bytes org.apache.kafka.connect.data.Decimal?"},
		{"tsquery", "'fat' <-> 'cat'", `"J2ZhdCcgPC0+ICdjYXQn"`, "bytes?"},
		{"pair", "(1,x)", `{"a":1,"b":"x"}`, "struct shop.public.pair?"},
		{"pair[]", `{"(1,x)",NULL}`, `[{"a":1,"b":"x"},null]`, "array?"},
		{"int4multirange", "{[1,2],[5,)}", `["[1,3)","[5,)"]`, "array?"},
		{"int[][]", "{{1,2},{3,NULL}}", "[[1,2],[3,null]]", "array?"},
		{"box", "(3,4),(1,2)", `{"wkb":"AQMAAAABAAAABQAAAAAAAAAAAAhAAAAAAAAAEEAAAAAAAAAIQAAAAAAAAABAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAPA/AAAAAAAAEEAAAAAAAAAIQAAAAAAAABBA","srid":null,"extensions":{"type":"box"}}`, "struct io.debezium.data.geometry.Geometry?"},
		{"path", "[(1,2)]", `{"wkb":"AQIAAAABAAAAAAAAAAAA8D8AAAAAAAAAQA==","srid":null,"extensions":{"type":"path","closed":"false"}}`, "struct io.debezium.data.geometry.Geometry?"},
		{"line", "{1,2,3}", `{"a":1.0,"b":2.0,"c":3.0}`, "struct io.debezium.data.geometry.Line?"},
		{"circle", "<(0,0),2>", `{"center":{"x":0.0,"y":0.0,"wkb":"AQEAAAAAAAAAAAAAAAAAAAAAAAAA","srid":null},"radius":2.0}`, "struct io.debezium.data.geometry.Circle?"},
		{"pg_lsn", "16/B374D848", `"16/B374D848"`, "string?"},
		{"xid8", "4294967296", "4294967296", "int64?"},
	}
	columns, list := "id int PRIMARY KEY", ""
	for i, c := range cases {
		columns += ", c" + string(rune('a'+i)) + " " + c.typ
		list += ", " + quoteLiteral(c.value)
	}
	d.exec("CREATE TABLE t (" + columns + ")")
	d.exec("INSERT INTO t VALUES (1" + list + ")")
	run := d.start(&connecttest.Offsets{}, "include.unknown.datatypes", "true")
	rows := run.Take(1)
	d.exec("INSERT INTO t VALUES (2" + list + ")")
	for _, r := range append(rows, run.Take(1)...) {
		row := r.Value.Struct().Get("after").Struct()
		for i, c := range cases {
			s := row.Schema().Fields()[i+1].Schema
			if got := string(connect.AppendJSON(nil, s, row.At(i+1))); got != c.want || s.String() != c.schema {
				t.Errorf("%s: %s of schema %s, want %s of schema %s", c.typ, got, s, c.want, c.schema)
			}
		}
	}
}
