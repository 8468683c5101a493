package recount

import (
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// App is the application's id.
const App = "fleet"

// The topics that the application writes, and Ticks, which it reads beside the changes:
// a tick moves the time of its partition on, so that windows close.
const (
	Ticks    = "fleet.ticks"
	Counts   = "fleet.counts"
	Windows  = "fleet.windows"
	Closed   = "fleet.closed"
	Pairs    = "fleet.pairs"
	Enriched = "fleet.enriched"
	Lately   = "fleet.lately"
	Total    = "fleet.total"
	Members  = "fleet.members"
	Beats    = "fleet.beats"
)

// Results are the topics that the application writes.
func Results() []string {
	return []string{Counts, Windows, Closed, Pairs, Enriched, Lately, Total, Members, Beats}
}

// Partitions is the number of partitions of the results, and of what the application
// deals out among its processes.
const Partitions = 4

// The windows: those of the aggregates are tumbling ones, and those of the join reach
// equally far before and after. Credits are kept as a table with a history, for which
// debits wait: both are less than the time by which some are late.
const (
	WindowSize  = time.Second
	WindowGrace = 2 * time.Second
	JoinReach   = 40 * time.Millisecond
	JoinGrace   = 2 * time.Second
	History     = 1200 * time.Millisecond
	Patience    = 800 * time.Millisecond
)

// Groups is the number of groups of accounts.
const Groups = 10

// GroupOf returns the group of an account.
func GroupOf(account int64) string { return "g" + strconv.FormatInt(account%Groups, 10) }

// AllAccounts is the key of the sum of all accounts.
const AllAccounts = "all"

// Kinds of moves, with which their values begin.
const (
	Debit  = 'D'
	Credit = 'C'
	Beat   = 'B'
	Tick   = 'T'
)

// Move is what an account gives or gets by a transfer: a record of the events.
type Move struct {
	Key, Value string
	Time       int64 // Milliseconds.
}

// MovesOf returns the moves of a transfer that came with a time: the account it comes from
// gives, the one it goes to gets, and either may be missing. The times are not those of the
// transfer, but up to some seconds before, in no order; and some are so late that their
// windows have closed.
func MovesOf(id int64, from, to *int64, ms int64) []Move {
	const spread, rare, late, apart = 1500, 40, 5000, 300
	h := uint64(id) * 0x9E3779B97F4A7C15 >> 33
	ms -= int64(h % spread)
	if h/spread%rare == 0 {
		ms -= late
	}
	var list []Move
	if from != nil {
		list = append(list, Move{strconv.FormatInt(*from, 10), string(Debit) + " " + strconv.FormatInt(id, 10), ms})
	}
	if to != nil {
		list = append(list, Move{strconv.FormatInt(*to, 10), string(Credit) + " " + strconv.FormatInt(id, 10), ms + int64(h/7%apart) - apart/2})
	}
	return list
}

// Weight is what a move counts in sums.
func Weight(value string) int64 {
	id, _ := strconv.ParseInt(value[2:], 10, 64) // MovesOf wrote it.
	return (id%97 + 97) % 97
}

// PartitionOf returns the partition that Kafka's producers choose for a key.
func PartitionOf(key string) int32 {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("")
	return int32(p.Partition(&kgo.Record{Key: []byte(key)}, Partitions))
}

// tickMark begins the keys of ticks, and of what comes of them.
const tickMark = "tick"

func isTick(key string) bool { return strings.HasPrefix(key, tickMark) }

// TickKeys returns a key for each partition.
func TickKeys() []string {
	keys := make([]string, Partitions)
	for n, left := 0, Partitions; left > 0; n++ {
		key := tickMark + strconv.Itoa(n)
		if p := PartitionOf(key); keys[p] == "" {
			keys[p] = key
			left--
		}
	}
	return keys
}
