package streams

import (
	"encoding/binary"
	"errors"
	"net/url"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// asideDir is where an application's transactions go that do not fit into memory.
func asideDir(dir, app string) string {
	return filepath.Join(dir, "transactions", url.PathEscape(app))
}

// stageDir is where the changes of a commit go that do not fit into memory.
func stageDir(dir, app string) string { return asideDir(dir, app) + "-changes" }

// recordCodec writes records of captured topics that are put aside: the time (8 bytes),
// key and value, and the headers. Each piece of bytes has its length before it, with 1
// added, 0 for null.
type recordCodec struct{}

// Append implements txn.Codec.
func (recordCodec) Append(dst []byte, r *kgo.Record) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Timestamp.UnixMilli()))
	dst = appendPiece(appendPiece(dst, r.Key), r.Value)
	for _, h := range r.Headers {
		dst = appendPiece(appendPiece(dst, []byte(h.Key)), h.Value)
	}
	return dst
}

func appendPiece(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
}

var errRecord = errors.New("a record that was put aside is damaged")

// Decode implements txn.Codec. Where the record is in Kafka is left to the caller.
func (recordCodec) Decode(b []byte) (*kgo.Record, error) {
	if len(b) < 8 {
		return nil, errRecord
	}
	own := append([]byte(nil), b[8:]...)
	r := &kgo.Record{Timestamp: time.UnixMilli(int64(binary.BigEndian.Uint64(b)))}
	ok := true
	next := func() (piece []byte) {
		n, head := binary.Uvarint(own)
		if ok = ok && head > 0 && (n == 0 || n-1 <= uint64(len(own)-head)); !ok || n == 0 {
			own = own[min(max(head, 0), len(own)):]
			return nil
		}
		end := head + int(n-1)
		piece, own = own[head:end:end], own[end:]
		return piece
	}
	r.Key, r.Value = next(), next()
	for ok && len(own) > 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(next()), Value: next()})
	}
	if !ok {
		return nil, errRecord
	}
	return r, nil
}
