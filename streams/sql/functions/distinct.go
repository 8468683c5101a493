package functions

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
	"sort"

	"github.com/tidemill/tidemill/connect"
)

// COUNT_DISTINCT keeps a sketch of the values it met. The hashes of the first mostExact are
// kept as they are, in order, so that they are counted exactly. From then on it is a
// HyperLogLog of as many registers as ksqlDB has: a hash chooses a register by its first
// bits, which keeps the most zeros that ever began the rest. How long the sketch is tells
// which of the two it is.
const (
	mostExact = 1024
	indexBits = 14
	registers = 1 << indexBits
	mostZeros = 64 - indexBits
)

// addDistinct adds a hash. The sketch itself is not changed.
func addDistinct(sketch []byte, hash uint64) []byte {
	if len(sketch) == registers {
		i, rank := hash>>(64-indexBits), byte(min(bits.LeadingZeros64(hash<<indexBits), mostZeros)+1)
		if sketch[i] < rank {
			sketch = slices.Clone(sketch)
			sketch[i] = rank
		}
		return sketch
	}
	n := len(sketch) / 8
	at := sort.Search(n, func(i int) bool { return binary.BigEndian.Uint64(sketch[8*i:]) >= hash })
	switch {
	case at < n && binary.BigEndian.Uint64(sketch[8*at:]) == hash:
		return sketch
	case n < mostExact:
		out := append(make([]byte, 0, len(sketch)+8), sketch[:8*at]...)
		return append(binary.BigEndian.AppendUint64(out, hash), sketch[8*at:]...)
	}
	return addDistinct(toRegisters(sketch), hash)
}

func toRegisters(sketch []byte) []byte {
	out := make([]byte, registers)
	for ; len(sketch) > 0; sketch = sketch[8:] {
		hash := binary.BigEndian.Uint64(sketch)
		i := hash >> (64 - indexBits)
		out[i] = max(out[i], byte(min(bits.LeadingZeros64(hash<<indexBits), mostZeros)+1))
	}
	return out
}

// mergeDistinct adds what another sketch met.
func mergeDistinct(sketch, other []byte) []byte {
	if len(other) < registers {
		for ; len(other) > 0; other = other[8:] {
			sketch = addDistinct(sketch, binary.BigEndian.Uint64(other))
		}
		return sketch
	}
	if len(sketch) < registers {
		sketch = toRegisters(sketch)
	}
	out := slices.Clone(sketch)
	for i, r := range other {
		out[i] = max(out[i], r)
	}
	return out
}

// countDistinct estimates how many values a sketch met (Ertl, "New cardinality estimation
// algorithms for HyperLogLog sketches", 2017).
func countDistinct(sketch []byte) int64 {
	if len(sketch) < registers {
		return int64(len(sketch) / 8)
	}
	var counts [mostZeros + 2]float64
	for _, r := range sketch {
		counts[min(int(r), mostZeros+1)]++
	}
	z := registers * tau(1-counts[mostZeros+1]/registers)
	for k := mostZeros; k > 0; k-- {
		z = (z + counts[k]) / 2
	}
	z += registers * sigma(counts[0]/registers)
	return int64(math.Round(registers * registers / (2 * math.Ln2 * z)))
}

func sigma(x float64) float64 {
	y, sum := 1.0, x
	for before := -1.0; sum != before && x < 1; y += y {
		x *= x
		before = sum
		sum += x * y
	}
	if x >= 1 {
		return math.Inf(1)
	}
	return sum
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, sum := 1.0, 1-x
	for before := -1.0; sum != before; {
		x = math.Sqrt(x)
		before = sum
		y /= 2
		sum -= (1 - x) * (1 - x) * y
	}
	return sum / 3
}

// hashOf hashes a value that is not null: the same in every process and at all times, since
// it is stored.
func hashOf(t Type, v connect.Value) uint64 {
	var plain [8]byte
	b := plain[:0]
	switch t.Kind {
	case Boolean:
		b = append(b, byte(boolInt(v.Bool())))
	case Int, Bigint, Time, Date, Timestamp:
		b = binary.BigEndian.AppendUint64(b, uint64(v.Int()))
	case Double:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float()+0)) // There is one zero.
	case String, Bytes, Decimal:
		b = v.Bytes()
	default:
		b = appendTyped(b, t, v)
	}
	h := fnv.New64a()
	_, _ = h.Write(b) // It never fails.
	x := h.Sum64()
	// FNV's first bits know little of the last bytes: mix them (MurmurHash3's finalizer).
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func makeDistinct(args []Type, _ []connect.Value) (Accumulator, error) {
	return Accumulator{
		State: params(Bytes), Returns: of(Bigint), Zero: func(s []connect.Value) { s[0] = connect.Bytes([]byte{}) },
		Add: func(state, row []connect.Value) error {
			if !row[0].IsNull() {
				state[0] = connect.Bytes(addDistinct(state[0].Bytes(), hashOf(args[0], row[0])))
			}
			return nil
		},
		Merge: func(state, other []connect.Value) error {
			state[0] = connect.Bytes(mergeDistinct(state[0].Bytes(), other[0].Bytes()))
			return nil
		},
		Result: func(s []connect.Value) connect.Value { return connect.Int64(countDistinct(s[0].Bytes())) },
	}, nil
}
