package functions

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tidemill/tidemill/connect"
)

const jsonCategory = "JSON"

// parsed is the way to call a function of one JSON text; begins is what the value must begin
// with, others give null.
func parsed(begins byte, returns Type, f func(value []byte) connect.Value) []Variant {
	return []Variant{{Params: params(String), Returns: returns, Call: func(a []connect.Value) (connect.Value, error) {
		value, err := jsonRoot(a[0].Bytes())
		if err != nil || value == nil || value[0] != begins {
			return connect.Value{}, err
		}
		return f(value), nil
	}}}
}

func jsonFunctions() []Function {
	return []Function{
		{Name: "EXTRACTJSONFIELD", Category: jsonCategory, Doc: `What stands at a path in a JSON text, such as $.log.cloud, $.items[0] or $["a name"]: the text of a string, JSON otherwise, null when there is nothing.`,
			Examples: []Example{
				{`EXTRACTJSONFIELD('{"log":{"cloud":"gcp","n":[1,2]}}', '$.log.cloud')`, `"gcp"`},
				{`EXTRACTJSONFIELD('{"log":{"n":[1,2]}}', '$.log.n[1]')`, `"2"`},
				{`EXTRACTJSONFIELD('{"a": {"b": 1.50}}', '$.a')`, `"{\"b\":1.50}"`},
				{`EXTRACTJSONFIELD('{"a":1}', '$.x')`, "null"}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Bind: bindExtract}}},
		{Name: "IS_JSON_STRING", Category: jsonCategory, Doc: "Whether a text is JSON.", Examples: []Example{{`IS_JSON_STRING('[1]')`, "true"}, {`IS_JSON_STRING('{')`, "false"}},
			Variants: []Variant{{Params: params(String), Returns: of(Boolean), Nulls: true, Call: func(a []connect.Value) (connect.Value, error) {
				if a[0].IsNull() {
					return connect.Bool(false), nil
				}
				value, err := jsonRoot(a[0].Bytes())
				return connect.Bool(err == nil && value != nil), nil
			}}}},
		{Name: "JSON_ARRAY_LENGTH", Category: jsonCategory, Doc: "The number of elements of a JSON array.", Examples: []Example{{`JSON_ARRAY_LENGTH('[1, {"a":2}]')`, "2"}, {`JSON_ARRAY_LENGTH('{}')`, "null"}},
			Variants: parsed('[', of(Int), func(array []byte) connect.Value {
				n := int32(0)
				jsonElements(array, func([]byte) { n++ })
				return connect.Int32(n)
			})},
		{Name: "JSON_ITEMS", Category: jsonCategory, Doc: "The elements of a JSON array as texts of JSON.", Examples: []Example{{`JSON_ITEMS('[1, {"a": 2}, "x"]')`, `["1","{\"a\":2}","\"x\""]`}},
			Variants: parsed('[', ArrayOf(of(String)), func(array []byte) connect.Value {
				var out []connect.Value
				jsonElements(array, func(e []byte) { out = append(out, connect.StringBytes(appendCompact(nil, e))) })
				return connect.Array(out)
			})},
		{Name: "JSON_KEYS", Category: jsonCategory, Doc: "The names of the members of a JSON object.", Examples: []Example{{`JSON_KEYS('{"b":1,"a":2}')`, `["b","a"]`}},
			Variants: parsed('{', ArrayOf(of(String)), func(object []byte) connect.Value {
				var out []connect.Value
				for _, m := range records(object) {
					out = append(out, m.Key)
				}
				return connect.Array(out)
			})},
		{Name: "JSON_RECORDS", Category: jsonCategory, Doc: "The members of a JSON object as a map: the texts of strings, others as JSON.", Examples: []Example{{`JSON_RECORDS('{"a":"x","b":[2, 3]}')`, `{"a":"x","b":"[2,3]"}`}},
			Variants: parsed('{', MapOf(of(String), of(String)), func(object []byte) connect.Value { return connect.Map(records(object)) })},
		{Name: "JSON_CONCAT", Category: jsonCategory, Doc: "JSON texts in one: objects with the members of all, otherwise arrays one after another.",
			Examples: []Example{{`JSON_CONCAT('{"a":1,"b":2}', '{"b":3}')`, `"{\"a\":1,\"b\":3}"`}, {`JSON_CONCAT('[1]', '2')`, `"[1,2]"`}},
			Variants: []Variant{{Params: params(String), Variadic: true, Returns: of(String), Call: concatJSON}}},
		{Name: "JSON_ARRAY_CONTAINS", Category: jsonCategory, Doc: "Whether a JSON array holds a value. Whole numbers and numbers with a point are different.",
			Examples: []Example{{`JSON_ARRAY_CONTAINS('[1, 2]', 2)`, "true"}, {`JSON_ARRAY_CONTAINS('["a"]', 'b')`, "false"}, {`JSON_ARRAY_CONTAINS('[1.50]', 1.5e0)`, "true"}, {`JSON_ARRAY_CONTAINS('[1.0]', 1)`, "false"}},
			Variants: []Variant{{Params: []Type{of(String), {Kind: Any}}, Returns: of(Boolean), Nulls: true, Bind: bindJSONContains}}},
		{Name: "TO_JSON_STRING", Category: jsonCategory, Doc: "A value of any type as JSON: times as texts, bytes in base64, the fields of structs and the entries of maps in order of their names.",
			Examples: []Example{{`TO_JSON_STRING(STRUCT(b := 1, a := ARRAY['x', NULL]))`, `"{\"A\":[\"x\",null],\"B\":1}"`}, {"TO_JSON_STRING(FROM_DAYS(31))", `"\"1970-02-01\""`}, {"TO_JSON_STRING(NULL)", `"null"`}},
			Variants: []Variant{{Params: []Type{{Kind: Any}}, Returns: of(String), Nulls: true, Bind: func(args []Type) (Call, error) {
				return func(a []connect.Value) (connect.Value, error) {
					return connect.StringBytes(appendTyped(nil, args[0], a[0])), nil
				}, nil
			}}}},
	}
}

// records are the members of a JSON object; of those with one name the last counts.
func records(object []byte) []connect.MapEntry {
	var out []connect.MapEntry
	jsonMembers(object, func(name, value []byte) {
		out = put(out, connect.MapEntry{Key: jsonText(name), Value: jsonText(value)})
	})
	return out
}

func concatJSON(a []connect.Value) (connect.Value, error) {
	values, objects := make([][]byte, len(a)), true
	for i, v := range a {
		value, err := jsonRoot(v.Bytes())
		if err != nil || value == nil {
			return connect.Value{}, err
		}
		values[i], objects = value, objects && value[0] == '{'
	}
	switch {
	case objects:
		return connect.StringBytes(appendMerged(nil, values)), nil
	case len(values) == 1:
		return connect.StringBytes(appendCompact(nil, values[0])), nil
	}
	out := []byte{'['}
	add := func(e []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendCompact(out, e)
	}
	for _, v := range values {
		if v[0] == '[' {
			jsonElements(v, add)
		} else {
			add(v)
		}
	}
	return connect.StringBytes(append(out, ']')), nil
}

// appendMerged appends an object with the members of several.
func appendMerged(dst []byte, objects [][]byte) []byte {
	var names, values [][]byte
	for _, o := range objects {
		jsonMembers(o, func(name, value []byte) {
			said := jsonString(name)
			i := slices.IndexFunc(names, func(n []byte) bool { return bytes.Equal(jsonString(n), said) })
			if i < 0 {
				names, values = append(names, name), append(values, value)
			} else {
				values[i] = value
			}
		})
	}
	dst = append(dst, '{')
	for i := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCompact(append(appendCompact(dst, names[i]), ':'), values[i])
	}
	return append(dst, '}')
}

// appendTyped appends a value as TO_JSON_STRING writes it.
func appendTyped(b []byte, t Type, v connect.Value) []byte {
	switch {
	case v.IsNull():
		return append(b, "null"...)
	case t.Kind == Double && v.Float()-v.Float() == 0, t.Kind == Boolean, t.Kind == Int, t.Kind == Bigint, t.Kind == Decimal:
		return AppendText(b, t, v)
	case t.Kind == Double, t.Kind == Date, t.Kind == Time, t.Kind == Timestamp:
		return append(AppendText(append(b, '"'), t, v), '"')
	case t.Kind == Bytes:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case t.Kind == Array:
		b = append(b, '[')
		for i, e := range v.Array() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendTyped(b, *t.Elem, e)
		}
		return append(b, ']')
	case t.Kind == Struct:
		fields := make([]jsonField, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = jsonField{f.Name, f.Type, v.Struct().At(i)}
		}
		return appendFields(b, fields)
	case t.Kind == Map:
		fields := make([]jsonField, v.Len())
		for i, e := range v.Map() {
			fields[i] = jsonField{string(AppendText(nil, *t.Key, e.Key)), *t.Elem, e.Value}
		}
		return appendFields(b, fields)
	}
	return connect.AppendJSON(b, nil, v)
}

type jsonField struct {
	name  string
	typ   Type
	value connect.Value
}

func appendFields(b []byte, fields []jsonField) []byte {
	slices.SortFunc(fields, func(x, y jsonField) int { return strings.Compare(x.name, y.name) })
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(connect.AppendJSON(b, nil, connect.String(f.name)), ':')
		b = appendTyped(b, f.typ, f.value)
	}
	return append(b, '}')
}

func bindJSONContains(args []Type) (Call, error) {
	return func(a []connect.Value) (connect.Value, error) {
		if a[0].IsNull() {
			return connect.Bool(false), nil
		}
		array, err := jsonRoot(a[0].Bytes())
		if err != nil || array == nil || array[0] != '[' {
			return connect.Bool(false), nil
		}
		found := false
		jsonElements(array, func(e []byte) { found = found || jsonIs(e, args[1], a[1]) })
		return connect.Bool(found), nil
	}, nil
}

// jsonIs tells whether a JSON value is a value of SQL.
func jsonIs(e []byte, t Type, v connect.Value) bool {
	if v.IsNull() {
		return e[0] == 'n'
	}
	number := e[0] == '-' || e[0] >= '0' && e[0] <= '9'
	whole := number && !bytes.ContainsAny(e, ".eE")
	switch t.Kind {
	case Boolean:
		return e[0] == 't' && v.Bool() || e[0] == 'f' && !v.Bool()
	case Int, Bigint:
		n, err := strconv.ParseInt(string(e), 10, 64)
		return whole && err == nil && n == v.Int()
	case Double, Decimal:
		f, err := strconv.ParseFloat(string(e), 64)
		if t.Kind == Decimal {
			return number && !whole && err == nil && f == decimalFloat(v, t.Scale)
		}
		return number && !whole && err == nil && f == v.Float()
	case String:
		return e[0] == '"' && bytes.Equal(jsonString(e), v.Bytes())
	}
	return false
}

// bindExtract makes a Call that keeps the path it met last, nearly always a constant.
func bindExtract([]Type) (Call, error) {
	var path string
	var steps []string
	return func(a []connect.Value) (connect.Value, error) {
		if s := a[1].Str(); s != path || steps == nil {
			fresh, err := jsonPath(s)
			if err != nil {
				return connect.Value{}, err
			}
			path, steps = strings.Clone(s), fresh
		}
		value, err := jsonRoot(a[0].Bytes())
		for _, step := range steps {
			if value == nil {
				break
			}
			value = jsonStep(value, step)
		}
		if err != nil || value == nil {
			return connect.Value{}, err
		}
		return jsonText(value), nil
	}, nil
}

var errPath = errors.New("a path into JSON is $, then .name, [0] or [\"a name\"] each")

// jsonPath cuts a path into steps.
func jsonPath(path string) ([]string, error) {
	steps := []string{}
	rest, ok := strings.CutPrefix(path, "$")
	for ok && rest != "" {
		var step string
		step, rest, ok = cutStep(rest)
		steps = append(steps, strings.Clone(step))
	}
	if !ok {
		return nil, fmt.Errorf("%w: '%s' is none", errPath, path)
	}
	return steps, nil
}

// cutStep cuts the first step off a path.
func cutStep(path string) (step, rest string, ok bool) {
	plain := func(s, more string) int {
		n := strings.IndexFunc(s, func(r rune) bool {
			return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(more, r)
		})
		if n < 0 {
			n = len(s)
		}
		return n
	}
	if name, ok := strings.CutPrefix(path, "."); ok {
		n := plain(name, ":@")
		return name[:n], name[n:], n > 0
	}
	inner, ok := strings.CutPrefix(path, "[")
	if !ok {
		return "", "", false
	}
	if quoted, err := strconv.QuotedPrefix(inner); err == nil && inner[0] == '"' {
		step, err = strconv.Unquote(quoted)
		rest, ok = strings.CutPrefix(inner[len(quoted):], "]")
		return step, rest, ok && err == nil
	}
	n := plain(inner, "")
	rest, ok = strings.CutPrefix(inner[n:], "]")
	return inner[:n], rest, ok && n > 0
}

// jsonStep returns the member or element of a JSON value, nil when there is none.
func jsonStep(value []byte, step string) (found []byte) {
	switch value[0] {
	case '{':
		jsonMembers(value, func(name, v []byte) {
			if string(jsonString(name)) == step {
				found = v
			}
		})
	case '[':
		at, err := strconv.Atoi(step)
		if err != nil {
			return nil
		}
		jsonElements(value, func(e []byte) {
			if at == 0 {
				found = e
			}
			at--
		})
	}
	return found
}
