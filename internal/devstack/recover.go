package devstack

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker forgives a kill badly. Transactions that were open are taken for
// aborted, but that is written nowhere: when the same producer later commits
// another one and a second kill follows, the records of the first show as
// committed. A commit that the kill interrupts is there in some partitions and
// not in the others. A batch whose index entry was not written any more counts as
// one of no transaction, and shifts the entries of all that follow. And who asks
// again for a commit may be told that it is done. So before a broker starts after
// a kill, its files are mended as a transaction coordinator would end its
// transactions: with a commit where some partition has one of the same transaction,
// as each has an epoch of its own (KIP-890), else with an abort. The offsets that a
// transaction commits for a consumer group are written last of all, and are lost
// with the broker.

// openTxn is a transaction without an end in one partition's log.
type openTxn struct {
	topic     string
	partition int32
	producer  int64
	epoch     int16
	commit    bool // It is committed in another partition.
}

// The layout of a record batch, from https://kafka.apache.org/documentation/#recordbatch,
// as far as it matters here.
const (
	batchHeader     = 61   // bytes up to the first record
	batchLengthAt   = 8    // length of all that follows the length itself
	batchEpochAt    = 12   // epoch of the partition's leader
	batchChecked    = 21   // all from here on has a check sum, which stands in front of it
	batchAttributes = 21   // 16 bits of flags
	batchLastDelta  = 23   // how far the last record's offset is from the first one's
	batchProducer   = 43   // producer id, then its epoch
	transactional   = 0x10 // flag: the records belong to a transaction
	control         = 0x20 // flag: the batch ends a transaction
	maxMarker       = 256  // bytes of the record that says how it ends, at most
)

// partitionLog is what a partition's files say.
type partitionLog struct {
	topic   string
	number  int32
	open    map[int64]int16 // The producers with an open transaction, and its epoch.
	segment string          // The last file of batches.
	size    int64           // Its length as far as batches are whole,
	next    int64           // the offset behind it,
	leader  uint32          // and the leader's epoch in it.
	inTxn   []bool          // For each batch of the file, whether it has a transaction's records.
}

// readLogs reads the folders partitions/<topic>-<number> of dir, with segments named by
// their first offset, and returns also the newest transaction of each producer that some
// partition shows committed.
func readLogs(dir string) (logs []*partitionLog, committed map[int64]int16, err error) {
	committed = map[int64]int16{}
	parts, err := filepath.Glob(filepath.Join(dir, "partitions", "*"))
	if err != nil {
		return nil, nil, err
	}
	for _, part := range parts {
		name := filepath.Base(part)
		i := strings.LastIndexByte(name, '-')
		if i < 0 {
			continue
		}
		number, err1 := strconv.ParseInt(name[i+1:], 10, 32)
		topic, err2 := url.PathUnescape(name[:i])
		if err1 != nil || err2 != nil {
			continue
		}
		l := &partitionLog{topic: topic, number: int32(number), open: map[int64]int16{}}
		if err := l.read(part, committed); err != nil {
			return nil, nil, fmt.Errorf("reading the log of %s: %w", name, err)
		}
		logs = append(logs, l)
	}
	return logs, committed, nil
}

// openTxns returns what is open at the end of the logs.
func openTxns(logs []*partitionLog, committed map[int64]int16) (found []openTxn) {
	for _, l := range logs {
		for producer, epoch := range l.open {
			newest, ok := committed[producer]
			found = append(found, openTxn{l.topic, l.number, producer, epoch, ok && newest == epoch})
		}
	}
	return found
}

func (l *partitionLog) read(dir string, committed map[int64]int16) error {
	segments, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil {
		return err
	}
	base := func(i int) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(segments[i]), ".dat"), 10, 64)
		return n
	}
	sort.Slice(segments, func(i, j int) bool { return base(i) < base(j) })
	for i, segment := range segments {
		l.segment, l.size, l.next, l.inTxn = segment, 0, base(i), nil
		if err := l.readSegment(committed); err != nil {
			return err
		}
	}
	return nil
}

// readSegment follows the batches of one segment. A batch that a kill cut off ends it, as
// it ends the broker's own reading.
func (l *partitionLog) readSegment(committed map[int64]int16) error {
	f, err := os.Open(l.segment)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReaderSize(f, 64<<10)
	var head [batchHeader]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return err
		}
		rest := int(int32(binary.BigEndian.Uint32(head[batchLengthAt:]))) + batchLengthAt + 4 - batchHeader
		if rest < 0 {
			return nil
		}
		marker, _ := r.Peek(min(rest, maxMarker))
		commit := isCommit(marker)
		if _, err := r.Discard(rest); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		l.take(head[:], commit, committed)
		l.size += int64(batchHeader + rest)
	}
}

// take notes a whole batch.
func (l *partitionLog) take(head []byte, commit bool, committed map[int64]int16) {
	flags := binary.BigEndian.Uint16(head[batchAttributes:])
	producer := int64(binary.BigEndian.Uint64(head[batchProducer:]))
	epoch := int16(binary.BigEndian.Uint16(head[batchProducer+8:]))
	l.next = int64(binary.BigEndian.Uint64(head)) + int64(binary.BigEndian.Uint32(head[batchLastDelta:])) + 1
	l.leader = binary.BigEndian.Uint32(head[batchEpochAt:])
	l.inTxn = append(l.inTxn, flags&(transactional|control) == transactional)
	switch {
	case flags&control != 0:
		delete(l.open, producer)
		if newest, ok := committed[producer]; commit && (!ok || epoch > newest) {
			committed[producer] = epoch
		}
	case flags&transactional != 0:
		l.open[producer] = epoch
	}
}

// isCommit tells whether the record of a batch that ends a transaction says commit.
func isCommit(text []byte) bool {
	var record kmsg.Record
	var key kmsg.ControlRecordKey
	return record.ReadFrom(text) == nil && key.ReadFrom(record.Key) == nil && key.Type == kmsg.ControlRecordKeyTypeCommit
}

// mendLogs ends all transactions in the files of a broker that was killed.
func mendLogs(dir string) error {
	logs, committed, err := readLogs(dir)
	if err != nil {
		return err
	}
	txns := openTxns(logs, committed)
	// The producers first: without an open transaction nobody would look at them again.
	if err := endProducers(filepath.Join(dir, "pids.log"), txns); err != nil {
		return fmt.Errorf("noting how transactions have ended: %w", err)
	}
	for _, l := range logs {
		if err := l.mend(txns); err != nil {
			return fmt.Errorf("mending %s: %w", l.segment, err)
		}
	}
	return nil
}

// mend takes away what is cut off at the end of the log, adds the entries that its index
// lacks, and ends the log's transactions.
func (l *partitionLog) mend(txns []openTxn) error {
	if l.segment == "" {
		return nil
	}
	var batches []byte
	for _, txn := range txns {
		if txn.topic == l.topic && txn.partition == l.number {
			batches = append(batches, l.marker(txn)...)
			l.next++
			l.inTxn = append(l.inTxn, false)
		}
	}
	if err := appendAt(l.segment, l.size, batches); err != nil {
		return err
	}
	index := strings.TrimSuffix(l.segment, ".dat") + ".idx"
	info, err := os.Stat(index)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	have := 0
	if err == nil {
		have = min(int(info.Size()/indexEntry), len(l.inTxn))
	}
	var entries []byte
	for _, inTxn := range l.inTxn[have:] {
		entries = append(entries, l.entry(inTxn)...)
	}
	return appendAt(index, int64(have)*indexEntry, entries)
}

// appendAt writes text at the end of a file that is to be size bytes long before.
func appendAt(name string, size int64, text []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		_, err = f.WriteAt(text, size)
	}
	return errors.Join(err, f.Close())
}

// marker is the batch that ends a transaction.
func (l *partitionLog) marker(txn openTxn) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if txn.commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	var end kmsg.EndTxnMarker
	record := kmsg.Record{Key: key.AppendTo(nil), Value: end.AppendTo(nil)}
	record.Length = int32(len(record.AppendTo(nil)) - 1) // The length itself is one byte.
	now := time.Now().UnixMilli()
	const magic = 2
	batch := kmsg.RecordBatch{
		FirstOffset: l.next, PartitionLeaderEpoch: int32(l.leader), Magic: magic, Attributes: transactional | control, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: txn.producer, ProducerEpoch: txn.epoch, FirstSequence: -1, NumRecords: 1, Records: record.AppendTo(nil),
	}
	text := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(text[batchLengthAt:], uint32(len(text)-batchLengthAt-4))
	binary.BigEndian.PutUint32(text[batchChecked-4:], crc32.Checksum(text[batchChecked:], castagnoli))
	return text
}

// The layout of the broker's own files: an entry of an index has a version, the low byte of
// the rest's check sum, the leader's epoch, a time that is computed anew, and whether the
// batch has a transaction's records; one of a log of states has its length, a check sum,
// a version and JSON.
const (
	indexEntry   = 15
	entryEpochAt = 2
	entryTxnAt   = 14
	stateHeader  = 10
	fileVersion  = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a batch's entry of the index.
func (l *partitionLog) entry(inTxn bool) []byte {
	text := make([]byte, indexEntry)
	text[0] = fileVersion
	binary.LittleEndian.PutUint32(text[entryEpochAt:], l.leader)
	if inTxn {
		text[entryTxnAt] = 1
	}
	text[1] = byte(crc32.Checksum(text[entryEpochAt:], castagnoli))
	return text
}

// producerState is an entry of the log of producers.
type producerState struct {
	Type   string `json:"type"`
	ID     int64  `json:"pid"`
	Epoch  int16  `json:"epoch"`
	Commit *bool  `json:"commit,omitempty"`
}

// endProducers notes how the transactions have ended. The producer that asks for the end
// once more is told so, and has the next epoch for its next transaction.
func endProducers(name string, txns []openTxn) error {
	raw, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	epochs, size := producerEpochs(raw)
	ended := map[int64]producerState{}
	for _, txn := range txns {
		if epoch, ok := epochs[txn.producer]; ok && epoch == txn.epoch {
			commit := txn.commit || ended[txn.producer].Commit != nil && *ended[txn.producer].Commit
			ended[txn.producer] = producerState{Type: "endtx", ID: txn.producer, Epoch: epoch + 1, Commit: &commit}
		}
	}
	var text []byte
	for _, state := range ended {
		data, err := json.Marshal(state)
		if err != nil {
			return err
		}
		entry := make([]byte, stateHeader, stateHeader+len(data))
		binary.LittleEndian.PutUint32(entry, uint32(len(data)+2))
		binary.LittleEndian.PutUint16(entry[8:], fileVersion)
		entry = append(entry, data...)
		binary.LittleEndian.PutUint32(entry[4:], crc32.Checksum(entry[8:], castagnoli))
		text = append(text, entry...)
	}
	if len(text) == 0 {
		return nil
	}
	return appendAt(name, size, text)
}

// producerEpochs returns the epoch that each producer has at the end of a log, and how
// long the log is as far as its entries are whole.
func producerEpochs(raw []byte) (epochs map[int64]int16, size int64) {
	epochs = map[int64]int16{}
	for rest := raw; len(rest) >= stateHeader; {
		length := int64(binary.LittleEndian.Uint32(rest))
		if length < 2 || length > int64(len(rest)-8) || crc32.Checksum(rest[8:8+length], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		var state producerState
		if json.Unmarshal(rest[stateHeader:8+length], &state) == nil {
			epochs[state.ID] = state.Epoch
		}
		rest, size = rest[8+length:], size+8+length
	}
	return epochs, size
}
