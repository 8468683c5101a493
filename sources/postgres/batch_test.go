package postgres

import (
	"bytes"
	"runtime"
	"testing"
	"weak"

	"github.com/tidemill/tidemill/connect"
)

// addText adds a record of one text to a batch.
func addText(b *batch, s *connect.Schema, text []byte) {
	values := b.room(1)
	values[0] = b.text(text)
	r := b.next()
	*r = connect.SourceRecord{}
	r.Topic, r.ValueSchema, r.Value = "t", s, b.structure(s, values)
}

// TestMemoryUsedAgainIsAsNew wants rows from memory that was used before to be as those
// from new memory: nothing of another row stays in them.
func TestMemoryUsedAgainIsAsNew(t *testing.T) {
	s := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "a", Schema: connect.Of(connect.KindString)}}}.MustBuild()
	p := newPool(2)
	for turn := range 5 {
		b := p.take(1)
		for i := range 300 * (turn + 1) {
			addText(b, s, bytes.Repeat([]byte{byte('a' + turn)}, i%50))
			for _, v := range b.row(3) {
				if !v.IsNull() {
					t.Fatalf("turn %d: a new row holds %v", turn, v)
				}
			}
		}
		for i, r := range b.records {
			if want := string(bytes.Repeat([]byte{byte('a' + turn)}, i%50)); r.Value.Struct().At(0).Str() != want {
				t.Fatalf("turn %d: row %d holds %v, want %s", turn, i, r.Value, want)
			}
		}
		p.release(b)
	}
}

// TestPoolsDoNotHoldLargeValues: what was too large to be kept for others is not held by
// rows that are gone.
func TestPoolsDoNotHoldLargeValues(t *testing.T) {
	s := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "a", Schema: connect.Of(connect.KindString)}}}.MustBuild()
	p := newPool(2)
	large := func(make func(b *batch) []byte) weak.Pointer[byte] {
		b := p.take(1)
		addText(b, s, []byte("small"))
		text := make(b)
		values := b.room(1)
		values[0] = connect.StringBytes(text)
		r := b.next()
		*r = connect.SourceRecord{}
		r.Key, r.Value = values[0], b.structure(s, values)
		gone := weak.Make(&text[0])
		p.release(b)
		return gone
	}
	for name, gone := range map[string]weak.Pointer[byte]{
		"in a chunk of its own": large(func(b *batch) []byte { return b.copy(make([]byte, 2*mostBytes)) }),
		"that outgrew its room": large(func(b *batch) []byte { return b.keep(append(b.tail(8), make([]byte, mostBytes)...)) }),
	} {
		runtime.GC()
		if gone.Value() != nil {
			t.Errorf("a value %s is held by the pool", name)
		}
	}
	runtime.KeepAlive(p)
}
