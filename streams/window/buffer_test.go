package window

import (
	"testing"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// FuzzEntry reads entries of a buffer, whatever they are, and writes what it could read
// the same again.
func FuzzEntry(f *testing.F) {
	b := &buffer[string, string]{values: serde.Text{}}
	rec := &streams.Record[string, streams.Change[string]]{Time: 7, Headers: []streams.Header{{Key: "h", Value: []byte("v")}}}
	for _, c := range []streams.Change[string]{{}, {Old: "o", HasOld: true}, {New: "", HasNew: true}, {Old: "o", HasOld: true, New: "new", HasNew: true}} {
		e, err := b.encode(nil, rec, &c)
		if err != nil {
			f.Fatal(err)
		}
		if got, err := b.decode(e); err != nil || got.Value != c || got.Time != 7 || len(got.Headers) != 1 {
			f.Fatalf("%+v came back as %+v, %v", c, got, err)
		}
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, e []byte) {
		r, err := b.decode(e)
		if err != nil {
			return
		}
		again, err := b.encode(nil, &r, &r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := b.decode(again); err != nil || s.Value != r.Value || s.Time != r.Time || len(s.Headers) != len(r.Headers) {
			t.Fatalf("%+v came back as %+v, %v", r, s, err)
		}
	})
}
