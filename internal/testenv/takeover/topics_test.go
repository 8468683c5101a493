//go:build takeover

package takeover_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/worker/fleet"
)

// read returns what a topic holds for readers of committed records, and where it ends.
func (w *world) read(topic string) (records []*kgo.Record) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	begins, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if begin, _ := begins.Lookup(topic, o.Partition); o.Err == nil && o.Offset > begin.Offset {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			w.t.Fatalf("%s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

// ids returns the ids of a table's rows in the order in which its topic has them.
func (w *world) ids(topic string) (list []int) {
	w.t.Helper()
	for _, r := range w.read(topic) {
		var v struct{ After struct{ ID *int } }
		if json.Unmarshal(r.Value, &v) == nil && v.After.ID != nil {
			list = append(list, *v.After.ID)
		}
	}
	return list
}

// waitRows waits until a topic holds all rows of its table, and checks that none was left
// out or is there twice. Without transactions a row may come again.
func (w *world) waitRows(table string) {
	w.t.Helper()
	topic, want := w.topic(table), w.rows[table]
	var found []int
	wait(w.t, fmt.Sprintf("%d rows of %s are in Kafka", want, table), func() bool {
		found = w.ids(topic)
		return slices.Contains(found, want)
	}, func() string { return fmt.Sprint(found, "\n", w.now.tail()) })
	highest := 0
	for _, id := range found {
		switch {
		case id == highest+1:
			highest = id
		case id <= highest && !w.exactly:
			w.again++
		default:
			w.t.Fatalf("%s: row %d follows row %d: %v", topic, id, highest, found)
		}
	}
}

// waitLines does so for the lines that Kafka Connect reads from a file.
func (w *world) waitLines() {
	w.t.Helper()
	var found []string
	wait(w.t, "all lines are in Kafka", func() bool {
		found = nil
		for _, r := range w.read(w.group + "-lines") {
			var line string
			if json.Unmarshal(r.Value, &line) == nil {
				found = append(found, line)
			}
		}
		return len(found) >= w.lines
	}, func() string { return fmt.Sprint(found, "\n", w.now.tail()) })
	for i, line := range found {
		if line != fmt.Sprint("line ", i+1) {
			w.t.Fatalf("line %d is %q: %q", i+1, line, found)
		}
	}
}

// waitCopy waits until the file that the sink writes holds every line once.
func (w *world) waitCopy(name, prefix string, want int) {
	w.t.Helper()
	var text []byte
	wait(w.t, fmt.Sprintf("%s holds %d lines", name, want), func() bool {
		text, _ = os.ReadFile(w.path(name)) // It may not be there yet.
		return strings.Count(string(text), "\n") >= want
	}, func() string { return string(text) + "\n" + w.now.tail() })
	if prefix == "" {
		return
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		seen[strings.TrimSpace(line)]++
	}
	for i := range want {
		if line := fmt.Sprint(prefix, i+1); seen[line] != 1 {
			w.t.Errorf("%s: %q is there %d times: %s", name, line, seen[line], text)
		}
	}
}

// position returns how many records a topic holds, old and new.
func (w *world) position(topic string) map[int32]int64 {
	w.t.Helper()
	ends := map[int32]int64{}
	for _, r := range w.read(topic) {
		ends[r.Partition] = max(ends[r.Partition], r.Offset+1)
	}
	return ends
}

// written returns the records of a topic behind a position.
func (w *world) written(topic string, behind map[int32]int64) (records []*kgo.Record) {
	w.t.Helper()
	for _, r := range w.read(topic) {
		if r.Offset >= behind[r.Partition] {
			records = append(records, r)
		}
	}
	return records
}

// latest returns the last value of each key of a topic.
func (w *world) latest(topic string) map[string]string {
	w.t.Helper()
	last := map[string]string{}
	for _, r := range w.read(topic) {
		if last[string(r.Key)] = string(r.Value); r.Value == nil {
			delete(last, string(r.Key))
		}
	}
	return last
}

// goldenDir, when the variable names one, takes what Kafka Connect has written, for the
// tests of the worker's formats.
const goldenDir = "TIDEMILL_TEST_GOLDEN"

// keepMessages keeps what the only member of the group says of itself and was given, and
// checks that we would say the same.
func (w *world) keepMessages() {
	w.t.Helper()
	metadata, assignment := w.member()
	if m, err := fleet.ParseMetadata(metadata); err != nil || hex.EncodeToString(m.Encode()) != hex.EncodeToString(metadata) {
		w.t.Errorf("a member's metadata %x are read as %+v, %v and written as %x", metadata, m, err, m.Encode())
	}
	if a, err := fleet.ParseAssignment(assignment); err != nil || hex.EncodeToString(a.Encode()) != hex.EncodeToString(assignment) {
		w.t.Errorf("an assignment %x is read as %+v, %v and written as %x", assignment, a, err, a.Encode())
	}
	fmt.Fprintf(&w.said, "metadata\t%x\nassignment\t%x\n", metadata, assignment)
}

// keep writes the three topics and the group's messages to a file.
func (w *world) keep() {
	w.t.Helper()
	w.keepMessages()
	dir := os.Getenv(goldenDir)
	if dir == "" || !w.exactly {
		return
	}
	var b strings.Builder
	tidy := strings.NewReplacer(w.dir, "/connect", fmt.Sprintf("%q", w.password()), `"secret"`)
	b.WriteString(w.said.String())
	for _, topic := range []string{"configs", "offsets", "status"} {
		for _, r := range w.read(w.group + "-" + topic) {
			value := "tombstone"
			if r.Value != nil {
				value = string(r.Value)
			}
			fmt.Fprintf(&b, "%s\t%s\t%s\n", topic, tidy.Replace(string(r.Key)), tidy.Replace(value))
		}
	}
	if err := os.WriteFile(dir+"/kafka-connect.txt", []byte(b.String()), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// member returns what the only member of the group says of itself, and what it was given.
func (w *world) member() (metadata, assignment []byte) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{w.group}
	var state string
	wait(w.t, "the group has one member", func() bool {
		resp, err := req.RequestWith(w.t.Context(), cl)
		if err != nil || len(resp.Groups) != 1 {
			return false
		}
		g := resp.Groups[0]
		state = fmt.Sprint(g.State, " of ", len(g.Members), " members")
		if g.State != "Stable" || len(g.Members) != 1 {
			return false
		}
		metadata, assignment = g.Members[0].ProtocolMetadata, g.Members[0].MemberAssignment
		return true
	}, func() string { return state })
	return metadata, assignment
}
