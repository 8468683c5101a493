package postgres

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// binaryTypes are bytea and the bit strings.
func binaryTypes() []typeEntry {
	return []typeEntry{
		{name: "bytea", compile: func(m *modes, _ int32) codec { return binaryCodec(m, appendBytea) }},
		{name: "bit", compile: func(_ *modes, mod int32) codec { return bitCodec(mod, true) }},
		{name: "varbit", compile: func(_ *modes, mod int32) codec { return bitCodec(mod, false) }},
	}
}

// appendBytea reads \x and hex digits, which bytea_output=hex makes of bytes.
func appendBytea(dst, text []byte) ([]byte, error) {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
		return nil, badText("bytea", text)
	}
	dst, err := hex.AppendDecode(dst, text[2:])
	if err != nil {
		return nil, badText("bytea", text)
	}
	return dst, nil
}

// binaryCodec follows binary.handling.mode. read appends the bytes that the text
// form stands for.
func binaryCodec(m *modes, read func(dst, text []byte) ([]byte, error)) codec {
	if m.binary == binaryBytes {
		return codec{schema: connect.Of(connect.KindBytes), decode: func(a *arena, text []byte) (connect.Value, error) {
			b, err := read(a.tail(len(text)), text)
			if err != nil {
				return connect.Value{}, err
			}
			return connect.Bytes(a.keep(b)), nil
		}}
	}
	encode := hex.AppendEncode
	switch m.binary {
	case binaryBase64:
		encode = base64.StdEncoding.AppendEncode
	case binaryBase64URL:
		encode = base64.URLEncoding.AppendEncode
	}
	return codec{schema: connect.Of(connect.KindString), decode: func(a *arena, text []byte) (connect.Value, error) {
		raw, err := read(nil, text)
		if err != nil {
			return connect.Value{}, err
		}
		return connect.StringBytes(a.keep(encode(a.tail(2*len(raw)+4), raw))), nil
	}}
}

// bitCodec maps one bit to a boolean and more to bytes, the lowest first. Bit
// strings of fixed length keep all their bytes; varying ones have as many as their
// highest set bit needs.
func bitCodec(mod int32, fixed bool) codec {
	if mod == 1 {
		return codec{schema: connect.Of(connect.KindBool), decode: decodeBit}
	}
	length := "2147483647"
	if mod > 0 {
		length = strconv.Itoa(int(mod))
	}
	s := semantic(connect.KindBytes, "io.debezium.data.Bits", connect.Param{Key: "length", Value: length})
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) {
		digits := text
		if !fixed {
			for len(digits) > 0 && digits[0] == '0' {
				digits = digits[1:]
			}
		}
		b := a.tail(len(digits)/8 + 1)
		for len(digits) > 0 {
			group := digits[max(0, len(digits)-8):]
			digits = digits[:len(digits)-len(group)]
			var n byte
			for _, c := range group {
				if c != '0' && c != '1' {
					return connect.Value{}, badText("bit", text)
				}
				n = n<<1 | c&1
			}
			b = append(b, n)
		}
		return connect.Bytes(a.keep(b)), nil
	}}
}

func decodeBit(_ *arena, text []byte) (connect.Value, error) {
	switch view(text) {
	case "1":
		return connect.Bool(true), nil
	case "0", "": // The empty string of bit varying(1) has no set bit.
		return connect.Bool(false), nil
	}
	return connect.Value{}, badText("bit", text)
}
