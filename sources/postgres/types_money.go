package postgres

import (
	"encoding/binary"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// moneyCodec follows decimal.handling.mode, with as many digits after the point as
// money.fraction.digits says.
func moneyCodec(m *modes, _ int32) codec {
	of := func(s *connect.Schema, value func(*arena, int64) (connect.Value, error)) codec {
		return codec{
			schema: s,
			decode: func(a *arena, text []byte) (connect.Value, error) {
				n, ok := parseMoney(text)
				if !ok {
					return connect.Value{}, badText("money", text)
				}
				return value(a, n)
			},
			binary: func(a *arena, b []byte) (connect.Value, error) {
				if len(b) != 8 {
					return connect.Value{}, badBinary("money", b)
				}
				return value(a, int64(binary.BigEndian.Uint64(b)))
			},
		}
	}
	scale := m.moneyScale
	plain := func(dst []byte, n int64) []byte {
		var unscaled [8]byte
		return connect.Decimal{Unscaled: bigEndian(unscaled[:0], n), Scale: scale}.Append(dst)
	}
	switch m.decimals {
	case decimalsDouble:
		return of(connect.Of(connect.KindFloat64), func(a *arena, n int64) (connect.Value, error) {
			f, err := strconv.ParseFloat(view(plain(a.tail(32), n)), 64)
			return connect.Float64(f), err
		})
	case decimalsString:
		return of(connect.Of(connect.KindString), func(a *arena, n int64) (connect.Value, error) {
			return connect.StringBytes(a.keep(plain(a.tail(32), n))), nil
		})
	}
	return of(connect.DecimalSchema(0, scale), func(a *arena, n int64) (connect.Value, error) {
		return connect.Bytes(a.keep(bigEndian(a.tail(8), n))), nil
	})
}

// parseMoney reads the digits of money in whatever locale the server writes it.
func parseMoney(text []byte) (int64, bool) {
	var digits [20]byte
	n, neg := 0, false
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9' && n < 19:
			digits[n] = c
			n++
		case c == '-' || c == '(':
			neg = true
		}
	}
	u, err := strconv.ParseUint(view(digits[:n]), 10, 64)
	if neg {
		u = -u
	}
	return int64(u), err == nil
}

// bigEndian appends n as two's complement in as few bytes as hold it.
func bigEndian(dst []byte, n int64) []byte {
	size := 1
	for size < 8 && n>>(8*size-1) != 0 && n>>(8*size-1) != -1 {
		size++
	}
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}
