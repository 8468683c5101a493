package datagen

// rows says which row comes when. It is a pure function of its fields.
type rows struct {
	seed    uint64
	keys    uint64 // How many distinct keys there are; 0: each row has a new one.
	deletes uint64 // How many in 10,000 changes are deletes.
}

// change is one change to one key, as yet without its content.
type change struct {
	op          string
	key         uint64 // From 0.
	round       uint64 // How often the key had its turn before.
	born, until bool   // There is a row after, there was one before.
}

// at returns the n-th change.
func (r rows) at(n uint64) change {
	if r.keys == 0 {
		return change{op: "c", key: n, born: true}
	}
	round := n / r.keys
	key := r.order(round, n%r.keys)
	c := change{key: key, round: round, born: r.alive(key, round), until: round > 0 && r.alive(key, round-1)}
	switch {
	case !c.born:
		c.op = "d"
	case c.until:
		c.op = "u"
	default:
		c.op = "c"
	}
	return c
}

// order returns which key has the i-th turn of a round: i·a+b modulo the number of
// keys, which reaches each once because a has no divisor in common with it.
func (r rows) order(round, i uint64) uint64 {
	a := mix(r.seed, round, 1)%r.keys | 1
	for gcd(a, r.keys) != 1 {
		a += 2
	}
	b := mix(r.seed, round, 2) % r.keys
	return (i*(a%r.keys) + b) % r.keys
}

// alive tells whether a key has a row after its turn in a round. A row is deleted
// when the dice say so, and comes back at its next turn.
func (r rows) alive(key, round uint64) bool {
	deleted := false
	// Back to the last round that surely left a row, and forward again.
	from := round
	for from > 0 && r.unlucky(key, from) {
		from--
	}
	for i := from; i <= round; i++ {
		deleted = i > 0 && !deleted && r.unlucky(key, i)
	}
	return !deleted
}

func (r rows) unlucky(key, round uint64) bool {
	return r.deletes > 0 && mix(r.seed, key, round<<8|3)%10000 < r.deletes
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// mix makes a random-looking number of three; the last steps are those of
// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
func mix(a, b, c uint64) uint64 {
	x := a
	for _, n := range [2]uint64{b, c} {
		x += n*0xd1342543de82ef95 + 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}
