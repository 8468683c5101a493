package postgres

import (
	"crypto/md5"
	"encoding/hex"

	"github.com/tidemill/tidemill/connect"
)

// textTypes are the types whose text form is their value. The binary form of most of
// them is the same text.
func textTypes() []typeEntry {
	var list []typeEntry
	add := func(cd codec, extension bool, names ...string) {
		for _, name := range names {
			list = append(list, typeEntry{name: name, extension: extension, compile: func(*modes, int32) codec { return cd }})
		}
	}
	plain := connect.Of(connect.KindString)
	add(sameText(plain), false, "text", "varchar", "name", "refcursor")
	list = append(list, typeEntry{name: "bpchar", compile: func(_ *modes, mod int32) codec {
		cd := sameText(plain)
		cd.padded = max(0, int(mod)-4)
		return cd
	}})
	add(sameText(plain), true, "citext")
	// These are written by no send function, so they only ever come as text.
	add(codec{schema: plain, decode: decodeText}, true, "isbn", "isbn13", "issn", "issn13", "ismn", "ismn13", "ean13", "upc")
	add(codec{schema: plain, decode: decodeChar, binary: binaryChar}, false, "char")
	add(sameText(semantic(connect.KindString, nameJSON)), false, "json")
	add(codec{schema: semantic(connect.KindString, nameJSON), decode: decodeText, binary: versionedText("jsonb")}, false, "jsonb")
	add(codec{schema: plain, decode: decodeText, binary: versionedText("jsonpath")}, false, "jsonpath")
	add(sameText(semantic(connect.KindString, "io.debezium.data.Xml")), false, "xml")
	add(codec{schema: semantic(connect.KindString, "io.debezium.data.Uuid"), decode: decodeText, binary: binaryUUID, print: printUUID}, false, "uuid")
	add(codec{schema: semantic(connect.KindString, "io.debezium.data.Ltree"), decode: decodeText, binary: versionedText("ltree")}, true, "ltree")
	add(codec{schema: plain, decode: decodeText, binary: versionedText("lquery")}, true, "lquery", "ltxtquery")
	return append(list, typeEntry{name: "hstore", extension: true, compile: hstoreCodec})
}

const nameJSON = "io.debezium.data.Json"

// sameText is the codec of a type whose both forms are its text.
func sameText(s *connect.Schema) codec {
	return codec{schema: s, decode: decodeText, binary: decodeText, print: appendRaw}
}

func decodeText(a *arena, text []byte) (connect.Value, error) { return a.text(text), nil }

// versionedText reads text behind a byte that numbers the form, of which there is
// one.
func versionedText(typ string) decodeFunc {
	return func(a *arena, b []byte) (connect.Value, error) {
		if len(b) == 0 || b[0] != 1 {
			return connect.Value{}, badBinary(typ, b)
		}
		return a.text(b[1:]), nil
	}
}

// decodeChar reads the internal type "char". A byte beyond ASCII is no text by
// itself: it is written as newer servers do, as a backslash and octal digits.
func decodeChar(a *arena, text []byte) (connect.Value, error) {
	if len(text) == 1 && text[0] >= 0x80 {
		return binaryChar(a, text)
	}
	return a.text(text), nil
}

func binaryChar(a *arena, b []byte) (connect.Value, error) {
	if len(b) != 1 {
		return connect.Value{}, badBinary(`"char"`, b)
	}
	c := b[0]
	switch {
	case c == 0:
		return connect.String(""), nil
	case c < 0x80:
		return a.text(b), nil
	}
	return connect.StringBytes(a.keep(append(a.tail(4), '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7))), nil
}

func binaryUUID(a *arena, b []byte) (connect.Value, error) {
	if len(b) != 16 {
		return connect.Value{}, badBinary("uuid", b)
	}
	return connect.StringBytes(a.keep(appendUUID(a.tail(36), b))), nil
}

func appendUUID(dst, b []byte) []byte {
	dst = append(hex.AppendEncode(dst, b[:4]), '-')
	dst = append(hex.AppendEncode(dst, b[4:6]), '-')
	dst = append(hex.AppendEncode(dst, b[6:8]), '-')
	dst = append(hex.AppendEncode(dst, b[8:10]), '-')
	return hex.AppendEncode(dst, b[10:16])
}

// nameUUID is the UUID of version 3 that Java's nameUUIDFromBytes makes of a name.
func nameUUID(name string) string {
	sum := md5.Sum([]byte(name))
	sum[6] = sum[6]&0x0f | 0x30
	sum[8] = sum[8]&0x3f | 0x80
	return string(appendUUID(nil, sum[:]))
}
