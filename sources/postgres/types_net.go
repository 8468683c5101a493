package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// netTypes are addresses, and other types of the server whose value is the text that
// their bytes are written as.
func netTypes() []typeEntry {
	var list []typeEntry
	for _, t := range []struct {
		name  string
		print printFunc
	}{
		{"inet", printInet}, {"cidr", printInet}, {"macaddr", printMAC}, {"macaddr8", printMAC},
		{"pg_lsn", printLSN}, {"tid", printTID},
	} {
		cd := codec{schema: connect.Of(connect.KindString), decode: decodeText, binary: printed(t.print), print: t.print}
		list = append(list, typeEntry{name: t.name, compile: func(*modes, int32) codec { return cd }})
	}
	return append(list, typeEntry{name: "tsvector", compile: func(*modes, int32) codec {
		return codec{schema: semantic(connect.KindString, "io.debezium.data.Tsvector"), decode: decodeText, binary: printed(printTsvector)}
	}})
}

// The families of addresses, as network_send of the server's network.c writes them.
const familyIPv4, familyIPv6 = 2, 3

// printInet writes an address of inet or cidr; the length of a network is left out
// when inet has that of a single host.
func printInet(dst, b []byte) ([]byte, error) {
	if len(b) < 4 || len(b) != 4+int(b[3]) {
		return nil, badBinary("inet", b)
	}
	family, bits, cidr, addr := b[0], int(b[1]), b[2] != 0, b[4:]
	switch {
	case family == familyIPv4 && len(addr) == 4:
		dst = appendIPv4(dst, addr)
	case family == familyIPv6 && len(addr) == 16:
		dst = appendIPv6(dst, addr)
	default:
		return nil, badBinary("inet", b)
	}
	if cidr || bits != 8*len(addr) {
		dst = strconv.AppendInt(append(dst, '/'), int64(bits), 10)
	}
	return dst, nil
}

func appendIPv4(dst, addr []byte) []byte {
	for i, n := range addr {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(n), 10)
	}
	return dst
}

// appendIPv6 writes the longest run of two or more zero groups, the first of several,
// as two colons, and an address of IPv4 in its own form, by the rules of inet_net_ntop.
func appendIPv6(dst, addr []byte) []byte {
	var groups [8]uint16
	for i := range groups {
		groups[i] = binary.BigEndian.Uint16(addr[2*i:])
	}
	at, run := longestZeros(groups[:])
	embedded := at == 0 && (run == 6 || run == 7 && groups[7] != 1 || run == 5 && groups[5] == 0xffff)
	for i := 0; i < len(groups); i++ {
		switch {
		case run > 0 && i == at:
			dst = append(dst, ':')
			if i += run - 1; i == len(groups)-1 {
				dst = append(dst, ':')
			}
			continue
		case i > 0:
			dst = append(dst, ':')
		}
		if embedded && i == 6 {
			return appendIPv4(dst, addr[12:])
		}
		dst = strconv.AppendUint(dst, uint64(groups[i]), 16)
	}
	return dst
}

func longestZeros(groups []uint16) (at, run int) {
	for i := 0; i < len(groups); i++ {
		n := 0
		for i+n < len(groups) && groups[i+n] == 0 {
			n++
		}
		if n >= 2 && n > run {
			at, run = i, n
		}
		i += n
	}
	return at, run
}

func printMAC(dst, b []byte) ([]byte, error) {
	if len(b) != 6 && len(b) != 8 {
		return nil, badBinary("macaddr", b)
	}
	for i := range b {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = hex.AppendEncode(dst, b[i:i+1])
	}
	return dst, nil
}

func printLSN(dst, b []byte) ([]byte, error) {
	if len(b) != 8 {
		return nil, badBinary("pg_lsn", b)
	}
	dst = appendUpperHex(dst, binary.BigEndian.Uint32(b))
	return appendUpperHex(append(dst, '/'), binary.BigEndian.Uint32(b[4:])), nil
}

func appendUpperHex(dst []byte, n uint32) []byte {
	from := len(dst)
	dst = strconv.AppendUint(dst, uint64(n), 16)
	for i, c := range dst[from:] {
		if c >= 'a' {
			dst[from+i] = c - 'a' + 'A'
		}
	}
	return dst
}

func printTID(dst, b []byte) ([]byte, error) {
	if len(b) != 6 {
		return nil, badBinary("tid", b)
	}
	dst = strconv.AppendUint(append(dst, '('), uint64(binary.BigEndian.Uint32(b)), 10)
	dst = strconv.AppendUint(append(dst, ','), uint64(binary.BigEndian.Uint16(b[4:])), 10)
	return append(dst, ')'), nil
}

// printTsvector writes words in quotes, each with its places and their weights, as
// tsvectorout of the server does.
func printTsvector(dst, b []byte) ([]byte, error) {
	r := cursor{b: b}
	n := r.u32()
	for i := uint32(0); i < n && !r.short; i++ {
		if i > 0 {
			dst = append(dst, ' ')
		}
		end := bytes.IndexByte(r.b, 0)
		if end < 0 {
			return nil, badBinary("tsvector", b)
		}
		dst = append(dst, '\'')
		for _, c := range r.take(end + 1)[:end] {
			if c == '\'' || c == '\\' {
				dst = append(dst, c)
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\'')
		places := r.u16()
		for k := 0; k < places && !r.short; k++ {
			mark := byte(',')
			if k == 0 {
				mark = ':'
			}
			place := r.u16()
			dst = strconv.AppendInt(append(dst, mark), int64(place&0x3fff), 10)
			if weight := place >> 14; weight > 0 {
				dst = append(dst, "DCBA"[weight])
			}
		}
	}
	if r.short || len(r.b) > 0 {
		return nil, badBinary("tsvector", b)
	}
	return dst, nil
}
