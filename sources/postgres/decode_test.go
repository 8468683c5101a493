package postgres

import (
	"encoding/binary"
	"testing"
)

// wireBuilder writes pgoutput messages.
type wireBuilder struct{ b []byte }

func (w *wireBuilder) u8(v byte) *wireBuilder { w.b = append(w.b, v); return w }
func (w *wireBuilder) u16(v uint16) *wireBuilder {
	w.b = binary.BigEndian.AppendUint16(w.b, v)
	return w
}
func (w *wireBuilder) u32(v uint32) *wireBuilder {
	w.b = binary.BigEndian.AppendUint32(w.b, v)
	return w
}
func (w *wireBuilder) u64(v uint64) *wireBuilder {
	w.b = binary.BigEndian.AppendUint64(w.b, v)
	return w
}
func (w *wireBuilder) str(s string) *wireBuilder { w.b = append(append(w.b, s...), 0); return w }

// tuple writes columns: "n" null, "u" unchanged, anything else after "=" as text.
func (w *wireBuilder) tuple(columns ...string) *wireBuilder {
	w.u16(uint16(len(columns)))
	for _, c := range columns {
		if c == "n" || c == "u" {
			w.u8(c[0])
			continue
		}
		w.u8('t').u32(uint32(len(c) - 1))
		w.b = append(w.b, c[1:]...)
	}
	return w
}

func TestDecodeChanges(t *testing.T) {
	var m changeMessage
	w := new(wireBuilder).u32(7).u8('O').tuple("=a", "n").u8('N').tuple("=b", "u")
	if err := m.decodeUpdate(w.b); err != nil {
		t.Fatal(err)
	}
	if m.relation != 7 || m.oldKind != 'O' || string(m.old[0].data) != "a" || m.old[1].kind != 'n' || string(m.new[0].data) != "b" || m.new[1].kind != 'u' {
		t.Errorf("%+v", m)
	}
	if err := m.decodeInsert(new(wireBuilder).u32(8).u8('N').tuple("=").b); err != nil || len(m.new) != 1 || m.new[0].data == nil || len(m.old) != 0 {
		t.Errorf("%v %+v", err, m)
	}
	if err := m.decodeDelete(new(wireBuilder).u32(8).u8('K').tuple("=1", "n").b); err != nil || m.oldKind != 'K' || len(m.new) != 0 {
		t.Errorf("%v %+v", err, m)
	}
	r, err := decodeRelation(new(wireBuilder).u32(9).str("s").str("t").u8('d').u16(1).u8(1).str("id").u32(23).u32(0xffffffff).b)
	if err != nil || r.name != "t" || r.columns[0].mod != -1 || !r.columns[0].key {
		t.Errorf("%v %+v", err, r)
	}
}

// TestTruncatedMessages cuts each message at every byte: an error, never a panic.
func TestTruncatedMessages(t *testing.T) {
	update := new(wireBuilder).u32(7).u8('K').tuple("=a", "n").u8('N').tuple("=bcd", "u").b
	relation := new(wireBuilder).u32(9).str("s").str("t").u8('d').u16(2).u8(1).str("id").u32(23).u32(0).u8(0).str("x").u32(23).u32(0).b
	for i := range update {
		var m changeMessage
		if m.decodeUpdate(update[:i]) == nil {
			t.Errorf("the first %d bytes of an update were taken for one", i)
		}
	}
	for i := range relation {
		if _, err := decodeRelation(relation[:i]); err == nil {
			t.Errorf("the first %d bytes of a relation were taken for one", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(byte('U'), new(wireBuilder).u32(7).u8('O').tuple("=a", "n").u8('N').tuple("=b", "u").b)
	f.Add(byte('R'), new(wireBuilder).u32(9).str("s").str("t").u8('d').u16(1).u8(1).str("id").u32(23).u32(0).b)
	f.Add(byte('T'), new(wireBuilder).u32(2).u8(0).u32(1).u32(2).b)
	f.Add(byte('c'), new(wireBuilder).u32(5).u8(0).u64(1).u64(2).u64(3).b)
	f.Add(byte('M'), new(wireBuilder).u8(1).u64(5).str("p").u32(1).u8('x').b)
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		var m changeMessage
		switch typ {
		case 'B':
			_, _ = decodeBegin(b)
		case 'C':
			_, _ = decodeCommit(b)
		case 'O':
			_, _ = decodeOrigin(b)
		case 'I':
			_ = m.decodeInsert(b)
		case 'U':
			_ = m.decodeUpdate(b)
		case 'D':
			_ = m.decodeDelete(b)
		case 'T':
			_, _ = decodeTruncate(b)
		case 'M':
			_, _ = decodeLogicalMessage(b)
		case 'S':
			_, _ = decodeStreamStart(b)
		case 'A':
			_, _ = decodeStreamAbort(b)
		case 'c':
			if m, err := decodeStreamCommit(b); err == nil && (len(m.begin()) != 20 || len(m.end()) != 26) {
				t.Error("a commit in progress has another form than any other")
			}
		default:
			_, _ = decodeRelation(b)
		}
	})
}
