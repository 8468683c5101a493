package postgres

import (
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// testConfig returns a complete configuration with the given settings changed.
func testConfig(pairs ...string) connect.Config {
	c := connect.Config{
		"database.hostname": "127.0.0.1", "database.port": "1", "database.user": "u", "database.password": "p",
		"database.dbname": "db", "topic.prefix": "shop",
	}
	for i := 0; i < len(pairs); i += 2 {
		c[pairs[i]] = pairs[i+1]
	}
	return c
}

func testSettings(t testing.TB, pairs ...string) *settings {
	t.Helper()
	set, err := newSettings(testConfig(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// fakeTypes stands for pg_type.
func fakeTypes(oid uint32) (*typeInfo, error) {
	names := map[uint32]string{
		16: "bool", 17: "bytea", 18: "char", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid", 114: "json", 600: "point",
		700: "float4", 701: "float8", 790: "money", 601: "lseg", 602: "path", 603: "box", 604: "polygon", 628: "line", 718: "circle", 829: "macaddr", 869: "inet", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz", 1186: "interval",
		1266: "timetz", 1560: "bit", 1562: "varbit", 1700: "numeric", 2950: "uuid", 3615: "tsquery",
		3802: "jsonb", 3614: "tsvector", 3220: "pg_lsn",
	}
	ranges := map[uint32]uint32{3904: 23, 3906: 1700, 3908: 1114, 3910: 1184, 3912: 1082}
	arrays := map[uint32]uint32{1007: 23, 1009: 25, 1231: 1700, 1115: 1114, 1001: 17, 2951: 2950, 1016: 20, 1000: 16}
	switch {
	case names[oid] != "":
		return &typeInfo{oid: oid, schema: "pg_catalog", name: names[oid], kind: 'b'}, nil
	case arrays[oid] != 0:
		return &typeInfo{oid: oid, schema: "pg_catalog", name: "_array", kind: 'b', array: true, elem: arrays[oid], delim: ','}, nil
	case ranges[oid] != 0:
		return &typeInfo{oid: oid, schema: "pg_catalog", name: "range", kind: 'r', subtype: ranges[oid]}, nil
	case oid == 4451:
		return &typeInfo{oid: oid, schema: "pg_catalog", name: "int4multirange", kind: 'm', subtype: 3904}, nil
	case oid == 90001:
		return &typeInfo{oid: oid, schema: "public", name: "mood", kind: 'e', labels: []string{"sad", "ok"}}, nil
	case oid == 90002:
		return &typeInfo{oid: oid, schema: "public", name: "price", kind: 'd', base: 1700, baseMod: (6<<16 | 2) + 4}, nil
	case oid == 90003:
		return &typeInfo{oid: oid, schema: "public", name: "hstore", kind: 'b'}, nil
	case oid >= 90004 && oid < 90020:
		name := []string{"vector", "halfvec", "sparsevec", "geometry", "geography", "ltree", "citext", "isbn"}[oid-90004]
		return &typeInfo{oid: oid, schema: "public", name: name, kind: 'b'}, nil
	case oid == 90030:
		return &typeInfo{oid: oid, schema: "public", name: "pair", kind: 'c', attributes: []attribute{{"a", 23, -1, 0}, {"b", 25, -1, 0}, {"n", 1700, -1, 0}}}, nil
	case oid == 90031:
		return &typeInfo{oid: oid, schema: "public", name: "nest", kind: 'c', attributes: []attribute{{"one", 90030, -1, 0}, {"many", 90032, -1, 2}}}, nil
	case oid == 90032:
		return &typeInfo{oid: oid, schema: "public", name: "_pair", kind: 'b', array: true, elem: 90030, delim: ','}, nil
	case oid == 90033:
		return &typeInfo{oid: oid, schema: "public", name: "_geometry", kind: 'b', array: true, elem: 90007, delim: ':'}, nil
	}
	return nil, nil
}

func numericMod(p, s int32) int32 { return (p<<16 | s&0x7ff) + 4 }

func TestValues(t *testing.T) {
	for _, c := range []struct {
		oid  uint32
		mod  int32
		text string
		mode string // setting=value
		want string // As JSON; bytes in base64, decimals as their schema says.
	}{
		{16, -1, "t", "", `true`},
		{21, -1, "-32768", "", `-32768`},
		{20, -1, "-9223372036854775808", "", `-9223372036854775808`},
		{26, -1, "4000000000", "", `4000000000`},
		{700, -1, "NaN", "", `"NaN"`},
		{701, -1, "-Infinity", "", `"-Infinity"`},
		{701, -1, "5e-324", "", `5e-324`},
		{1700, numericMod(3, 2), "1.10", "", `1.10`},
		{1700, numericMod(4, 0), "10", "", `10`},
		{1700, -1, "10.1111", "", `{"scale":4,"value":"AYr3"}`},
		{1700, -1, "100.00", "", `{"scale":0,"value":"ZA=="}`},
		{1700, numericMod(3, -2), "12300", "", `12300`},
		{1700, -1, "NaN", "decimal.handling.mode=string", `"NAN"`},
		{1700, -1, "-Infinity", "decimal.handling.mode=double", `"-Infinity"`},
		{1700, -1, "0.1", "decimal.handling.mode=double", `0.1`},
		{790, -1, "$1,234.11", "", `1234.11`},
		{790, -1, "-$1,234.11", "", `-1234.11`},
		{790, -1, "($92,233,720,368,547,758.08)", "decimal.handling.mode=string", `"-92233720368547758.08"`},
		{1114, -1, "2016-11-04 13:51:30.123456", "", `1478267490123456`},
		{1114, 3, "2016-11-04 13:51:30.123", "", `1478267490123`},
		{1114, 6, "2016-11-04 13:51:30.123456", "", `1478267490123456`},
		{1114, 6, "1936-10-25 22:10:12.608", "", `-1047174587392000`},
		{1114, -1, "21016-11-04 13:51:30.123456", "", `601060312290123456`},
		{1114, 6, "294247-01-01 23:59:59.999999", "", `9223371331199999999`},
		{1114, 6, "4713-12-31 23:59:59.999999 BC", "", `-210831897600000001`},
		{1114, -1, "infinity", "", `9223372036825200000`},
		{1114, -1, "-infinity", "", `-9223372036832400000`},
		{1114, -1, "-infinity", "time.precision.mode=nanoseconds", `-9223372036854775808`},
		{1114, -1, "2019-07-09 02:28:57.123456", "time.precision.mode=isostring", `"2019-07-09T02:28:57.123456Z"`},
		{1114, -1, "2016-11-04 13:51:30.123456", "time.precision.mode=connect", `1478267490123`},
		{1184, -1, "2016-11-04 11:51:30.123456+00", "", `"2016-11-04T11:51:30.123456Z"`},
		{1184, -1, "21016-11-04 06:51:30+00", "", `"+21016-11-04T06:51:30.000000Z"`},
		{1184, -1, "4714-12-31 23:59:59.999999+00 BC", "", `"-4713-12-31T23:59:59.999999Z"`},
		{1184, 0, "2016-11-04 11:51:30+00", "", `"2016-11-04T11:51:30Z"`},
		{1184, 3, "2016-11-04 13:51:30.1+02", "", `"2016-11-04T11:51:30.100Z"`},
		{1184, -1, "infinity", "", `"infinity"`},
		{1082, -1, "2016-11-04", "", `17109`},
		{1082, -1, "0001-01-01 BC", "", `-719528`},
		{1082, -1, "5874897-12-31", "", `2145042905`},
		{1082, -1, "infinity", "", `2147483647`},
		{1082, -1, "2017-09-15", "time.precision.mode=isostring", `"2017-09-15Z"`},
		{1083, -1, "13:51:30", "", `49890000000`},
		{1083, 3, "13:51:30.123", "", `49890123`},
		{1083, 3, "13:51:30.123", "time.precision.mode=adaptive_time_microseconds", `49890123000`},
		{1083, -1, "24:00:00", "", `86400000000`},
		{1266, -1, "13:51:30.123789+02", "", `"11:51:30.123789Z"`},
		{1266, 3, "13:51:30.123+02", "", `"11:51:30.123Z"`},
		{1266, -1, "01:00:00+05:30", "", `"19:30:00Z"`},
		{1266, -1, "24:00:00+00", "", `"24:00:00Z"`},
		{1186, -1, "P1Y2M3DT4H5M6.78S", "", `37091106780000`},
		{1186, -1, "P1Y2M3DT4H5M6.78S", "interval.handling.mode=string", `"P1Y2M3DT4H5M6.78S"`},
		{1186, -1, "P1Y", "", `31557600000000`},
		{1186, -1, "P-1Y-2M3DT-4H-5M-6.78S", "interval.handling.mode=string", `"P-1Y-2M3DT-4H-5M-6.78S"`},
		{1186, -1, "PT0S", "interval.handling.mode=string", `"P0Y0M0DT0H0M0S"`},
		{1560, 1, "1", "", `true`},
		{1560, 7, "1000000", "", `"QA=="`},
		{1560, 2, "11", "", `"Aw=="`},
		{1560, 8, "00000000", "", `"AA=="`},
		{1560, 16, "0000000000000001", "", `"AQA="`},
		{1562, 2, "00", "", `""`},
		{1562, 24, "000000110000001000000001", "", `"AQID"`},
		{1562, -1, "111011010001000110000001000000001", "", `"AQIj2gE="`},
		{17, -1, `\x010203`, "", `"AQID"`},
		{17, -1, `\x010203`, "binary.handling.mode=base64", `"AQID"`},
		{17, -1, `\x010203`, "binary.handling.mode=hex", `"010203"`},
		{600, -1, "(1,-2.5)", "", `{"x":1.0,"y":-2.5,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAATA","srid":null}`},
		{1007, -1, "{1,NULL,-3}", "", `[1,null,-3]`},
		{1007, -1, "[0:1]={7,8}", "", `[7,8]`},
		{1007, -1, "{}", "", `[]`},
		{1009, -1, `{a,"b,c","say \"hi\"\\",NULL,"NULL"}`, "", `["a","b,c","say \"hi\"\\",null,"NULL"]`},
		{1115, -1, `{"2016-11-04 13:51:30.123456",infinity}`, "", `[1478267490123456,9223372036825200000]`},
		{1231, numericMod(5, 1), "{1.5,-2.0}", "", `[1.5,-2.0]`},
		{90001, -1, "ok", "", `"ok"`},
		{90002, -1, "12.30", "", `12.30`},
		{90003, -1, `"key4"=>"val4", "k\"5"=>NULL`, "", `"{\"key4\":\"val4\",\"k\\\"5\":null}"`},
		{90003, -1, `"a"=>"1"`, "hstore.handling.mode=map", `{"a":"1"}`},
		{90004, -1, `[1,2.5]`, "", `[1.0,2.5]`},
	} {
		set := testSettings(t)
		if name, value, ok := strings.Cut(c.mode, "="); ok {
			set = testSettings(t, name, value)
		}
		cd, err := newTypeTable(set.modes, fakeTypes).compile(c.oid, c.mod, 0)
		if err != nil {
			t.Errorf("%d: %v", c.oid, err)
			continue
		}
		v, err := cd.decode(&arena{}, []byte(c.text))
		if err != nil {
			t.Errorf("%d %s: %v", c.oid, c.text, err)
			continue
		}
		if err := cd.schema.Check(v); err != nil {
			t.Errorf("%d %s: %v", c.oid, c.text, err)
		}
		if got := string(connect.AppendJSON(nil, cd.schema, v)); got != c.want {
			t.Errorf("%d %s %s: %s, want %s", c.oid, c.text, c.mode, got, c.want)
		}
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		oid  uint32
		text string
		mode string
	}{
		{1700, "NaN", "precise"}, {23, "x", ""}, {23, "", ""}, {16, "yes", ""}, {1007, "{{1,2},{3,4}}", ""}, {1007, "{1", ""}, {1009, `{"a}`, ""},
		{1114, "2016-13-04 00:00:00", ""}, {1114, "2016", ""}, {1083, "1:2:3", ""}, {1186, "1 year", ""}, {1560, "012", ""}, {17, "abc", ""}, {600, "1,2", ""},
		{1186, "P178000000Y", ""},
	} {
		cd, err := newTypeTable(testSettings(t).modes, fakeTypes).compile(c.oid, -1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := cd.decode(&arena{}, []byte(c.text)); err == nil {
			t.Errorf("%d %q was read as %v", c.oid, c.text, v)
		}
	}
	nanos, _ := newTypeTable(testSettings(t, "time.precision.mode", "nanoseconds").modes, fakeTypes).compile(1114, -1, 0)
	if v, err := nanos.decode(&arena{}, []byte("2300-01-01 00:00:00")); err == nil {
		t.Errorf("a time that nanoseconds cannot hold became %v", v)
	}
}

func TestMissingValuesAreTyped(t *testing.T) {
	table := newTypeTable(testSettings(t).modes, fakeTypes)
	for oid, want := range map[uint32]string{
		25:   `"__debezium_unavailable_value"`,
		17:   `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`,
		1009: `["__debezium_unavailable_value"]`,
		2951: `["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]`,
		1007: `[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]`,
		1700: `{"scale":0,"value":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}`,
	} {
		cd, err := table.compile(oid, -1, 0)
		if err != nil {
			t.Fatal(err)
		}
		v := missing(cd.schema, "__debezium_unavailable_value")
		if err := cd.schema.Check(v); err != nil {
			t.Error(err)
		}
		if got := string(connect.AppendJSON(nil, nil, v)); got != want {
			t.Errorf("%d: %s", oid, got)
		}
	}
}

func TestCivilDays(t *testing.T) {
	for day := int64(-800_000); day < 800_000; day += 17 {
		if y, m, d := civilDate(day); civilDay(y, m, d) != day {
			t.Fatalf("%d is %d-%d-%d is %d", day, y, m, d, civilDay(y, m, d))
		}
	}
	if n := civilDay(1970, 1, 1); n != 0 {
		t.Error(n)
	}
	if n := civilDay(2000, 3, 1); n != 11017 {
		t.Error(n)
	}
}
