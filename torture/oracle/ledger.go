package oracle

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// ledger is all that is known of the topics: records go in one after the other, in the
// order of their partitions.
type ledger struct {
	once    bool
	secrets [][]byte
	decoder *decoder

	mu           sync.Mutex // Guards the following.
	partitions   map[connect.TopicPartition]*partition
	transactions *transactions
	bank         *bank
	fold         *fold
	stats        Stats
	acked        uint64 // The newest position that the source was told to be safe.
	found        found
}

// Stats are counts of what was read.
type Stats struct {
	Records      int64 // Of all kinds.
	Events       int64 // Of transactions, each counted once.
	Read         int64 // Rows of snapshots.
	Beside       int64 // Of those, rows that were read beside the log.
	Repeated     int64 // Records of transactions that came before.
	Aside        int64 // Logical messages outside of transactions.
	Transactions int64 // That came whole.
	Open         int64 // That did not, yet.
	Snapshot     uint64
}

func newLedger(once bool, secrets []string, d *decoder) *ledger {
	l := &ledger{
		once: once, decoder: d, partitions: map[connect.TopicPartition]*partition{}, transactions: newTransactions(),
		bank: &bank{accounts: map[string]account{}}, fold: newFold(),
	}
	for _, s := range secrets {
		l.secrets = append(l.secrets, []byte(s))
	}
	return l
}

// take takes in one record. An error is that of a registry that does not answer: the
// record has not been taken in.
func (l *ledger) take(ctx context.Context, raw *kgo.Record) error {
	if raw.Attrs.IsControl() { // It counts for where the partition ends only.
		l.mu.Lock()
		defer l.mu.Unlock()
		l.partition(raw.Topic, raw.Partition).next = raw.Offset + 1
		return nil
	}
	r, err := l.decoder.decode(ctx, raw)
	if err != nil {
		if e := connect.AsError(err); e != nil && e.Class == connect.ClassRetriable {
			return err
		}
		r = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Records++
	l.secret(raw)
	if r == nil {
		l.found.add(Anomaly{Name: SchemaMismatch, Text: "cannot be read: " + err.Error(), Place: fmt.Sprintf("%s-%d@%d", raw.Topic, raw.Partition, raw.Offset)})
		return nil
	}
	p := l.partition(raw.Topic, raw.Partition)
	p.next = raw.Offset + 1
	p.writer(r, l.found.add)
	l.put(p, r)
	return nil
}

// put takes in a record of a partition.
func (l *ledger) put(p *partition, r *record) {
	if p.tombstone(r, r.streamed() && len(p.marks) > 0 && r.compare(p.last().place) <= 0, l.found.add) {
		return
	}
	switch {
	case r.op == "":
	case r.op == connect.OpRead:
		l.stats.Read++
		l.read(r)
	case !r.streamed():
		l.stats.Aside++
		if r.op != connect.OpMessage {
			l.found.add(anomalyOf(ValueDiff, r, "a change without a transaction"))
		}
	default:
		l.streamed(p, r)
	}
}

// read takes in a row of a snapshot. One that was read beside the log says nothing of
// the transactions, which come all the same; it must be what they have made of the row.
func (l *ledger) read(r *record) {
	if r.beside {
		l.stats.Beside++
		l.fold.take(r, true)
		l.bank.look(r, l.found.add)
		return
	}
	l.transactions.reading(r.lsn)
	l.fold.take(r, true)
	l.bank.take(r, &delta{}, l.found.add)
	if r.table == storm.TableManifest {
		m, err := manifestOf(r.row)
		if _, before := l.transactions.read[m.txid]; err == nil && !before {
			l.transactions.read[m.txid] = len(l.transactions.gaps)
		}
	}
}

// streamed takes in an event of a transaction, or the record of its begin or end.
func (l *ledger) streamed(p *partition, r *record) {
	var own storm.Digest
	first := p.take(r, own.Add(int(r.ordinal), r.event()), l.once, l.found.add)
	l.fold.take(r, first)
	if !first {
		l.stats.Repeated++
		return
	}
	if len(r.key) > 0 && r.op != opBegin && r.op != opEnd && !sameKey(r, l.decoder.keys[r.table]) {
		l.found.add(anomalyOf(ValueDiff, r, "the key is not that of the row"))
	}
	t := l.transactions.add(r, l.found.add)
	if t == nil {
		return
	}
	if r.op != opBegin && r.op != opEnd {
		l.stats.Events++
		l.bank.take(r, &t.bank, l.found.add)
	}
	if l.transactions.settle(r.commit, t, l.found.add) {
		l.stats.Transactions++
	}
}

// sameKey tells whether the record's key is that of its row. Logical messages have their
// prefix as the key.
func sameKey(r *record, keys []string) bool {
	if r.table == storm.TableMessages {
		return true
	}
	n := 0
	for _, k := range r.key {
		for _, c := range r.row {
			if c.Name == k.Name && c == k {
				n++
			}
		}
	}
	return n == len(keys) && n == len(r.key)
}

// reached tells whether all partitions were read to these ends.
func (l *ledger) reached(ends map[connect.TopicPartition]int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for tp, end := range ends {
		if p := l.partitions[tp]; end > 0 && (p == nil || p.next < end) {
			return false
		}
	}
	return true
}

// partition returns what is known of a partition.
func (l *ledger) partition(topic string, number int32) *partition {
	tp := connect.TopicPartition{Topic: topic, Partition: number}
	p := l.partitions[tp]
	if p == nil {
		p = newPartition()
		p.acks = []ack{{lsn: l.acked}}
		l.partitions[tp] = p
	}
	return p
}

// secret looks for secrets in a record.
func (l *ledger) secret(raw *kgo.Record) {
	for _, s := range l.secrets {
		leaks := bytes.Contains(raw.Value, s) || bytes.Contains(raw.Key, s) || strings.Contains(raw.Topic, string(s))
		for _, h := range raw.Headers {
			leaks = leaks || bytes.Contains(h.Value, s)
		}
		if leaks {
			l.found.add(Anomaly{Name: SecretLeak, Text: "a secret is in the record", Place: fmt.Sprintf("%s-%d@%d", raw.Topic, raw.Partition, raw.Offset)})
		}
	}
}

// has tells whether the manifest of a transaction was seen: of one that was streamed,
// that all of it has come.
func (l *ledger) has(txid int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, read := l.transactions.read[txid]; read {
		return true
	}
	commit, ok := l.transactions.commits[txid]
	return ok && l.transactions.whole[commit] == txid
}

// lags tells whether a transaction has not come whole that committed before this one.
func (l *ledger) lags(txid int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, streamed := l.transactions.commits[txid]
	for commit := range l.transactions.open {
		if streamed && commit < end {
			return true
		}
	}
	return false
}

// snapshotStats returns the counts.
func (l *ledger) snapshotStats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Open, s.Snapshot = int64(len(l.transactions.open)), l.transactions.snapshot
	return s
}
