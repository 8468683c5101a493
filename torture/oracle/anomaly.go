package oracle

import (
	"fmt"
	"sync"
)

// The names of anomalies. Those that a reader of topics cannot see (stuck, leak,
// silent_gap, panic) are for who watches processes.
const (
	Lost           = "lost"            // A committed transaction, or a change of a row, did not come.
	Torn           = "torn"            // A transaction came in part.
	AbortedRead    = "aborted_read"    // Something came that was rolled back.
	Duplicate      = "duplicate"       // Something came again that must not.
	Reorder        = "reorder"         // A later change came before an earlier one.
	ZombieWrite    = "zombie_write"    // A writer wrote after another had taken its place.
	EarlyAck       = "early_ack"       // The source was told that something is safe that was not.
	SnapshotHole   = "snapshot_hole"   // Neither the snapshot nor the stream has it.
	SnapshotGhost  = "snapshot_ghost"  // The snapshot has what was gone, or the stream has it too.
	SchemaMismatch = "schema_mismatch" // The columns are not those of the table at that moment.
	ValueDiff      = "value_diff"      // A value is another.
	Stuck          = "stuck"           // It did not go on.
	Leak           = "leak"            // Memory, files or connections grew without end.
	SilentGap      = "silent_gap"      // Loss that nobody was told of.
	SecretLeak     = "secret_leak"     // A secret was written where others read.
	Panic          = "panic"           // A process ended by a fault of its own.
)

// Anomaly is one thing that is wrong.
type Anomaly struct {
	Name  string `json:"name"`
	Text  string `json:"text"`
	Place string `json:"place"`         // Topic, partition and offset, or a table.
	LSN   uint64 `json:"lsn,omitempty"` // Of the commit, if it is one transaction's.
	XID   int64  `json:"xid,omitempty"`
}

// String writes the anomaly in one line.
func (a Anomaly) String() string {
	s := a.Name + ": " + a.Text
	if a.Place != "" {
		s += " at " + a.Place
	}
	if a.LSN != 0 {
		s += fmt.Sprintf(", commit %X/%X", a.LSN>>32, uint32(a.LSN))
	}
	if a.XID != 0 {
		s += fmt.Sprintf(", transaction %d", a.XID)
	}
	return s
}

// found gathers anomalies, of each name only the first ones, with the number of all.
type found struct {
	mu     sync.Mutex
	list   []Anomaly
	counts map[string]int
}

// most is the number of anomalies of one name that are kept.
const most = 20

func (f *found) add(a Anomaly) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[string]int{}
	}
	if f.counts[a.Name]++; f.counts[a.Name] <= most {
		f.list = append(f.list, a)
	}
}

// all returns what was found, and one more for each name of which not all are listed.
func (f *found) all() []Anomaly {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := append([]Anomaly(nil), f.list...)
	for name, n := range f.counts {
		if n > most {
			list = append(list, Anomaly{Name: name, Text: fmt.Sprintf("and %d more of this name", n-most)})
		}
	}
	return list
}
