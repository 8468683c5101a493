package join

import (
	"encoding/binary"
	"math/bits"
)

// hash is a 128-bit MurmurHash3, the one for 64-bit machines, by Austin Appleby.
// Kafka Streams marks rows with it, from the same seed.
type hash [2]uint64

const (
	hashSeed = 104729
	mulOne   = 0x87c37b91114253d5
	mulTwo   = 0x4cf5ad432745937f
)

func hashOf(b []byte) hash { return murmur(b, hashSeed) }

func murmur(b []byte, seed uint64) hash {
	one, two, length := seed, seed, uint64(len(b))
	for ; len(b) >= 16; b = b[16:] {
		one ^= mixOne(binary.LittleEndian.Uint64(b))
		one = (bits.RotateLeft64(one, 27)+two)*5 + 0x52dce729
		two ^= mixTwo(binary.LittleEndian.Uint64(b[8:]))
		two = (bits.RotateLeft64(two, 31)+one)*5 + 0x38495ab5
	}
	// What is left is filled up with zeros, whose mix is zero.
	var tail [16]byte
	copy(tail[:], b)
	one ^= mixOne(binary.LittleEndian.Uint64(tail[:8]))
	two ^= mixTwo(binary.LittleEndian.Uint64(tail[8:]))

	one, two = one^length, two^length
	one += two
	two += one
	one, two = spread(one), spread(two)
	one += two
	two += one
	return hash{one, two}
}

func mixOne(k uint64) uint64 { return bits.RotateLeft64(k*mulOne, 31) * mulTwo }
func mixTwo(k uint64) uint64 { return bits.RotateLeft64(k*mulTwo, 33) * mulOne }

// spread lets every bit change every other.
func spread(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
