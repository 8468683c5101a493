package postgres

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// binaryTypes are bytea and the bit strings.
func binaryTypes() []typeEntry {
	return []typeEntry{
		{name: "bytea", compile: byteaCodec},
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

// appendRaw is the reader of bytes that stand for themselves.
func appendRaw(dst, b []byte) ([]byte, error) { return append(dst, b...), nil }

// byteaCodec follows binary.handling.mode.
func byteaCodec(m *modes, _ int32) codec {
	s, decode := bytesDecoder(m, appendBytea)
	_, raw := bytesDecoder(m, appendRaw)
	return codec{schema: s, decode: decode, binary: raw}
}

// opaqueCodec is the codec of types without a mapping: their text as bytes.
func opaqueCodec(m *modes) codec {
	s, decode := bytesDecoder(m, appendRaw)
	return codec{schema: s, decode: decode}
}

// bytesDecoder follows binary.handling.mode. read appends the bytes that a value
// stands for.
func bytesDecoder(m *modes, read func(dst, from []byte) ([]byte, error)) (*connect.Schema, decodeFunc) {
	if m.binary == binaryBytes {
		return connect.Of(connect.KindBytes), func(a *arena, from []byte) (connect.Value, error) {
			b, err := read(a.tail(len(from)), from)
			if err != nil {
				return connect.Value{}, err
			}
			return connect.Bytes(a.keep(b)), nil
		}
	}
	encode := hex.AppendEncode
	switch m.binary {
	case binaryBase64:
		encode = base64.StdEncoding.AppendEncode
	case binaryBase64URL:
		encode = base64.URLEncoding.AppendEncode
	}
	return connect.Of(connect.KindString), func(a *arena, from []byte) (connect.Value, error) {
		raw, err := read(nil, from)
		if err != nil {
			return connect.Value{}, err
		}
		return connect.StringBytes(a.keep(encode(a.tail(2*len(raw)+4), raw))), nil
	}
}

// bitCodec maps one bit to a boolean and more to bytes, the lowest first. Bit
// strings of fixed length keep all their bytes; varying ones have as many as their
// highest set bit needs.
func bitCodec(mod int32, fixed bool) codec {
	if mod == 1 {
		return codec{schema: connect.Of(connect.KindBool), decode: decodeBit, binary: binaryBit}
	}
	length := "2147483647"
	if mod > 0 {
		length = strconv.Itoa(int(mod))
	}
	s := semantic(connect.KindBytes, "io.debezium.data.Bits", connect.Param{Key: "length", Value: length})
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) {
		return decodeBits(a, text, fixed)
	}, binary: func(a *arena, b []byte) (connect.Value, error) {
		return binaryBits(a, b, fixed)
	}}
}

func decodeBits(a *arena, text []byte, fixed bool) (connect.Value, error) {
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
}

// readBits splits the binary form of a bit string: the number of bits, and the bits,
// of which the first is the highest of the first byte.
func readBits(b []byte) (bits int, packed []byte, err error) {
	if len(b) < 4 {
		return 0, nil, badBinary("bit", b)
	}
	bits, packed = int(int32(binary.BigEndian.Uint32(b))), b[4:]
	if bits < 0 || len(packed) != (bits+7)/8 {
		return 0, nil, badBinary("bit", b)
	}
	return bits, packed, nil
}

// binaryBits turns the bits round: shifted to the end of their last byte, the last
// byte comes first.
func binaryBits(a *arena, raw []byte, fixed bool) (connect.Value, error) {
	bits, packed, err := readBits(raw)
	if err != nil {
		return connect.Value{}, err
	}
	unused := uint(8*len(packed) - bits)
	b := a.tail(len(packed))
	for i := len(packed) - 1; i >= 0; i-- {
		n := packed[i] >> unused
		if i > 0 {
			n |= packed[i-1] << (8 - unused)
		}
		b = append(b, n)
	}
	for !fixed && len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return connect.Bytes(a.keep(b)), nil
}

func binaryBit(_ *arena, b []byte) (connect.Value, error) {
	bits, packed, err := readBits(b)
	if err != nil || bits > 1 {
		return connect.Value{}, badBinary("bit(1)", b)
	}
	return connect.Bool(bits == 1 && packed[0]&0x80 != 0), nil
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
