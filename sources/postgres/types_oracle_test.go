package postgres

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// askServer compares the texts with what the server makes of the values, and returns
// how many of them could be written back. The calendar used here is that of package
// time, so that an error of ours does not cancel out.
func askServer(t *testing.T, db *db, typ string, cd codec, texts [][][]byte) int {
	t.Helper()
	var want, back []string
	a := &arena{}
	for _, row := range texts {
		if row[0] == nil {
			continue
		}
		v, err := cd.decode(a, row[0])
		if err != nil {
			continue
		}
		text, ok := sqlLiteral(typ, cd.schema, v)
		if !ok {
			return 0
		}
		want, back = append(want, string(row[0])), append(back, text)
	}
	same := "x::" + typ + "::text = regexp_replace(y, '^\\[-?[0-9][-0-9:\\]\\[]*=', '')::" + typ + "::text"
	if strings.HasPrefix(typ, "numeric") && !strings.HasSuffix(typ, "]") || typ == "numrange" {
		same = "x::" + typ + " = y::" + typ
	}
	if len(want) == 0 {
		return 0
	}
	rows, err := db.rows(context.Background(), "SELECT x, y, x::"+typ+"::text FROM unnest($1::text[], $2::text[]) u(x, y) WHERE NOT ("+same+")", sqlArray(back), sqlArray(want))
	if err != nil {
		t.Errorf("%s: %v", typ, err)
	}
	for _, r := range rows {
		t.Errorf("%s: the server has %.100q and not %.100q, which it reads as %.100q", typ, r[1], r[0], r[2])
	}
	return len(want)
}

func sqlArray(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// sqlLiteral writes a value as the server reads it; not ok where something of it is not
// in the value, such as the zone of a time.
func sqlLiteral(typ string, s *connect.Schema, v connect.Value) (string, bool) {
	switch s.Kind() {
	case connect.KindBool:
		if strings.HasPrefix(typ, "bit") {
			return map[bool]string{true: "1", false: "0"}[v.Bool()], true
		}
		return strconv.FormatBool(v.Bool()), typ != "varbit(1)" // Which may also be empty.
	case connect.KindInt16, connect.KindInt32, connect.KindInt64:
		return literalInt(s, v.Int())
	case connect.KindFloat32:
		return strconv.FormatFloat(v.Float(), 'g', -1, 32), true
	case connect.KindFloat64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	case connect.KindString:
		text, ok := literalText(s, v.Str())
		return text, ok && (s.Name() != nameJSON || !strings.HasPrefix(typ, "hstore"))
	case connect.KindBytes:
		return literalBytes(typ, s, v.Bytes())
	case connect.KindArray:
		return literalArray(typ, s, v)
	case connect.KindMap:
		var pairs []string
		for _, e := range v.Map() {
			value := "NULL"
			if !e.Value.IsNull() {
				value = strconv.Quote(e.Value.Str())
			}
			pairs = append(pairs, strconv.Quote(e.Key.Str())+"=>"+value)
		}
		return strings.Join(pairs, ", "), true
	}
	return literalStruct(typ == "", s, v.Struct())
}

func literalInt(s *connect.Schema, n int64) (string, bool) {
	switch s.Name() {
	case "":
		return strconv.FormatInt(n, 10), true
	case "io.debezium.time.Date":
		if n == infinityDays || n == minusInfinityDays {
			return map[bool]string{true: "infinity", false: "-infinity"}[n > 0], true
		}
		return sqlTime(time.Unix(n*86400, 0), "2006-01-02"), true
	case "io.debezium.time.MicroTime":
		return fmt.Sprintf("%02d:%02d:%02d.%06d", n/3600e6, n/60e6%60, n/1e6%60, n%1e6), true
	case "io.debezium.time.Time":
		return fmt.Sprintf("%02d:%02d:%02d.%03d", n/3600e3, n/60e3%60, n/1e3%60, n%1e3), true
	case "io.debezium.time.MicroTimestamp", "io.debezium.time.Timestamp":
		if n == infinityMicros || n == infinityMicros/1000 {
			return "infinity", true
		}
		if n == minusInfinityMicros || n == minusInfinityMicros/1000 {
			return "-infinity", true
		}
		if s.Name() == "io.debezium.time.Timestamp" {
			return sqlTime(time.UnixMilli(n), "2006-01-02 15:04:05.000"), true
		}
		return sqlTime(time.UnixMicro(n), "2006-01-02 15:04:05.000000"), true
	}
	return "", false
}

func sqlTime(at time.Time, layout string) string {
	at = at.UTC()
	year, era := at.Year(), ""
	if year <= 0 {
		year, era = 1-year, " BC"
	}
	return fmt.Sprintf("%04d", year) + at.Format(strings.TrimPrefix(layout, "2006")) + era
}

func literalText(s *connect.Schema, text string) (string, bool) {
	switch name := s.Name(); name {
	case "io.debezium.time.ZonedTimestamp", "io.debezium.time.IsoTimestamp", "io.debezium.time.IsoDate":
		if strings.HasSuffix(text, "infinity") {
			return text, true
		}
		text = strings.TrimPrefix(text, "+")
		minus := strings.HasPrefix(text, "-")
		year, rest, _ := strings.Cut(strings.TrimPrefix(text, "-"), "-")
		n, _ := strconv.Atoi(year)
		era := ""
		if minus {
			n = -n
		}
		if n <= 0 {
			n, era = 1-n, " BC"
		}
		if name != "io.debezium.time.ZonedTimestamp" {
			rest = strings.TrimSuffix(rest, "Z")
		}
		return fmt.Sprintf("%04d-%s%s", n, rest, era), true
	case "io.debezium.time.ZonedTime":
		return "", false // Its zone is gone.
	case "io.debezium.time.IsoTime":
		return strings.TrimSuffix(text, "Z"), true
	}
	return map[string]string{"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity", "": text}[map[bool]string{true: text}[strings.HasSuffix(text, "_INFINITY") || text == "NAN"]], true
}

func literalBytes(typ string, s *connect.Schema, b []byte) (string, bool) {
	if scale, ok := s.DecimalScale(); ok {
		return string(connect.Decimal{Unscaled: b, Scale: scale}.Append(nil)), true
	}
	if s.Name() != "io.debezium.data.Bits" {
		return `\x` + hex.EncodeToString(b), true
	}
	if strings.HasPrefix(typ, "var") {
		return "", false // Leading zeros are gone.
	}
	param, _ := s.Param("length")
	length, _ := strconv.Atoi(param)
	text := ""
	for _, c := range b {
		text = fmt.Sprintf("%08b", c) + text
	}
	return text[len(text)-length:], true
}

func literalArray(typ string, s *connect.Schema, v connect.Value) (string, bool) {
	var list []string
	for _, e := range v.Array() {
		switch {
		case e.IsNull():
			list = append(list, "NULL")
			continue
		case s.Elem().Kind() == connect.KindArray && !strings.HasPrefix(typ, "grids") && !strings.Contains(typ, "multirange"):
			inner, ok := literalArray(typ, s.Elem(), e)
			if !ok {
				return "", false
			}
			list = append(list, inner)
			continue
		}
		inner := strings.TrimSuffix(typ, "[]")
		if typ == "grids" {
			inner = "grid"
		} else if typ == "numeric[]" {
			inner = ""
		}
		text, ok := sqlLiteral(inner, s.Elem(), e)
		if !ok {
			return "", false
		}
		if !strings.HasSuffix(typ, "multirange") {
			text = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		}
		list = append(list, text)
	}
	return "{" + strings.Join(list, ",") + "}", true
}

func literalStruct(many bool, s *connect.Schema, st *connect.Struct) (string, bool) {
	number := func(name string) string { return strconv.FormatFloat(st.Get(name).Float(), 'g', -1, 64) }
	switch s.Name() {
	case "io.debezium.data.VariableScaleDecimal":
		return string(connect.Decimal{Unscaled: st.Get("value").Bytes(), Scale: int(st.Get("scale").Int())}.Append(nil)), !many // Zeros at the end are gone.
	case "io.debezium.data.geometry.Point":
		return "(" + number("x") + "," + number("y") + ")", true
	case "io.debezium.data.geometry.Line":
		return "{" + number("a") + "," + number("b") + "," + number("c") + "}", true
	case "io.debezium.data.geometry.Circle":
		center, _ := sqlLiteral("point", s.Fields()[0].Schema, st.At(0))
		return "<" + center + "," + number("radius") + ">", true
	case "io.debezium.data.geometry.Geometry":
		return "", false // Its corners come in another order.
	}
	if !strings.HasPrefix(s.Name(), "shop.public.") {
		return "", false
	}
	var fields []string
	for i, f := range s.Fields() {
		if st.At(i).IsNull() {
			fields = append(fields, "")
			continue
		}
		text, ok := sqlLiteral(map[bool]string{true: "pair[]"}[f.Name == "many"], f.Schema, st.At(i))
		if !ok {
			return "", false
		}
		fields = append(fields, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)+`"`)
	}
	return "(" + strings.Join(fields, ",") + ")", true
}

// TestSnapshotEqualsStreamForEveryForm makes one table of all cases: a column for
// each type, a row for each of its values.
func TestSnapshotEqualsStreamForEveryForm(t *testing.T) {
	t.Parallel()
	for _, mode := range [][]string{{}, {"time.precision.mode", "structured", "decimal.handling.mode", "string", "interval.handling.mode", "string", "hstore.handling.mode", "map", "before.missing.values", "fallback"}} {
		d := newTestDB(t)
		d.exec(formTypes)
		d.exec("DROP TABLE rowtype CASCADE; CREATE TYPE rowtype AS (id int, t text)")
		cases := formCases()
		columns, most := []string{"id int PRIMARY KEY"}, 0
		for i, c := range cases {
			columns = append(columns, fmt.Sprintf("c%d %s", i, c.typ))
			most = max(most, len(c.values))
		}
		d.exec("CREATE TABLE forms (" + strings.Join(columns, ", ") + ")")
		fill := func(base int) {
			for row := range most {
				values := []string{strconv.Itoa(base + row)}
				for _, c := range cases {
					value := "NULL"
					if row < len(c.values) {
						value = quoteLiteral(c.values[row])
					}
					values = append(values, value)
				}
				d.exec("INSERT INTO forms VALUES (" + strings.Join(values, ", ") + ")")
			}
		}
		fill(0)
		run := d.start(&connecttest.Offsets{}, mode...)
		snapshot := run.Take(most)
		fill(1000)
		stream := run.Take(most)
		for i := range snapshot {
			compareRows(t, &snapshot[i], &stream[i])
		}
		run.Stop()
	}
}
