package worker

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func (r *clientReader) producer() {
	switch acks := r.text("acks", "all"); acks {
	case "all", "-1":
		r.add(kgo.RequiredAcks(kgo.AllISRAcks()))
	case "1":
		r.add(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		r.fault("acks", "Invalid value 0 for configuration acks: offsets could not follow what nobody acknowledges")
	default:
		r.fault("acks", "Invalid value %s for configuration acks: String must be one of: all, -1, 1", acks)
	}
	if strings.EqualFold(r.text("enable.idempotence", "true"), "false") && r.text("acks", "all") != "1" {
		r.add(kgo.DisableIdempotentWrite())
	}
	r.compression()
	linger := 5 * time.Millisecond
	if n, ok := r.number("linger.ms"); ok {
		linger = time.Duration(n) * time.Millisecond
	}
	r.add(kgo.ProducerLinger(linger))
	if n, ok := r.number("max.request.size"); ok {
		r.add(kgo.ProducerBatchMaxBytes(int32(n)))
	}
	if n, ok := r.number("buffer.memory"); ok {
		r.add(kgo.MaxBufferedBytes(n))
	}
	r.millis("delivery.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.RecordDeliveryTimeout(d) })
	r.millis("transaction.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.TransactionTimeout(d) })
	r.add(kgo.RecordPartitioner(newPartitioner()))
}

func (r *clientReader) compression() {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	name := strings.ToLower(r.text("compression.type", "none"))
	codec, ok := codecs[name]
	if !ok {
		r.fault("compression.type", "Invalid value %s for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd", name)
		return
	}
	r.add(kgo.ProducerBatchCompression(codec))
}
