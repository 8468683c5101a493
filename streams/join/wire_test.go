package join

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/streams/serde"
)

// TestMurmur compares hashes with those that Kafka Streams' tests give for the seed 123.
func TestMurmur(t *testing.T) {
	for text, want := range map[string][2]int64{
		"21":                         {5857341059704281894, -5288187638297930763},
		"foobar":                     {-351361463397418609, 8959716011862540668},
		"a-little-bit-long-string":   {8836256500583638442, -198172363548498523},
		"a-little-bit-longer-string": {1838346159335108511, 8794688210320490705},
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": {-4024021876037397259, -1482317706335141238},
		"abc": {1489494923063836066, -5440978547625122829},
	} {
		h := murmur([]byte(text), 123)
		if got := [2]int64{int64(h[0]), int64(h[1])}; got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// TestFormats writes what a foreign-key join tells itself as Kafka Streams does, reads
// it back, and refuses what is cut off.
func TestFormats(t *testing.T) {
	subs := subscriptions[string]{serde.Text{}}
	h := hash{1, 2}
	hashBytes := "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02"
	for want, sub := range map[string]subscription[string]{
		"\x01\x02" + hashBytes + "pk\x00\x00\x00\x07": {hash: h, hasHash: true, do: tell, key: "pk", partition: 7},
		"\x81\x01pk\x00\x00\x00\x00":                  {do: forgetAndTell, key: "pk"},
	} {
		b, err := subs.Append(nil, sub)
		if err != nil || string(b) != want {
			t.Errorf("%+v was written as %q, %v", sub, b, err)
		}
		back, err := subs.Decode(b)
		if err != nil || string(back.raw) != "pk" || back.do != sub.do || back.partition != sub.partition || back.hash != sub.hash || back.hasHash != sub.hasHash {
			t.Errorf("%q was read as %+v, %v", b, back, err)
		}
		if again := back.appendRaw(nil); !bytes.Equal(again, b) {
			t.Errorf("%q became %q", b, again)
		}
		for n := range b {
			if back, err := subs.Decode(b[:n]); err == nil && len(b)-n > 2 {
				t.Errorf("%q was read as %+v", b[:n], back)
			}
		}
	}
	// The first version has no partition.
	if back, err := subs.Decode([]byte("\x80\x00pk")); err != nil || string(back.raw) != "pk" || back.partition != -1 {
		t.Errorf("the first version was read as %+v, %v", back, err)
	}

	told := answers[string]{serde.Text{}}
	for want, a := range map[string]answer[string]{
		"\x00" + hashBytes + "row": {hash: h, hasHash: true, row: "row", hasRow: true},
		"\x00" + hashBytes:         {hash: h, hasHash: true},
		"\x40" + hashBytes:         {hash: h, hasHash: true, hasRow: true},
		"\x80":                     {},
	} {
		b, err := told.Append([]byte("x"), a)
		if err != nil || string(b) != "x"+want {
			t.Errorf("%+v was written as %q, %v", a, b, err)
		}
		a.partition = -1
		if back, err := told.Decode(b[1:]); err != nil || back != a {
			t.Errorf("%q was read as %+v, %v", b, back, err)
		}
	}
	for _, bad := range []string{"", "\x05", "\x00short"} {
		if a, err := told.Decode([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, a)
		}
	}
	if got := fmt.Sprintf("%q", appendForeign(nil, []byte("fk"))); got != `"\x00\x00\x00\x02fk"` {
		t.Errorf("the prefix is %s", got)
	}
}
