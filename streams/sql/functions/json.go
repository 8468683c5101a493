package functions

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const jsonCategory = "JSON"

func jsonFunctions() []Function {
	return []Function{
		{Name: "EXTRACTJSONFIELD", Category: jsonCategory, Doc: "What stands at a path in a JSON text, such as $.log.cloud or $.items[0]: the text of a string, JSON otherwise, null when there is nothing.",
			Examples: []Example{
				{`EXTRACTJSONFIELD('{"log":{"cloud":"gcp","n":[1,2]}}', '$.log.cloud')`, `"gcp"`},
				{`EXTRACTJSONFIELD('{"log":{"n":[1,2]}}', '$.log.n[1]')`, `"2"`},
				{`EXTRACTJSONFIELD('{"a":{"b":1}}', '$.a')`, `"{\"b\":1}"`},
				{`EXTRACTJSONFIELD('{"a":1}', '$.x')`, "null"}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Call: extractJSON}}},
	}
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
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil, false
	}
	m, ok := members[step]
	return m, ok
}
