package functions

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const jsonCategory = "JSON"

// parsed makes a function of one JSON text; what is no JSON gives null.
func parsed(name, doc string, returns Type, f func(raw json.RawMessage) connect.Value, examples ...Example) Function {
	return Function{Name: name, Category: jsonCategory, Doc: doc, Examples: examples, Variants: []Variant{{Params: params(String), Returns: returns,
		Call: func(a []connect.Value) (connect.Value, error) { return f(a[0].Bytes()), nil }}}}
}

func jsonFunctions() []Function {
	return []Function{
		{Name: "EXTRACTJSONFIELD", Category: jsonCategory, Doc: "What stands at a path in a JSON text, such as $.log.cloud or $.items[0]: the text of a string, JSON otherwise, null when there is nothing.",
			Examples: []Example{
				{`EXTRACTJSONFIELD('{"log":{"cloud":"gcp","n":[1,2]}}', '$.log.cloud')`, `"gcp"`},
				{`EXTRACTJSONFIELD('{"log":{"n":[1,2]}}', '$.log.n[1]')`, `"2"`},
				{`EXTRACTJSONFIELD('{"a":{"b":1}}', '$.a')`, `"{\"b\":1}"`},
				{`EXTRACTJSONFIELD('{"a":1}', '$.x')`, "null"}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Call: extractJSON}}},
		{Name: "IS_JSON_STRING", Category: jsonCategory, Doc: "Whether a text is JSON.", Examples: []Example{{`IS_JSON_STRING('[1]')`, "true"}, {`IS_JSON_STRING('{')`, "false"}},
			Variants: []Variant{{Params: params(String), Returns: of(Boolean), Nulls: true, Call: func(a []connect.Value) (connect.Value, error) {
				return connect.Bool(!a[0].IsNull() && json.Valid(a[0].Bytes())), nil
			}}}},
		parsed("JSON_ARRAY_LENGTH", "The number of elements of a JSON array.", of(Int), func(raw json.RawMessage) connect.Value {
			var list []json.RawMessage
			if json.Unmarshal(raw, &list) != nil || list == nil {
				return connect.Value{}
			}
			return connect.Int32(int32(len(list)))
		}, Example{`JSON_ARRAY_LENGTH('[1, {"a":2}]')`, "2"}, Example{`JSON_ARRAY_LENGTH('{}')`, "null"}),
		parsed("JSON_ITEMS", "The elements of a JSON array as texts.", ArrayOf(of(String)), func(raw json.RawMessage) connect.Value {
			var list []json.RawMessage
			if json.Unmarshal(raw, &list) != nil || list == nil {
				return connect.Value{}
			}
			out := make([]string, len(list))
			for i, e := range list {
				out[i] = string(e)
			}
			return stringArray(out)
		}, Example{`JSON_ITEMS('[1,{"a":2}]')`, `["1","{\"a\":2}"]`}),
		parsed("JSON_KEYS", "The names of the members of a JSON object.", ArrayOf(of(String)), func(raw json.RawMessage) connect.Value {
			list, ok := members(raw)
			if !ok {
				return connect.Value{}
			}
			return stringArray(slices.Sorted(maps.Keys(list)))
		}, Example{`JSON_KEYS('{"b":1,"a":2}')`, `["a","b"]`}),
		parsed("JSON_RECORDS", "The members of a JSON object as a map of texts.", MapOf(of(String), of(String)), func(raw json.RawMessage) connect.Value {
			list, ok := members(raw)
			if !ok {
				return connect.Value{}
			}
			var out []connect.MapEntry
			for _, k := range slices.Sorted(maps.Keys(list)) {
				out = append(out, connect.MapEntry{Key: connect.String(k), Value: connect.String(string(list[k]))})
			}
			return connect.Map(out)
		}, Example{`JSON_RECORDS('{"a":"x","b":2}')`, `{"a":"\"x\"","b":"2"}`}),
		{Name: "JSON_CONCAT", Category: jsonCategory, Doc: "Two JSON texts in one: objects with the members of both, otherwise arrays one after another.",
			Examples: []Example{{`JSON_CONCAT('{"a":1,"b":2}', '{"b":3}')`, `"{\"a\":1,\"b\":3}"`}, {`JSON_CONCAT('[1]', '2')`, `"[1,2]"`}},
			Variants: []Variant{{Params: params(String), Variadic: true, Returns: of(String), Call: concatJSON}}},
		{Name: "JSON_ARRAY_CONTAINS", Category: jsonCategory, Doc: "Whether a JSON array holds a value.", Examples: []Example{{`JSON_ARRAY_CONTAINS('[1, 2]', 2)`, "true"}, {`JSON_ARRAY_CONTAINS('["a"]', 'b')`, "false"}},
			Variants: []Variant{{Params: []Type{of(String), {Kind: Any}}, Returns: of(Boolean), Nulls: true, Bind: bindJSONContains}}},
		{Name: "TO_JSON_STRING", Category: jsonCategory, Doc: "A value of any type as JSON.", Examples: []Example{{`TO_JSON_STRING(STRUCT(a := 1, b := ARRAY['x']))`, `"{\"A\":1,\"B\":[\"x\"]}"`}},
			Variants: []Variant{{Params: []Type{{Kind: Any}}, Returns: of(String), Nulls: true, Bind: bindToJSON}}},
	}
}

// members reads a JSON object.
func members(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	var list map[string]json.RawMessage
	return list, json.Unmarshal(raw, &list) == nil && list != nil
}

func concatJSON(a []connect.Value) (connect.Value, error) {
	all := map[string]json.RawMessage{}
	var list []json.RawMessage
	objects := true
	for _, v := range a {
		raw := json.RawMessage(v.Bytes())
		if !json.Valid(raw) {
			return connect.Value{}, nil
		}
		if m, ok := members(raw); ok {
			maps.Copy(all, m)
			list = append(list, raw)
			continue
		}
		objects = false
		var elems []json.RawMessage
		if json.Unmarshal(raw, &elems) != nil {
			elems = []json.RawMessage{raw}
		}
		list = append(list, elems...)
	}
	var out []byte
	var err error
	if objects {
		out, err = json.Marshal(all)
	} else {
		out, err = json.Marshal(list)
	}
	return connect.StringBytes(out), err
}

func bindToJSON(args []Type) (Call, error) {
	schema, err := args[0].Schema()
	return func(a []connect.Value) (connect.Value, error) {
		return connect.StringBytes(connect.AppendJSON(nil, schema, a[0])), nil
	}, err
}

func bindJSONContains(args []Type) (Call, error) {
	schema, err := args[1].Schema()
	return func(a []connect.Value) (connect.Value, error) {
		var list []json.RawMessage
		if a[0].IsNull() || json.Unmarshal(a[0].Bytes(), &list) != nil {
			return connect.Bool(false), nil
		}
		want := connect.AppendJSON(nil, schema, a[1])
		for _, e := range list {
			var compact bytes.Buffer
			if json.Compact(&compact, e) == nil && bytes.Equal(compact.Bytes(), want) {
				return connect.Bool(true), nil
			}
		}
		return connect.Bool(false), nil
	}, err
}

func extractJSON(a []connect.Value) (connect.Value, error) {
	raw := json.RawMessage(a[0].Bytes())
	path, ok := strings.CutPrefix(a[1].Str(), "$")
	for ok && path != "" {
		var step string
		step, path = nextStep(path)
		raw, ok = into(raw, step)
	}
	var text string
	switch {
	case !ok || len(raw) == 0 || !json.Valid(raw) || string(raw) == "null":
		return connect.Value{}, nil
	case json.Unmarshal(raw, &text) == nil:
		return connect.String(text), nil
	}
	var compact strings.Builder
	enc := json.NewEncoder(&compact)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(raw); err != nil {
		return connect.Value{}, nil
	}
	return connect.String(strings.TrimSuffix(compact.String(), "\n")), nil
}

// nextStep cuts the first step off a JSON path: ".name", "['name']" or "[n]".
func nextStep(path string) (step, rest string) {
	if strings.HasPrefix(path, "[") {
		if i := strings.IndexByte(path, ']'); i > 0 {
			return strings.Trim(path[1:i], `'"`), path[i+1:]
		}
		return "", ""
	}
	path = strings.TrimPrefix(path, ".")
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// into returns the member or element of a JSON value.
func into(raw json.RawMessage, step string) (json.RawMessage, bool) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(list) {
			return nil, false
		}
		return list[i], true
	}
	object, _ := members(raw)
	m, ok := object[step]
	return m, ok
}
