package postgres

import "github.com/tidemill/tidemill/connect"

// hstoreCodec follows hstore.handling.mode: a JSON object or a map.
func hstoreCodec(m *modes, _ int32) codec {
	if m.hstoreMap {
		str := connect.Of(connect.KindString)
		value := func(entries []connect.MapEntry, err error) (connect.Value, error) { return connect.Map(entries), err }
		return codec{
			schema: connect.SchemaDef{Kind: connect.KindMap, Key: str, Elem: str.AsOptional()}.MustBuild(),
			decode: func(_ *arena, text []byte) (connect.Value, error) { return value(parseHstore(text)) },
			binary: func(_ *arena, b []byte) (connect.Value, error) { return value(readHstore(b)) },
		}
	}
	value := func(a *arena, size int, entries []connect.MapEntry) connect.Value {
		return connect.StringBytes(a.keep(connect.AppendJSON(a.tail(2*size+16), nil, connect.Map(entries))))
	}
	return codec{
		schema: semantic(connect.KindString, nameJSON),
		decode: func(a *arena, text []byte) (connect.Value, error) {
			entries, err := parseHstore(text)
			if err != nil {
				return connect.Value{}, err
			}
			return value(a, len(text), entries), nil
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			entries, err := readHstore(b)
			if err != nil {
				return connect.Value{}, err
			}
			return value(a, len(b), entries), nil
		},
		missing: connect.String(string(connect.AppendJSON(nil, nil, connect.Map([]connect.MapEntry{
			{Key: connect.String(m.placeholder), Value: connect.String(m.placeholder)}})))),
	}
}

// readHstore reads what hstore_send writes: the number of pairs, and of each the key
// and the value with their lengths, -1 for null.
func readHstore(b []byte) ([]connect.MapEntry, error) {
	r := cursor{b: b}
	n := int(r.u32())
	if r.short || n > len(r.b)/8 {
		return nil, badBinary("hstore", b)
	}
	entries := make([]connect.MapEntry, n)
	for i := range entries {
		entries[i].Key = connect.String(string(r.take(int(int32(r.u32())))))
		if size := int32(r.u32()); size >= 0 {
			entries[i].Value = connect.String(string(r.take(int(size))))
		}
	}
	if r.short || len(r.b) > 0 {
		return nil, badBinary("hstore", b)
	}
	return entries, nil
}

// parseHstore reads "key"=>"value", "other"=>NULL. Both are always quoted on output,
// with backslashes before quotes and backslashes.
func parseHstore(text []byte) ([]connect.MapEntry, error) {
	entries := []connect.MapEntry{}
	for rest := text; len(rest) > 0; {
		key, after, ok := quoted(rest)
		if !ok || len(after) < 2 || after[0] != '=' || after[1] != '>' {
			return nil, badText("hstore", text)
		}
		e := connect.MapEntry{Key: connect.String(key)}
		after = after[2:]
		if len(after) >= 4 && view(after[:4]) == "NULL" {
			rest = after[4:]
		} else {
			var value string
			if value, rest, ok = quoted(after); !ok {
				return nil, badText("hstore", text)
			}
			e.Value = connect.String(value)
		}
		entries = append(entries, e)
		if len(rest) > 0 {
			if len(rest) < 2 || rest[0] != ',' || rest[1] != ' ' {
				return nil, badText("hstore", text)
			}
			rest = rest[2:]
		}
	}
	return entries, nil
}

// quoted reads a string in double quotes and returns it and what follows.
func quoted(text []byte) (string, []byte, bool) {
	if len(text) == 0 || text[0] != '"' {
		return "", nil, false
	}
	var s []byte
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return string(s), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			s = append(s, text[i])
		default:
			s = append(s, c)
		}
	}
	return "", nil, false
}
