package streams

import (
	"encoding/binary"
	"slices"

	"github.com/tidemill/tidemill/streams/query"
)

// What members of a group tell each other travels in the user data of the group's own
// protocol, as in Kafka Streams (KIP-535, KIP-441): each member says where it answers and
// how far its stores are, and the leader gives everybody the whole picture with the
// assignment. Each begins with its version. What is of another one is passed over: who leads
// the group places the tasks of such a member without knowing its stores, and gives it no
// copies to keep, and a member that is led by one runs its tasks, and neither keeps copies
// nor knows where the rows of others are.
const fleetVersion = 1

// card is what a member says of itself when it joins.
type card struct {
	instance, address string
	// asking differs from that of the last time when the member wants the group to look
	// again: brokers pass joins over that say nothing new.
	asking uint64
	stands []standing // the tasks it has stores of
}

// standing is how far a task's stores are: at the joining of a member, the sum of the
// changelog offsets they have come to; in an assignment, how many they lack.
type standing struct {
	id taskID
	at int64
}

// fleet is who is in a group and what each member has.
type fleet struct {
	members []fleetMember
	self    int        // the place in members of who reads this
	copies  []taskID   // the tasks whose stores this member keeps copies of
	warm    []standing // those among them it is to take over
}

type fleetMember struct {
	instance, address string
	active            []taskID
	standby           []standing
}

// packer writes numbers and texts.
type packer []byte

func (p *packer) number(n int64) { *p = binary.AppendVarint(*p, n) }

func (p *packer) text(s string) {
	p.number(int64(len(s)))
	*p = append(*p, s...)
}

func (p *packer) tasks(ids []taskID) {
	p.number(int64(len(ids)))
	for _, id := range ids {
		p.number(int64(id.sub))
		p.number(int64(id.partition))
	}
}

func (p *packer) standings(all []standing) {
	p.number(int64(len(all)))
	for _, s := range all {
		p.number(int64(s.id.sub))
		p.number(int64(s.id.partition))
		p.number(s.at)
	}
}

// unpacker reads what a packer wrote. Once something does not fit, the rest is empty.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) number() int64 {
	n, size := binary.Varint(u.b)
	if size <= 0 {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[size:]
	return n
}

// count reads how many things follow, each of one byte at least.
func (u *unpacker) count() int {
	n := u.number()
	if n < 0 || n > int64(len(u.b)) {
		u.b, u.bad = nil, true
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	n := u.count()
	s := string(u.b[:n])
	u.b = u.b[n:]
	return s
}

func (u *unpacker) task() taskID { return taskID{int(u.number()), int32(u.number())} }

func (u *unpacker) tasks() (ids []taskID) {
	for range u.count() {
		ids = append(ids, u.task())
	}
	return ids
}

func (u *unpacker) standings() (all []standing) {
	for range u.count() {
		all = append(all, standing{u.task(), u.number()})
	}
	return all
}

// pack writes a card.
func (c *card) pack(version byte) []byte {
	p := packer{version}
	p.text(c.instance)
	p.text(c.address)
	p.number(int64(c.asking))
	p.standings(c.stands)
	return p
}

// unpackCard reads a card; ok is false for a member that wrote none, or one of another
// version.
func unpackCard(b []byte, version byte) (c card, ok bool) {
	if len(b) == 0 || b[0] != version {
		return card{}, false
	}
	u := unpacker{b: b[1:]}
	c = card{instance: u.text(), address: u.text(), asking: uint64(u.number()), stands: u.standings()}
	if u.bad {
		return card{}, false
	}
	return c, true
}

// pack writes the picture for one member.
func (f *fleet) pack(version byte) []byte {
	p := packer{version}
	p.number(int64(len(f.members)))
	for _, m := range f.members {
		p.text(m.instance)
		p.text(m.address)
		p.tasks(m.active)
		p.standings(m.standby)
	}
	p.number(int64(f.self))
	p.tasks(f.copies)
	p.standings(f.warm)
	return p
}

// unpackFleet reads the picture; nil when there is none that can be read.
func unpackFleet(b []byte, version byte) *fleet {
	if len(b) == 0 || b[0] != version {
		return nil
	}
	u, f := unpacker{b: b[1:]}, &fleet{}
	for range u.count() {
		f.members = append(f.members, fleetMember{u.text(), u.text(), u.tasks(), u.standings()})
	}
	f.self, f.copies, f.warm = int(u.number()), u.tasks(), u.standings()
	if u.bad || f.self < 0 || f.self >= len(f.members) {
		return nil
	}
	return f
}

// shows tells whether the picture has a member at an address.
func (f *fleet) shows(instance, address string) bool {
	return f.members[f.self].instance == instance && f.members[f.self].address == address
}

// instances is the picture of one store, of the sub-topology sub.
func (f *fleet) instances(sub int, self string) []query.Instance {
	all := make([]query.Instance, len(f.members))
	for i, m := range f.members {
		in := query.Instance{Name: m.instance, Address: m.address, Self: m.instance == self, Active: []int32{}, Standby: []int32{}}
		for _, id := range m.active {
			if id.sub == sub {
				in.Active = append(in.Active, id.partition)
			}
		}
		for _, s := range m.standby {
			if s.id.sub == sub {
				if in.Lag == nil {
					in.Lag = map[int32]int64{}
				}
				in.Standby, in.Lag[s.id.partition] = append(in.Standby, s.id.partition), s.at
			}
		}
		slices.Sort(in.Active)
		slices.Sort(in.Standby)
		all[i] = in
	}
	return all
}

// setFleet notes the picture that came with an assignment, nil when it cannot be read: the
// last one is not true any more.
func (a *application) setFleet(f *fleet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fleet = f
	a.stir()
}

// stir tells those who wait for something to change in who has what. a.mu is held.
func (a *application) stir() {
	close(a.stirred)
	a.stirred = make(chan struct{})
}

// instancesOf lists the instances with what each has of a store, and a channel that is
// closed when that may have changed.
func (a *application) instancesOf(store string) ([]query.Instance, <-chan struct{}) {
	sub := a.subOf(store)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fleet == nil {
		return nil, a.stirred
	}
	return a.fleet.instances(sub, a.e.instance), a.stirred
}
