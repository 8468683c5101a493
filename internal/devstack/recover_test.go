package devstack

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch returns a record batch with no records, as far as the scan reads it.
func batch(flags uint16, producer int64, epoch int16) []byte {
	b := make([]byte, batchHeader+5)
	binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(len(b)-batchLengthAt-4))
	binary.BigEndian.PutUint16(b[batchAttributes:], flags)
	binary.BigEndian.PutUint64(b[batchProducer:], uint64(producer))
	binary.BigEndian.PutUint16(b[batchProducer+8:], uint16(epoch))
	return b
}

// TestOpenTxns reads logs in which transactions begin, end and stay open, over
// two segments, the last one cut off.
func TestOpenTxns(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, "partitions", "a%2Fb-c-3")
	if err := os.MkdirAll(part, 0o755); err != nil {
		t.Fatal(err)
	}
	segments := map[string][][]byte{
		"9.dat":  {batch(transactional, 1, 0), batch(transactional, 2, 7), batch(0, 3, 0)},
		"10.dat": {batch(transactional|control, 1, 0), batch(transactional, 4, 0), batch(transactional|control, 4, 0), batch(transactional, 5, 0)[:40]},
	}
	for name, batches := range segments {
		var text []byte
		for _, b := range batches {
			text = append(text, b...)
		}
		if err := os.WriteFile(filepath.Join(part, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	logs, committed, err := readLogs(dir)
	open := openTxns(logs, committed)
	if err != nil || len(open) != 1 || open[0] != (openTxn{topic: "a/b-c", partition: 3, producer: 2, epoch: 7}) {
		t.Fatalf("open: %+v, %v", open, err)
	}
}

// FuzzReadSegment wants an end and no panic, whatever a segment holds.
func FuzzReadSegment(f *testing.F) {
	f.Add(append(batch(transactional, 1, 0), batch(transactional|control, 1, 0)...))
	f.Add(batch(0, 0, 0)[:30])
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "0.dat")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		l := &partitionLog{open: map[int64]int16{}, segment: name}
		if err := l.readSegment(map[int64]int16{}); err != nil {
			t.Fatal(err)
		}
		if len(l.open) > len(text)/batchHeader || l.size > int64(len(text)) {
			t.Fatalf("%d transactions in %d bytes, %d of them whole", len(l.open), len(text), l.size)
		}
	})
}

// killed is a broker on a copy of another one's data, as a kill would leave it.
func killed(t *testing.T, dir string, spoil func(log string)) (k *Kafka, copied string) {
	t.Helper()
	copied = t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	spoil(filepath.Join(copied, "log"))
	k, err := StartKafka(KafkaOptions{Dir: copied})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return k, copied
}

// cutOff has the last batch of a partition lack its entry in the index, and another one and
// a state of a producer be written in part.
func cutOff(t *testing.T, log string) {
	t.Helper()
	part := filepath.Join(log, "partitions", "b-0")
	info, err := os.Stat(filepath.Join(part, "0.idx"))
	if err == nil {
		err = os.Truncate(filepath.Join(part, "0.idx"), info.Size()-indexEntry)
	}
	for _, name := range []string{filepath.Join(part, "0.dat"), filepath.Join(log, "pids.log")} {
		f, openErr := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if openErr != nil {
			t.Fatal(openErr)
		}
		_, writeErr := f.Write(make([]byte, stateHeader+1))
		err = errors.Join(err, writeErr, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// transact begins a transaction that writes a value to topics.
func transact(t *testing.T, k *Kafka, id string) (cl *kgo.Client, write func(value string, topics ...string)) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.TransactionalID(id), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl, func(value string, topics ...string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, topic := range topics {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKilledWhileATransactionEnds opens copies of the data of a broker that has written the
// end of a transaction to one of two partitions: it is committed in both, or aborted in
// both, and who asks for its commit again is told which. One that is open alone is
// aborted, though its producer has committed before.
func TestKilledWhileATransactionEnds(t *testing.T) {
	for _, commit := range []bool{true, false} {
		dir := t.TempDir()
		k, err := StartKafka(KafkaOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Stop)
		halfway, writeHalfway := transact(t, k, "halfway")
		open, writeOpen := transact(t, k, "open")
		writeHalfway("first", "a", "b")
		writeOpen("first", "a", "b")
		if err := errors.Join(halfway.EndTransaction(t.Context(), kgo.TryCommit), open.EndTransaction(t.Context(), kgo.TryCommit)); err != nil {
			t.Fatal(err)
		}
		writeHalfway("halfway", "a", "b")
		writeOpen("open", "b")
		id, epoch, err := halfway.ProducerID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		endIn(t, halfway, "a", id, epoch, commit)
		want, answer := []string{"first", "first"}, kerr.InvalidTxnState.Code
		if commit {
			want, answer = append(want, "halfway"), 0
		}
		k2, dir2 := killed(t, dir, func(log string) { cutOff(t, log) })
		wantCommitted(t, k2, want)
		later, writeLater := transact(t, k2, "later")
		again := kmsg.NewEndTxnRequest()
		again.TransactionalID, again.ProducerID, again.ProducerEpoch, again.Commit = "halfway", id, epoch, true
		if resp, err := again.RequestWith(t.Context(), later); err != nil || resp.ErrorCode != answer {
			t.Errorf("commit %v: asked again: %+v, %v", commit, resp, err)
		}
		writeLater("later", "a", "b")
		if err := later.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		k3, _ := killed(t, dir2, func(string) {})
		wantCommitted(t, k3, append(want, "later"))
	}
}

func wantCommitted(t *testing.T, k *Kafka, want []string) {
	t.Helper()
	for _, topic := range []string{"a", "b"} {
		if got := committed(t, k.Brokers(), topic); !slices.Equal(got, want) {
			t.Errorf("%s: %q instead of %q", topic, got, want)
		}
	}
}

// endIn ends a transaction in one partition, as a coordinator does in one after the other.
func endIn(t *testing.T, cl *kgo.Client, topic string, producer int64, epoch int16, commit bool) {
	t.Helper()
	where := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	where.Topic, where.Partitions = topic, []int32{0}
	marker := kmsg.NewWriteTxnMarkersRequestMarker()
	marker.ProducerID, marker.ProducerEpoch, marker.Committed = producer, epoch, commit
	marker.Topics = append(marker.Topics, where)
	req := kmsg.NewWriteTxnMarkersRequest()
	req.Markers = append(req.Markers, marker)
	resp, err := req.RequestWith(t.Context(), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Markers[0].Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// committed returns the values of a topic that readers of committed records see.
func committed(t *testing.T, brokers []string, topic string) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	for next := int64(0); next < end.Offset; {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if next = r.Offset + 1; !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
	}
	return values
}
