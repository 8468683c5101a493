package postgres

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// pgSnapshot is what a statement of the server sees, as pg_current_snapshot tells it:
// transactions before xmin are over, those from xmax on had not begun, and of those
// in between the ones in xip were in progress. The numbers have 64 bits.
type pgSnapshot struct {
	xmin, xmax uint64
	xip        []uint64 // In order.
	// vague: it was taken on a standby, which does not tell xip. There a transaction is
	// seen as soon as it can be streamed.
	vague bool
}

var errSnapshotText = errors.New("the server's snapshot has an unknown form")

// parseSnapshot reads xmin:xmax:xip,xip,….
func parseSnapshot(text string) (p pgSnapshot, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return p, errSnapshotText
	}
	if p.xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return p, errSnapshotText
	}
	if p.xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return p, errSnapshotText
	}
	for _, x := range splitTrimmed(parts[2], ",") {
		if x == "" {
			continue
		}
		n, err := strconv.ParseUint(x, 10, 64)
		if err != nil {
			return p, errSnapshotText
		}
		p.xip = append(p.xip, n)
	}
	slices.Sort(p.xip)
	return p, nil
}

// sees tells whether the snapshot sees a transaction that has committed. The log has
// the lower 32 bits of its number only. All numbers in use at one time lie within half
// the circle of 32 bits around xmax, so the distance to xmax, taken in that circle,
// is the true one, in whatever epoch the server is.
func (p *pgSnapshot) sees(xid uint32) bool {
	distance := int32(xid - uint32(p.xmax))
	if distance >= 0 {
		return false
	}
	if p.vague {
		return p.xmax+uint64(int64(distance)) < p.xmin
	}
	_, running := slices.BinarySearch(p.xip, p.xmax+uint64(int64(distance)))
	return !running
}

// recentXids are the transactions that were streamed lately. Those that a snapshot
// sees are seen by every later one and need no longer be kept; while nobody asks for
// snapshots the list is bounded, and what it has lost is treated like what was
// streamed by an earlier process.
type recentXids struct {
	list []uint32
	// held: nothing should be dropped but what a snapshot has seen; lost: it was.
	held, lost bool
}

// How many are kept while nobody asks, and while somebody does.
const recentMost, recentHeld = 1 << 14, 1 << 20

func (r *recentXids) add(xid uint32) {
	if len(r.list) >= recentMost && (!r.held || len(r.list) >= recentHeld) {
		r.list = r.list[:copy(r.list, r.list[len(r.list)/2:])]
		r.lost = r.held
	}
	r.list = append(r.list, xid)
}

// prune drops what a snapshot sees.
func (r *recentXids) prune(p *pgSnapshot) {
	r.list = slices.DeleteFunc(r.list, p.sees)
}

// unseen returns a transaction of the list that the snapshot does not see.
func (p *pgSnapshot) unseen(list []uint32) (uint32, bool) {
	for _, xid := range list {
		if !p.sees(xid) {
			return xid, true
		}
	}
	return 0, false
}

// touch is one streamed change of a row of a table that is being read.
type touch struct {
	xid uint32
	// before and after are the keys by which rows are matched; empty when there is no
	// such row.
	before, after string
	// partial: the change does not hold a large value, because it did not change.
	partial bool
	text    []string // Of a partial one: after, as SQL can be given it.
	emptied bool     // The whole table was truncated.
}

// touchSize is what a touch costs apart from its keys, in bytes.
const touchSize = 64

// touches are the changes of one table since the oldest open window began.
type touches struct {
	list  []touch
	first int64 // The number of the first.
	bytes int
}

func (t *touches) next() int64 { return t.first + int64(len(t.list)) }

func (t *touches) add(c touch) {
	t.list = append(t.list, c)
	t.bytes += touchSize + len(c.before) + len(c.after)
}

// since returns the changes from a number on.
func (t *touches) since(n int64) []touch { return t.list[max(0, n-t.first):] }

// forget drops the changes before a number.
func (t *touches) forget(n int64) {
	if n <= t.first {
		return
	}
	drop := min(n-t.first, int64(len(t.list)))
	for _, c := range t.list[:drop] {
		t.bytes -= touchSize + len(c.before) + len(c.after)
	}
	t.list = slices.Delete(t.list, 0, int(drop))
	t.first = n
}

// outdated tells which rows of a chunk must not be sent, because a transaction that
// its snapshot did not see has changed them and was streamed: the row that the chunk
// has is older than what consumers have. again are the keys of rows that nobody has
// in full yet: the chunk's row is dropped, and the streamed one lacks a large value
// that did not change. They are to be read again.
//
// Where rows have no key, before is the whole row, several rows may be equal, and as
// many are dropped as were changed; when it is not known which changes the snapshot
// saw, none are, because a row too many is better than one too few.
func outdated(keys []string, changes []touch, seen *pgSnapshot, keyed bool) (drop map[int]bool, again [][]string) {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c touch) bool {
		return seen.sees(c.xid) || !keyed && seen.vague && int32(c.xid-uint32(seen.xmax)) < 0
	})
	if len(changes) == 0 {
		return nil, nil
	}
	drop = map[int]bool{}
	rows := make(map[string][]int, len(keys))
	for i, k := range keys {
		rows[k] = append(rows[k], i)
	}
	missing := map[string][]string{}
	take := func(key string) bool {
		list := rows[key]
		if key == "" || len(list) == 0 {
			return false
		}
		drop[list[0]] = true
		rows[key] = list[1:]
		return true
	}
	for _, c := range changes {
		if c.emptied {
			for i := range keys {
				drop[i] = true
			}
			clear(rows)
			clear(missing)
			continue
		}
		hit := take(c.before) || missing[c.before] != nil
		delete(missing, c.before)
		if !keyed || c.after == "" {
			continue
		}
		hit = take(c.after) || hit
		delete(missing, c.after)
		if hit && c.partial {
			missing[c.after] = c.text
		}
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		again = append(again, missing[key])
	}
	return drop, again
}
