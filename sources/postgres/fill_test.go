package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

const fillTable = `
CREATE TABLE docs (id int PRIMARY KEY, n int, body text, tags text[], nums numeric[], raw bytea, props jsonb);
INSERT INTO docs SELECT g, 0, big(g), ARRAY[big(g + 1), NULL], ARRAY[1.5, 2], decode(repeat('ab', 3000 + g), 'hex'), jsonb_build_object('v', big(g + 2)) FROM generate_series(1, 20) g;`

// The texts cannot be compressed, so that the server stores them apart.
const fillBig = `
CREATE FUNCTION big(seed int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT string_agg(md5(seed::text || '.' || i), '') FROM generate_series(1, 100) i $$;`

// fillText is a row of docs in a few words: whole values are long.
func fillText(r *connect.SourceRecord) string {
	var parts []string
	for i, v := range r.Value.Struct().Get("after").Struct().Values() {
		text := v.String()
		if i > 1 {
			text = fmt.Sprintf("%d:%x", len(text), textHash(text))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func textHash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// TestFillCompletesEveryValue updates rows without their large columns: events have
// them all the same, also those that are read again after a restart, when the row has
// been changed since.
func TestFillCompletesEveryValue(t *testing.T) {
	d := newTestDB(t)
	d.exec(fillBig)
	d.exec(fillTable)
	dir, offsets := t.TempDir(), &connecttest.Offsets{}
	config := []string{"unavailable.value.mode", "fill", "slot.drop.on.stop", "false"}
	run := connecttest.StartSourceIn(t, Plugin().New(), d.config(config...), offsets, dir)
	first := map[string]string{}
	for _, r := range run.Take(20) {
		first[r.Key.String()] = fillText(&r)
	}
	run.Commit()
	d.exec("UPDATE docs SET n = 1")
	d.exec("UPDATE docs SET n = 2, body = big(id + 1000) WHERE id <= 5")
	d.exec("UPDATE docs SET id = 101 WHERE id = 1")
	d.exec("UPDATE docs SET n = 3 WHERE id = 101 OR id = 2")
	d.exec("DELETE FROM docs WHERE id = 20; INSERT INTO docs VALUES (20, 9, 'small')")
	d.exec("UPDATE docs SET n = 10 WHERE id = 20")
	const changes = 20 + 5 + 3 + 2 + 2 + 1 + 1 // A change of key is three records, a deletion two.
	once := texts(run.Take(changes))
	for _, line := range once {
		if strings.Contains(line, fmt.Sprintf("%x", textHash(`"__debezium_unavailable_value"`))) {
			t.Errorf("a value is missing: %s", line)
		}
	}
	run.Stop() // Nothing of this was stored.
	again := connecttest.StartSourceIn(t, Plugin().New(), d.config(config...), offsets, dir)
	if twice := texts(again.Take(changes)); strings.Join(once, "\n") != strings.Join(twice, "\n") {
		t.Errorf("read once:\n%s\nread again:\n%s", strings.Join(once, "\n"), strings.Join(twice, "\n"))
	}
	again.Commit()
	if got := again.Metrics.Counter("values_unavailable_total"); got != 0 {
		t.Errorf("%d values were not known", got)
	}
	d.exec("UPDATE docs SET n = 4 WHERE id = 7")
	last := again.Take(1)
	if got, want := fillText(&last[0]), strings.Replace(first[`{"id":7}`], "7 0 ", "7 4 ", 1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	again.Commit()
	again.Stop()

	// Without what was kept, the tables are read again.
	if err := os.RemoveAll(filepath.Join(dir, "values")); err != nil {
		t.Fatal(err)
	}
	d.exec("UPDATE docs SET n = 5 WHERE id = 7")
	fresh := connecttest.StartSourceIn(t, Plugin().New(), d.config(config...), offsets, dir)
	complete := map[string]bool{}
	eventually(t, "all rows are read again", func() bool {
		for _, r := range fresh.Poll(time.Second) {
			if r.Topic != "" && op(&r) == "r" {
				complete[r.Key.String()] = true
			}
		}
		return len(complete) == 20
	})
	d.exec("UPDATE docs SET n = 6 WHERE id = 7")
	last = fresh.Take(1)
	if got, want := fillText(&last[0]), strings.Replace(first[`{"id":7}`], "7 0 ", "7 6 ", 1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func texts(records []connect.SourceRecord) (list []string) {
	for i := range records {
		r := &records[i]
		line := r.Key.String() + " " + op(r)
		if !r.Value.IsNull() && !r.Value.Struct().Get("after").IsNull() {
			line += " " + fillText(r)
		}
		list = append(list, line)
	}
	return list
}

func TestFillNeedsADirectory(t *testing.T) {
	if _, err := openFill("", nil); connect.AsError(err).Code != "pg.fill.dir" {
		t.Error(err)
	}
}

// FuzzStoredValue reads stored values that may be damaged, and whole ones back.
func FuzzStoredValue(f *testing.F) {
	s := connect.SchemaDef{Kind: connect.KindArray, Elem: connect.SchemaDef{Kind: connect.KindStruct, Name: "p", Optional: true, Fields: []connect.Field{
		{Name: "x", Schema: connect.Of(connect.KindFloat64)}, {Name: "t", Schema: connect.Of(connect.KindString).AsOptional()}, {Name: "b", Schema: connect.Of(connect.KindBytes)},
		{Name: "n", Schema: connect.Of(connect.KindInt32)}, {Name: "m", Schema: connect.SchemaDef{Kind: connect.KindMap, Key: connect.Of(connect.KindString), Elem: connect.Of(connect.KindBool)}.MustBuild()},
	}}.MustBuild()}.MustBuild()
	row := connect.StructValue(s.Elem().StructOf([]connect.Value{connect.Float64(1.5), {}, connect.Bytes([]byte{1, 0}), connect.IntOf(connect.KindInt32, -7),
		connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.Bool(true)}})}))
	whole := connect.Array([]connect.Value{row, {}})
	head := appendLengthy([]byte{byte(s.Kind())}, s.Name())
	f.Add(appendStored(head, whole))
	f.Add([]byte{byte(s.Kind()), 0, byte(s.Kind()), 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := readStored(&arena{}, s, b)
		if !ok {
			return
		}
		if back, ok := readStored(&arena{}, s, appendStored(head[:len(head):len(head)], v)); !ok || !back.Equal(v) && !strings.Contains(v.String(), "NaN") {
			t.Errorf("%s came back as %s", v, back)
		}
	})
}
