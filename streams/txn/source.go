package txn

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// Source says where a source of change events tells of its transactions.
type Source struct {
	// Topic is the topic of transaction metadata, which has one partition.
	Topic string
	// Value reads the values of Topic.
	Value serde.Serde[connect.Value]
	// Collections has the topic of each table, schema and name with a dot between them,
	// whose topic is not called like Topic with the table in place of the last part.
	Collections map[string]string
	// MaxBytes bounds the events that are held in memory until their transaction is whole;
	// 256 MiB when zero. A snapshot counts as one transaction. What is more goes to the
	// disk, when there is one.
	MaxBytes int64
	// MaxDiskBytes bounds what of it is on the disk; 10 GiB when zero.
	MaxDiskBytes int64
	// CommitTimeout is how long it may take to write what a transaction leads to, which is
	// one Kafka transaction however large; a minute when zero. Brokers allow up to their
	// transaction.max.timeout.ms, 15 minutes unless it is set. When a process is lost in
	// the midst, and another takes its place, readers of the topics wait for so long.
	CommitTimeout time.Duration
}

// The following hold for what is not set in a Source.
const (
	defaultBytes     = 256 << 20
	defaultDiskBytes = 10 << 30
	defaultTimeout   = time.Minute
)

// Limit is how many bytes of events may be held.
func (s *Source) Limit() int64 {
	if s.MaxBytes > 0 {
		return s.MaxBytes
	}
	return defaultBytes
}

// Timeout is how long the Kafka transaction of a commit may take.
func (s *Source) Timeout() time.Duration {
	if s.CommitTimeout > 0 {
		return s.CommitTimeout
	}
	return defaultTimeout
}

func (s *Source) diskLimit() int64 {
	if s.MaxDiskBytes > 0 {
		return s.MaxDiskBytes
	}
	return defaultDiskBytes
}

// TopicOf returns the topic that has the events of a table.
func (s *Source) TopicOf(collection string) string {
	if topic, ok := s.Collections[collection]; ok {
		return topic
	}
	return s.Topic[:strings.LastIndexByte(s.Topic, '.')+1] + strings.Map(legal, collection)
}

// legal replaces what may not stand in the name of a topic.
func legal(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
		return r
	}
	return '_'
}

// Epoch is a state of the database: as of the commit of one transaction, or as of a
// snapshot. Later states have higher numbers; the zero Epoch is before all.
type Epoch uint64

// snapshotEpoch and commitEpoch tell apart a snapshot and a commit at one position: the
// commit, of which the log tells, comes after.
func snapshotEpoch(lsn uint64) Epoch { return Epoch(lsn << 1) }
func commitEpoch(lsn uint64) Epoch   { return Epoch(lsn<<1 | 1) }

// LSN is the position in the log of the database.
func (e Epoch) LSN() uint64 { return uint64(e >> 1) }

// snapshot tells whether the state is that of a snapshot.
func (e Epoch) snapshot() bool { return e&1 == 0 }

// String writes the position as PostgreSQL does.
func (e Epoch) String() string { return fmt.Sprintf("%X/%X", uint32(e.LSN()>>32), uint32(e.LSN())) }
