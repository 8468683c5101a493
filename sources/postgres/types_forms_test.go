package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
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
	return []formCase{
		{typ: "bool", values: []string{"t", "f"}, random: "random() < 0.5"},
		{typ: "int2", values: []string{"-32768", "32767", "0"}, random: "(random()*65535)::int - 32768"},
		{typ: "int4", values: []string{"-2147483648", "2147483647", "0", "-1"}, random: "(random()*4294967295)::bigint - 2147483648"},
		{typ: "int8", values: []string{"-9223372036854775808", "9223372036854775807", "0", "-1", "1000000000000000000"}, random: "((random()-0.5)*1e18)::bigint"},
		{typ: "oid", values: []string{"0", "4294967295", "4000000000"}},
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
		{typ: "varchar(10)", values: []string{"", "é", "0123456789"}},
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
		{"time.precision.mode", "isostring", "binary.handling.mode", "hex"},
		{"time.precision.mode", "microseconds"},
		{"time.precision.mode", "nanoseconds"},
		{"time.precision.mode", "structured"},
	}
}

// TestBothFormsAreOneValue has the server send every type in both forms: they are
// read as one value, which fits the schema, or both cannot be read.
func TestBothFormsAreOneValue(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	set, err := newSettings(d.config())
	if err != nil {
		t.Fatal(err)
	}
	db, err := set.open(context.Background(), "forms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.close(context.Background()) })
	for i, c := range formCases() {
		rel, facts, texts, binaries := formRows(t, db, fmt.Sprintf("forms%d", i), c)
		for _, mode := range formModes() {
			set, err := newSettings(d.config(mode...))
			if err != nil {
				t.Fatal(err)
			}
			types := newTypeTable(set.modes, func(oid uint32) (*typeInfo, error) { return db.loadType(context.Background(), oid) })
			_ = facts
			cd, err := types.compile(rel.columns[0].typ, rel.columns[0].mod)
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
		}
	}
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
		must(db.exec(ctx, "INSERT INTO "+table+" SELECT "+c.random+" FROM generate_series(1, 50)"))
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
