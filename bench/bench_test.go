package main

import (
	"encoding/binary"
	"os"
	"testing"
	"time"
)

// TestReadStat reads what the kernel says of a process whose name tries to mislead.
func TestReadStat(t *testing.T) {
	s, ok := readStat([]byte("4711 (post) 99 gres) S 42 1 1 0 -1 4194560 1 2 3 4 150 50 700 300 20 0 1 0 1 1 1"))
	if !ok || s.parent != 42 || s.own != 2*time.Second || s.children != 10*time.Second {
		t.Errorf("%+v %v", s, ok)
	}
	if _, ok := readStat(nil); ok {
		t.Error("nothing is taken for a process")
	}
}

// TestFamilyTime counts a child that has ended. The clock of the kernel counts in
// hundredths of a second, so the child works until it has used a few.
func TestFamilyTime(t *testing.T) {
	const work = `while read -r line < /proc/self/stat; do set -- ${line##*)}; [ $((${12} + ${13})) -ge 5 ] && break; done`
	p, err := start("sh", "-c", "("+work+"); echo finished; exec sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	if err := p.until(t.Context(), "the child's end", func() bool { return p.output.contains("finished") }); err != nil {
		t.Fatal(err)
	}
	pid := p.cmd.Process.Pid
	if own, all := processorTime(pid), familyTime(pid); all-own < 30*time.Millisecond {
		t.Errorf("a process used %v, its family %v", own, all)
	}
	if now, peak := memory(os.Getpid()); now <= 0 || peak < now {
		t.Errorf("this process takes %v MB, %v at its peak", now, peak)
	}
}

func TestKeyID(t *testing.T) {
	for key, want := range map[string]int64{
		`{"id":7}`: 7, `{"schema":{"type":"struct"},"payload":{"id":8}}`: 8,
		string(binary.AppendVarint(make([]byte, 5), 123_456)): 123_456,
	} {
		if got, err := keyID([]byte(key)); err != nil || got != want {
			t.Errorf("%q: %d, %v", key, got, err)
		}
	}
	for _, key := range []string{"", "{}", "what", "\x00\x00\x00\x00\x01"} {
		if id, err := keyID([]byte(key)); err == nil {
			t.Errorf("%q: %d and no error", key, id)
		}
	}
}

// TestFigureOfRounds keeps a ratio the median of the rounds' own ratios, not one of
// medians: a machine that is slow for a round is slow for both.
func TestFigureOfRounds(t *testing.T) {
	took := func(seconds ...time.Duration) (all []round) {
		for _, s := range seconds {
			all = append(all, round{took: s * time.Second, usage: usage{worker: s * time.Second / 2}})
		}
		return all
	}
	rs := rounds{n: 2_000_000, ours: took(1, 10, 4), limits: took(2, 10, 1)}
	f := rs.figure("x", "changes/s", "limit")
	if f.Value != 500_000 || f.Min != 200_000 || f.Max != 2_000_000 || f.LimitValue != 1_000_000 || f.Ratio != 1 || f.CPU != 1 {
		t.Errorf("%+v", f)
	}
	if f = f.held(true, 1.1); *f.Met || f.Bound != "≥ 1.1 ×" {
		t.Errorf("%+v", f)
	}
	if f = f.within(f.Value, "MB", false, 600_000); !*f.Met {
		t.Errorf("%+v", f)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0.034: "0.03", 12.34: "12.3", 123.4: "123", 1234.5: "1,234", 1_234_567: "1,234,567", 999.4: "999"} {
		if got := number(v); got != want {
			t.Errorf("%v is printed as %s, not %s", v, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	unasked, err := choose("")
	if err != nil || len(unasked) < 5 {
		t.Fatal(unasked, err)
	}
	for _, p := range unasked {
		if p.optional {
			t.Error(p.name, "runs unasked")
		}
	}
	if two, err := choose("idle, stream"); err != nil || len(two) != 2 || two[0].name != "idle" {
		t.Error(two, err)
	}
	if _, err := choose("nonsense"); err == nil {
		t.Error("a part that is not there")
	}
}

// TestLoads keeps the loads' sizes what they say: a topic for each table, and a list of
// tables that a connector can read.
func TestLoads(t *testing.T) {
	if l := pgbench(5); l.changes != 16 || len(l.topics("p")) != 4 || l.topics("p")[0] != "p.public.pgbench_accounts" {
		t.Errorf("%+v", l)
	}
	if l := across(1); l.changes != manyTables*10 || l.included() != `public\.many.*` {
		t.Errorf("%d %s", l.changes, l.included())
	}
	if l := inserts(10, 1); l.included() != "public.load" || l.what != "inserts of about 220 bytes, transactions of 1 row" {
		t.Errorf("%+v", l)
	}
}
