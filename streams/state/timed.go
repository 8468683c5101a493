package state

import "encoding/binary"

// AppendTimed appends a timestamped value: 8 bytes of milliseconds since the
// epoch, big-endian, then the value. It is the layout of Kafka Streams'
// timestamped stores.
func AppendTimed(dst []byte, ms int64, value []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(ms)), value...)
}

// SplitTimed takes a timestamped value apart. A value too short to have a
// timestamp gives -1 and no bytes.
func SplitTimed(timed []byte) (ms int64, value []byte) {
	if len(timed) < 8 {
		return -1, nil
	}
	return int64(binary.BigEndian.Uint64(timed)), timed[8:]
}
