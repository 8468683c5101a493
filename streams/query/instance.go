package query

import (
	"slices"
	"time"
)

// Instance is a process of an application and what it has of one store, as the
// application's group knows it.
type Instance struct {
	// Name tells it apart from others, across restarts.
	Name string `json:"name"`
	// Address is the host:port at which it answers others, empty when it answers nobody.
	Address string `json:"address,omitempty"`
	// Active are the partitions whose tasks it runs, Standby those it keeps a copy of.
	Active  []int32 `json:"active"`
	Standby []int32 `json:"standby"`
	// Lag is, for each of Standby, how many records of the changelog the copy lacked
	// when the group placed its tasks last.
	Lag map[int32]int64 `json:"lag,omitempty"`
	// Self says that it is this process.
	Self bool `json:"self,omitempty"`
}

// Owners are the instances that can answer for a key.
type Owners struct {
	// Partition is the key's, -1 when the key does not tell it: then nobody can be named,
	// and a Get asks for all partitions.
	Partition int32 `json:"partition"`
	// Active runs the key's task. It is nil while the task moves.
	Active   *Instance  `json:"active"`
	Standbys []Instance `json:"standbys"`
}

// Position is how far something has come: the next offset of partitions of topics. The
// topics are those a store's task reads, and the store's changelog.
type Position map[string]map[int32]int64

// set notes an offset that is not lower than the one noted.
func (p Position) set(topic string, partition int32, offset int64) {
	if p[topic] == nil {
		p[topic] = map[int32]int64{}
	}
	p[topic][partition] = max(p[topic][partition], offset)
}

// Merge takes the higher offset of each partition from other.
func (p Position) Merge(other Position) {
	for topic, ps := range other {
		for partition, offset := range ps {
			p.set(topic, partition, offset)
		}
	}
}

// lacks returns a topic of bound that at has not come as far in, for one partition, and
// whether at knows the topic at all.
func (p Position) lacks(bound Position, partition int32) (topic string, known, lacking bool) {
	for topic, ps := range bound {
		want, some := ps[partition]
		if !some {
			continue
		}
		if have, known := p[topic][partition]; !known || have < want {
			return topic, known, true
		}
	}
	return "", false, false
}

// Bounds say which answers will do.
type Bounds struct {
	// MaxLag lets copies answer that lack at most so many records of the changelog.
	// Without it only the instance that runs a partition's task answers.
	MaxLag int64
	// AtLeast is what an answer has to have seen. An instance that is not there yet is
	// asked again until it is.
	AtLeast Position
	// Seen, when it is not nil, is told how far the answers are, in offsets of changelogs:
	// what a later reader has to have AtLeast so as not to go back in time. It is used by
	// one goroutine then.
	Seen Position
	// Patience is how long answers are waited for while tasks move, 10 seconds when zero.
	Patience time.Duration
}

// Within returns the same rows with other bounds.
func (r *Rows) Within(b Bounds) *Rows { return &Rows{Source: r.Source, Bounds: b} }

// Local returns the rows of this process alone.
func (r *Rows) Local() *Rows {
	l := &Rows{Source: r.Source, Bounds: r.Bounds}
	l.Fleet = nil
	return l
}

// Instances lists the processes of the application with what each has of the store.
func (r *Rows) Instances() []Instance {
	if r.Fleet == nil {
		return []Instance{{Active: r.Here(), Self: true}}
	}
	all, _ := r.Fleet()
	return all
}

// Owners tells who can answer for a key.
func (r *Rows) Owners(key []byte) Owners {
	o := Owners{Partition: r.Place(r.Layout.Inner(key), r.Total())}
	for _, in := range r.Instances() {
		if slices.Contains(in.Active, o.Partition) {
			o.Active = &in
		}
		if slices.Contains(in.Standby, o.Partition) {
			o.Standbys = append(o.Standbys, in)
		}
	}
	return o
}
