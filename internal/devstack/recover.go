package devstack

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker forgives a kill badly: transactions that were open are taken for
// aborted, but that is written nowhere. When the same producer later commits
// another transaction and a second kill follows, the records of the first show
// as committed. So after a kill we look for open transactions in the log and
// close them with the abort markers that a transaction coordinator would write.

// openTxn is a transaction without an end in one partition's log.
type openTxn struct {
	topic     string
	partition int32
	producer  int64
	epoch     int16
}

// The layout of a record batch, from https://kafka.apache.org/documentation/#recordbatch,
// as far as it matters here.
const (
	batchHeader     = 61   // bytes up to the first record
	batchLengthAt   = 8    // length of all that follows the length itself
	batchAttributes = 21   // 16 bits of flags
	batchProducer   = 43   // producer id, then its epoch
	transactional   = 0x10 // flag: the records belong to a transaction
	control         = 0x20 // flag: the batch ends a transaction
)

// openTxns finds the transactions that are open at the end of the logs in dir:
// folders partitions/<topic>-<number> with segments named by their first offset.
func openTxns(dir string) ([]openTxn, error) {
	parts, err := filepath.Glob(filepath.Join(dir, "partitions", "*"))
	if err != nil {
		return nil, err
	}
	var found []openTxn
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
		open, err := openInPartition(part)
		if err != nil {
			return nil, fmt.Errorf("reading the log of %s: %w", name, err)
		}
		for producer, epoch := range open {
			found = append(found, openTxn{topic, int32(number), producer, epoch})
		}
	}
	return found, nil
}

// openInPartition returns the producers with an open transaction and their epochs.
func openInPartition(dir string) (map[int64]int16, error) {
	segments, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil {
		return nil, err
	}
	base := func(i int) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(segments[i]), ".dat"), 10, 64)
		return n
	}
	sort.Slice(segments, func(i, j int) bool { return base(i) < base(j) })
	open := map[int64]int16{}
	for _, segment := range segments {
		if err := scanSegment(segment, open); err != nil {
			return nil, err
		}
	}
	return open, nil
}

// scanSegment follows the batches of one segment. A batch that a kill cut off
// ends the scan, as it ends the broker's own reading.
func scanSegment(name string, open map[int64]int16) error {
	f, err := os.Open(name)
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
		flags := binary.BigEndian.Uint16(head[batchAttributes:])
		producer := int64(binary.BigEndian.Uint64(head[batchProducer:]))
		switch {
		case flags&control != 0:
			delete(open, producer)
		case flags&transactional != 0:
			open[producer] = int16(binary.BigEndian.Uint16(head[batchProducer+8:]))
		}
		rest := int(int32(binary.BigEndian.Uint32(head[batchLengthAt:]))) + batchLengthAt + 4 - batchHeader
		if rest < 0 {
			return nil
		}
		if _, err := r.Discard(rest); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// abortAll writes the abort markers through a broker that nobody else knows of
// yet.
func abortAll(brokers []string, txns []openTxn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, txn := range txns {
		topic := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		topic.Topic, topic.Partitions = txn.topic, []int32{txn.partition}
		marker := kmsg.NewWriteTxnMarkersRequestMarker()
		marker.ProducerID, marker.ProducerEpoch = txn.producer, txn.epoch
		marker.Topics = append(marker.Topics, topic)
		req := kmsg.NewWriteTxnMarkersRequest()
		req.Markers = append(req.Markers, marker)
		resp, err := req.RequestWith(ctx, cl)
		if err == nil {
			err = markerError(resp)
		}
		// A topic that was deleted leaves its log behind for a moment.
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("aborting the transaction of producer %d in %s-%d: %w", txn.producer, txn.topic, txn.partition, err)
		}
	}
	return nil
}

// markerError returns the first error that the answer holds.
func markerError(resp *kmsg.WriteTxnMarkersResponse) error {
	for _, marker := range resp.Markers {
		for _, topic := range marker.Topics {
			for _, part := range topic.Partitions {
				if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
