package connect

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// errDecimal is what ParseDecimal says of text that is no decimal number.
var errDecimal = errors.New("connect: not a decimal number")

// Decimal is the number Unscaled·10^-Scale. Unscaled is big-endian two's
// complement, as the values of a Decimal schema carry it.
type Decimal struct {
	Unscaled []byte
	Scale    int
}

// Append appends d as plain text without an exponent ("-12.340").
func (d Decimal) Append(dst []byte) []byte {
	scale := d.Scale
	if len(d.Unscaled) <= 8 {
		return appendScaled(dst, smallUnscaled(d.Unscaled), scale)
	}
	n := bigUnscaled(d.Unscaled)
	digits := n.Append(nil, 10)
	neg := digits[0] == '-'
	if neg {
		digits = digits[1:]
	}
	return appendDigits(dst, neg, digits, scale)
}

func smallUnscaled(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	n := int64(int8(b[0]))
	for _, c := range b[1:] {
		n = n<<8 | int64(c)
	}
	return n
}

func bigUnscaled(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
	}
	return n
}

func appendScaled(dst []byte, n int64, scale int) []byte {
	var buf [20]byte
	neg := n < 0
	u := uint64(n)
	if neg {
		u = -u
	}
	return appendDigits(dst, neg, strconv.AppendUint(buf[:0], u, 10), scale)
}

func appendDigits(dst []byte, neg bool, digits []byte, scale int) []byte {
	if neg {
		dst = append(dst, '-')
	}
	if scale <= 0 {
		dst = append(dst, digits...)
		if len(digits) == 1 && digits[0] == '0' {
			return dst
		}
		for ; scale < 0; scale++ {
			dst = append(dst, '0')
		}
		return dst
	}
	if len(digits) > scale {
		dst = append(dst, digits[:len(digits)-scale]...)
		dst = append(dst, '.')
		return append(dst, digits[len(digits)-scale:]...)
	}
	dst = append(dst, '0', '.')
	for i := len(digits); i < scale; i++ {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}

// ParseDecimal reads a plain decimal number ("-12.340", no exponent). Its unscaled
// value, in as few bytes as hold it, is appended to dst; its scale is the number of
// digits after the point.
func ParseDecimal(dst []byte, text string) (Decimal, error) {
	whole, frac, _ := strings.Cut(text, ".")
	neg := strings.HasPrefix(whole, "-")
	whole = strings.TrimPrefix(strings.TrimPrefix(whole, "-"), "+")
	if len(whole)+len(frac) == 0 {
		return Decimal{}, errDecimal
	}
	if len(whole)+len(frac) > 18 {
		return parseBigDecimal(dst, neg, whole+frac, len(frac))
	}
	var n int64
	for _, part := range [2]string{whole, frac} {
		for i := 0; i < len(part); i++ {
			c := part[i] - '0'
			if c > 9 {
				return Decimal{}, errDecimal
			}
			n = n*10 + int64(c)
		}
	}
	if neg {
		n = -n
	}
	return Decimal{appendUnscaled(dst, n), len(frac)}, nil
}

func parseBigDecimal(dst []byte, neg bool, digits string, scale int) (Decimal, error) {
	for i := 0; i < len(digits); i++ {
		if digits[i]-'0' > 9 {
			return Decimal{}, errDecimal
		}
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return Decimal{}, errDecimal
	}
	if neg {
		n.Neg(n)
	}
	return Decimal{AppendUnscaled(dst, n), scale}, nil
}

// appendUnscaled is AppendUnscaled for small numbers.
func appendUnscaled(dst []byte, n int64) []byte {
	size := 1
	for size < 8 && n>>(8*size-1) != 0 && n>>(8*size-1) != -1 {
		size++
	}
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}

// AppendUnscaled appends n as big-endian two's complement in as few bytes as hold
// it, as the values of a Decimal schema carry it.
func AppendUnscaled(dst []byte, n *big.Int) []byte {
	if n.IsInt64() {
		return appendUnscaled(dst, n.Int64())
	}
	if n.Sign() > 0 {
		b := n.Bytes()
		if b[0]&0x80 != 0 {
			dst = append(dst, 0)
		}
		return append(dst, b...)
	}
	size := uint(n.BitLen())/8 + 1
	if new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 8*(size-1)-1)).Cmp(n) == 0 && size > 1 {
		size--
	}
	b := new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 8*size)).Bytes()
	return append(dst, b...)
}

// Int returns the unscaled value as a big integer.
func (d Decimal) Int() *big.Int {
	if len(d.Unscaled) <= 8 {
		return big.NewInt(smallUnscaled(d.Unscaled))
	}
	return bigUnscaled(d.Unscaled)
}
