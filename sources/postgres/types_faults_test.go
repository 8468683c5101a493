package postgres

import (
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestConversionFaults has a value of each kind that no schema holds, in both phases
// and in the three modes: it is null, or the task fails with the place and the cause.
func TestConversionFaults(t *testing.T) {
	t.Parallel()
	values := map[string]struct{ typ, value string }{
		"late":    {"timestamp", "294276-12-31 23:59:59.999999"},
		"nan":     {"numeric(10,2)", "NaN"},
		"endless": {"numeric", "-Infinity"},
		"deep":    {"int[]", "{{1,2},{3,4}}"},
		"flat":    {"int[][]", "{1,2}"},
		"long":    {"interval", "178000000 years"},
	}
	d := newTestDB(t)
	names := []string{"late", "nan", "endless", "deep", "flat", "long"}
	columns, list := "id serial PRIMARY KEY", ""
	for _, name := range names {
		columns += ", " + name + " " + values[name].typ + " NOT NULL"
		list += ", " + quoteLiteral(values[name].value)
	}
	d.exec("CREATE TABLE t (" + columns + ")")
	insert := "INSERT INTO t (" + strings.Join(names, ", ") + ") VALUES (" + list[2:] + ")"
	d.exec(insert)
	for _, mode := range []string{"warn", "skip"} {
		run := d.start(&connecttest.Offsets{}, "event.converting.failure.handling.mode", mode, "slot.name", "slot_faults_"+mode)
		rows := run.Take(1)
		d.exec(insert)
		rows = append(rows, run.Take(1)...)
		for _, r := range rows {
			if err := r.ValueSchema.Check(r.Value); err != nil {
				t.Error(err)
			}
			for _, name := range names {
				if v := after(&r, name); !v.IsNull() {
					t.Errorf("%s, %s: %v", mode, name, v)
				}
			}
		}
		run.Stop()
		d.exec("DELETE FROM t WHERE id > 1")
	}
	for _, name := range names {
		offsets := &connecttest.Offsets{}
		err := failure(t, d.config("event.converting.failure.handling.mode", "fail", "column.include.list", "public\\.t\\.(id|"+name+")", "slot.name", "slot_faults_"+name), offsets)
		if err.Code != "pg.value" || !strings.Contains(err.Place, name) || err.Mend == "" || err.Cause == nil {
			t.Errorf("%s: %v at %q, %v", name, err, err.Place, err.Cause)
		}
	}
}

// TestSpecialNumbersAsNull has NaN as null where that is asked for, without a fault
// and also inside arrays and in columns that are not null.
func TestSpecialNumbersAsNull(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE TABLE t (id int PRIMARY KEY, n numeric NOT NULL, d numeric(5,2) NOT NULL, many numeric[])")
	insert := "INSERT INTO t SELECT count(*), 'Infinity', 'NaN', '{1,NaN,2}' FROM t"
	d.exec(insert)
	run := d.start(&connecttest.Offsets{}, "decimal.special.values", "null", "event.converting.failure.handling.mode", "fail")
	rows := run.Take(1)
	d.exec(insert)
	rows = append(rows, run.Take(1)...)
	for _, r := range rows {
		if err := r.ValueSchema.Check(r.Value); err != nil {
			t.Error(err)
		}
		if n, d := after(&r, "n"), after(&r, "d"); !n.IsNull() || !d.IsNull() {
			t.Error(n, d)
		}
		if got := after(&r, "many").String(); got != `[{"scale":0,"value":"AQ=="},null,{"scale":0,"value":"Ag=="}]` {
			t.Error(got)
		}
	}
}

// TestTextOfNoEncoding reads a database that holds any bytes as text: what is not
// UTF-8 is a fault of its column, and everything else goes on.
func TestTextOfNoEncoding(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	name := d.get("SELECT current_database()") + "_ascii"
	d.exec("CREATE DATABASE " + name + " ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	u := *d.url
	u.Path = "/" + name
	ascii := openTestDB(t, u.String())
	ascii.exec("CREATE TABLE t (id int PRIMARY KEY, v text, many text[])")
	insert := `INSERT INTO t SELECT count(*), convert_from('\x66c3a9', 'SQL_ASCII'), ARRAY[convert_from('\xff41', 'SQL_ASCII')] FROM t`
	ascii.exec(insert)
	run := ascii.start(&connecttest.Offsets{})
	rows := run.Take(1)
	ascii.exec(insert)
	rows = append(rows, run.Take(1)...)
	for _, r := range rows {
		if v := after(&r, "v"); v.IsNull() || v.Str() != "fé" {
			t.Error(v)
		}
		if v := after(&r, "many"); !v.IsNull() {
			t.Errorf("bytes that are no text became %v", v)
		}
	}
	run.Stop()
	ascii.exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND database = current_database()")
}

// TestPlaceholders changes rows whose large values stay as they are: each has a value
// that stands for it, of the type that its schema says, in every mode.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE TYPE pair AS (a int, b text); CREATE DOMAIN words AS text")
	types := []struct{ name, typ, value, want string }{
		{"te", "text", "repeat('x', 9000)", `"__debezium_unavailable_value"`},
		{"vc", "varchar(9000)", "repeat('x', 9000)", `"__debezium_unavailable_value"`},
		{"bc", "char(9000)", "'x'", `"__debezium_unavailable_value"`},
		{"ci", "citext", "repeat('x', 9000)", `"__debezium_unavailable_value"`},
		{"wo", "words", "repeat('x', 9000)", `"__debezium_unavailable_value"`},
		{"js", "json", "to_json(repeat('x', 9000))", `"__debezium_unavailable_value"`},
		{"jb", "jsonb", "to_jsonb(repeat('x', 9000))", `"__debezium_unavailable_value"`},
		{"xm", "xml", "repeat('x', 9000)::xml", `"__debezium_unavailable_value"`},
		{"ts", "tsvector", "(SELECT string_agg('w' || g, ' ') FROM generate_series(1, 2000) g)::tsvector", `"__debezium_unavailable_value"`},
		{"lt", "ltree", "(SELECT string_agg('word' || g, '.') FROM generate_series(1, 1000) g)::ltree", `"__debezium_unavailable_value"`},
		{"by", "bytea", "decode(repeat('ab', 9000), 'hex')", `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`},
		{"vb", "varbit", "repeat('10', 30000)::varbit", `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`},
		{"nu", "numeric", "repeat('1234567890', 1000)::numeric", `{"scale":0,"value":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}`},
		{"at", "text[]", "ARRAY[repeat('x', 9000)]", `["__debezium_unavailable_value"]`},
		{"ab", "bytea[]", "ARRAY[decode(repeat('ab', 9000), 'hex')]", `["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]`},
		{"ai", "int[]", "array_fill(7, ARRAY[3000])", ""},
		{"ag", "int[][]", "array_fill(7, ARRAY[30,100])", ""},
		{"a8", "bigint[]", "array_fill(7::bigint, ARRAY[3000])", ""},
		{"ad", "date[]", "array_fill('2000-01-01'::date, ARRAY[3000])", ""},
		{"az", "timestamptz[]", "array_fill('2000-01-01'::timestamptz, ARRAY[3000])", `["__debezium_unavailable_value"]`},
		{"au", "uuid[]", "array_fill('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, ARRAY[1000])", `["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]`},
		{"ao", "bool[]", "array_fill(true, ARRAY[9000])", ""},
		{"af", "float8[]", "array_fill(1::float8, ARRAY[3000])", ""},
		{"an", "numeric(5,1)[]", "array_fill(1.5::numeric(5,1), ARRAY[3000])", ""},
		{"ap", "pair[]", "array_fill('(1,x)'::pair, ARRAY[300])", `[{"a":0,"b":"__debezium_unavailable_value"}]`},
		{"pr", "pair", "ROW(1, repeat('x', 9000))::pair", `{"a":0,"b":"__debezium_unavailable_value"}`},
		{"hs", "hstore", "hstore('k', repeat('x', 9000))", `"{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"`},
		{"po", "polygon", "polygon(500, '<(0,0),1>'::circle)", `{"wkb":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==","srid":null,"extensions":null}`},
		{"mr", "int4multirange", "(SELECT range_agg(int4range(2*g, 2*g+1)) FROM generate_series(1, 1000) g)", `["__debezium_unavailable_value"]`},
	}
	columns, list := "id int PRIMARY KEY, n int", "1, 0"
	for _, c := range types {
		columns += ", " + c.name + " " + c.typ
		list += ", " + c.value
	}
	d.exec("CREATE TABLE t (" + columns + ")")
	for _, c := range types {
		d.exec("ALTER TABLE t ALTER " + c.name + " SET STORAGE EXTERNAL")
	}
	d.exec("INSERT INTO t VALUES (" + list + ")")
	for i, mode := range [][]string{{}, {"binary.handling.mode", "hex", "hstore.handling.mode", "map", "decimal.handling.mode", "string", "time.precision.mode", "structured", "interval.handling.mode", "string"}} {
		run := d.start(&connecttest.Offsets{}, append(mode, "slot.name", "slot_placeholders_"+string(rune('a'+i)))...)
		run.Take(1)
		d.exec("UPDATE t SET n = n + 1")
		record := run.Take(1)[0]
		if err := record.ValueSchema.Check(record.Value); err != nil {
			t.Error(err)
		}
		for _, c := range types {
			v := after(&record, c.name)
			if text := v.String(); v.IsNull() || v.Len() > 300 || strings.Contains(text, "xxxx") {
				t.Errorf("%s %v: %.200s", c.typ, mode, text)
			} else if c.want != "" && i == 0 && text != c.want {
				t.Errorf("%s: %s, want %s", c.typ, text, c.want)
			}
		}
		run.Stop()
	}
	d.exec("ALTER TABLE t REPLICA IDENTITY FULL")
	run := d.start(&connecttest.Offsets{}, "slot.name", "slot_placeholders_full")
	run.Take(1)
	d.exec("UPDATE t SET n = n + 1")
	record := run.Take(1)[0]
	for _, c := range types {
		if v := after(&record, c.name); v.IsNull() || v.String() == c.want {
			t.Errorf("%s: the old row has the value, but not the new", c.typ)
		}
	}
}

// TestArraysWithoutBinaryForm streams in binary form what the server has no binary
// form of: it says so at the first value, and text is asked for.
func TestArraysWithoutBinaryForm(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE EXTENSION isn; CREATE TYPE book AS (i isbn, t text)")
	d.exec("CREATE TABLE t (id int PRIMARY KEY, many isbn[], one book, q tsquery)")
	insert := "INSERT INTO t SELECT count(*), '{0-393-04002-X}', '(0-393-04002-X,x)', 'a & b' FROM t"
	d.exec(insert)
	run := d.start(&connecttest.Offsets{}, "stream.format", "binary", "include.unknown.datatypes", "true", "retriable.restart.connector.wait.ms", "100")
	rows := run.Take(1)
	d.exec(insert)
	rows = append(rows, run.Take(1)...)
	for _, r := range rows {
		if got := after(&r, "many").String() + after(&r, "one").String(); got != `["0-393-04002-X"]{"i":"0-393-04002-X","t":"x"}` {
			t.Error(got)
		}
	}
}
