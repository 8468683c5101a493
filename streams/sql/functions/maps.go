package functions

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const mapCategory = "MAP"

func mapFunctions() []Function {
	table := MapOf(of(String), variable("T"))
	return []Function{
		{Name: "AS_MAP", Category: mapCategory, Doc: "A map of an array of keys and an array of their values; keys without a value have null.", Examples: []Example{{"AS_MAP(ARRAY['a', 'b'], ARRAY[1, 2])", `{"a":1,"b":2}`}},
			Variants: []Variant{{Params: []Type{ArrayOf(of(String)), ArrayOf(variable("T"))}, Returns: table, Call: func(a []connect.Value) (connect.Value, error) {
				var out []connect.MapEntry
				for i, k := range a[0].Array() {
					var value connect.Value
					if i < a[1].Len() {
						value = a[1].Array()[i]
					}
					var err error
					if out, err = Put(out, k, value); err != nil {
						return connect.Value{}, err
					}
				}
				return connect.Map(out), nil
			}}}},
		{Name: "MAP_KEYS", Category: mapCategory, Doc: "The keys of a map.", Examples: []Example{{"MAP_KEYS(MAP('a' := 1, 'b' := 2))", `["a","b"]`}},
			Variants: []Variant{{Params: []Type{table}, Returns: ArrayOf(of(String)), Call: mapParts(func(e connect.MapEntry) connect.Value { return e.Key })}}},
		{Name: "MAP_VALUES", Category: mapCategory, Doc: "The values of a map.", Examples: []Example{{"MAP_VALUES(MAP('a' := 1, 'b' := 2))", `[1,2]`}},
			Variants: []Variant{{Params: []Type{table}, Returns: ArrayOf(variable("T")), Call: mapParts(func(e connect.MapEntry) connect.Value { return e.Value })}}},
		{Name: "MAP_UNION", Category: mapCategory, Doc: "The entries of two maps; the second decides where both have a key, and a null map counts as empty.", Examples: []Example{{"MAP_UNION(MAP('a' := 1, 'b' := 2), MAP('b' := 3))", `{"a":1,"b":3}`}},
			Variants: []Variant{{Params: []Type{table, table}, Returns: table, Nulls: true, Call: mapUnion}}},
		{Name: "ENTRIES", Category: mapCategory, Doc: "The entries of a map as an array of structs with the fields K and V, sorted by key when the second argument is true.",
			Examples: []Example{{"ENTRIES(MAP('b' := 1, 'a' := 2), TRUE)", `[{"K":"a","V":2},{"K":"b","V":1}]`}},
			Variants: []Variant{{Params: []Type{table, of(Boolean)}, Result: func(args []Type) (Type, error) { return ArrayOf(entryType(args[0])), nil }, Bind: bindEntries}}},
		{Name: "SPLIT_TO_MAP", Category: stringCategory, Doc: "A map of a string: entries are parted by the second argument, keys from values by the third.",
			Examples: []Example{{"SPLIT_TO_MAP('a=1;b=2', ';', '=')", `{"a":"1","b":"2"}`}},
			Variants: []Variant{{Params: params(String, String, String), Returns: MapOf(of(String), of(String)), Call: splitToMap}}},
	}
}

func mapParts(part func(connect.MapEntry) connect.Value) Call {
	return func(a []connect.Value) (connect.Value, error) {
		out := make([]connect.Value, a[0].Len())
		for i, e := range a[0].Map() {
			out[i] = part(e)
		}
		return connect.Array(out), nil
	}
}

// Put sets a key in the entries of a map, which has no null key.
func Put(entries []connect.MapEntry, key, value connect.Value) ([]connect.MapEntry, error) {
	if key.IsNull() {
		return entries, errors.New("a key of a map is null")
	}
	return put(entries, connect.MapEntry{Key: key, Value: value}), nil
}

// put sets a key in the entries of a map.
func put(entries []connect.MapEntry, e connect.MapEntry) []connect.MapEntry {
	for i := range entries {
		if entries[i].Key.Equal(e.Key) {
			entries[i].Value = e.Value
			return entries
		}
	}
	return append(entries, e)
}

func mapUnion(a []connect.Value) (connect.Value, error) {
	if a[0].IsNull() || a[1].IsNull() {
		return firstNotNull(a)
	}
	out := slices.Clone(a[0].Map())
	for _, e := range a[1].Map() {
		out = put(out, e)
	}
	return connect.Map(out), nil
}

func entryType(m Type) Type {
	return Type{Kind: Struct, Fields: []Field{{"K", *m.Key}, {"V", *m.Elem}}}
}

func bindEntries(args []Type) (Call, error) {
	schema, err := entryType(args[0]).Schema()
	return func(a []connect.Value) (connect.Value, error) {
		entries := slices.Clone(a[0].Map())
		if a[1].Bool() {
			slices.SortFunc(entries, func(x, y connect.MapEntry) int { return cmp.Compare(x.Key.Str(), y.Key.Str()) })
		}
		out := make([]connect.Value, len(entries))
		for i, e := range entries {
			out[i] = connect.StructValue(schema.StructOf([]connect.Value{e.Key, e.Value}))
		}
		return connect.Array(out), nil
	}, err
}

func splitToMap(a []connect.Value) (connect.Value, error) {
	if a[1].Len() == 0 || a[2].Len() == 0 || a[1].Str() == a[2].Str() {
		return connect.Value{}, nil
	}
	var out []connect.MapEntry
	for _, part := range strings.Split(a[0].Str(), a[1].Str()) {
		if k, v, ok := strings.Cut(part, a[2].Str()); ok {
			v, _, _ = strings.Cut(v, a[2].Str())
			out = put(out, connect.MapEntry{Key: connect.String(k), Value: connect.String(v)})
		}
	}
	return connect.Map(out), nil
}
