package postgres

import (
	"crypto/md5"
	"encoding/hex"

	"github.com/tidemill/tidemill/connect"
)

// textTypes are the types whose text form is their value.
func textTypes() []typeEntry {
	var list []typeEntry
	add := func(name string, extension bool, s *connect.Schema) {
		list = append(list, typeEntry{name: name, extension: extension, compile: func(*modes, int32) codec { return textCodec(s) }})
	}
	plain := connect.Of(connect.KindString)
	for _, name := range []string{"text", "varchar", "bpchar", "name", "char", "inet", "cidr", "macaddr", "macaddr8"} {
		add(name, false, plain)
	}
	for _, name := range []string{"citext", "isbn", "isbn13", "issn", "issn13", "ismn", "ismn13", "ean13", "upc"} {
		add(name, true, plain)
	}
	add("json", false, semantic(connect.KindString, nameJSON))
	add("jsonb", false, semantic(connect.KindString, nameJSON))
	add("xml", false, semantic(connect.KindString, "io.debezium.data.Xml"))
	add("uuid", false, semantic(connect.KindString, "io.debezium.data.Uuid"))
	add("tsvector", false, semantic(connect.KindString, "io.debezium.data.Tsvector"))
	add("ltree", true, semantic(connect.KindString, "io.debezium.data.Ltree"))
	return append(list, typeEntry{name: "hstore", extension: true, compile: hstoreCodec})
}

const nameJSON = "io.debezium.data.Json"

func textCodec(s *connect.Schema) codec {
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) { return a.text(text), nil }}
}

// nameUUID is the UUID of version 3 that Java's nameUUIDFromBytes makes of a name.
func nameUUID(name string) string {
	sum := md5.Sum([]byte(name))
	sum[6] = sum[6]&0x0f | 0x30
	sum[8] = sum[8]&0x3f | 0x80
	b := make([]byte, 0, 36)
	for i, part := range [][]byte{sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}

// hstoreCodec follows hstore.handling.mode: a JSON object or a map.
func hstoreCodec(m *modes, _ int32) codec {
	if m.hstoreMap {
		str := connect.Of(connect.KindString)
		s := connect.SchemaDef{Kind: connect.KindMap, Key: str, Elem: str.AsOptional()}.MustBuild()
		return codec{schema: s, decode: func(_ *arena, text []byte) (connect.Value, error) {
			entries, err := parseHstore(text)
			return connect.Map(entries), err
		}}
	}
	return codec{
		schema: semantic(connect.KindString, nameJSON),
		decode: func(a *arena, text []byte) (connect.Value, error) {
			entries, err := parseHstore(text)
			if err != nil {
				return connect.Value{}, err
			}
			return a.text(connect.AppendJSON(nil, nil, connect.Map(entries))), nil
		},
		missing: connect.String(string(connect.AppendJSON(nil, nil, connect.Map([]connect.MapEntry{
			{Key: connect.String(m.placeholder), Value: connect.String(m.placeholder)}})))),
	}
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
