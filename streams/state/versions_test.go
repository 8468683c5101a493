package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams/state"
)

// version is one version of a key's row; an empty row is none.
type version struct {
	ms  int64
	row string
}

// versionModel is the plain meaning of a store with history: all versions of every key.
type versionModel struct {
	history, newest int64
	keys            map[string][]version
}

func (m *versionModel) put(key string, v version) (latest, kept bool) {
	if v.ms < m.newest-m.history {
		return false, false
	}
	m.newest = max(m.newest, v.ms)
	all := slices.DeleteFunc(m.keys[key], func(x version) bool { return x.ms == v.ms })
	all = append(all, v)
	slices.SortFunc(all, func(a, b version) int { return int(a.ms - b.ms) })
	m.keys[key] = all
	return all[len(all)-1] == v, true
}

// at returns the version of a key at a time, with an empty row when there is none.
func (m *versionModel) at(key string, ms int64) version {
	var found version
	all := m.keys[key]
	for _, v := range all {
		if v.ms <= ms {
			found = v
		}
	}
	if ms < m.newest-m.history && len(all) > 0 && found != all[len(all)-1] {
		return version{}
	}
	if found.row == "" {
		return version{}
	}
	return found
}

// between lists what a key had in from…to as Between visits it.
func (m *versionModel) between(key string, from, to int64) (got string) {
	all, horizon := m.keys[key], m.newest-m.history
	for i, v := range all {
		until := int64(-1)
		if i+1 < len(all) {
			if until = all[i+1].ms; until <= max(from, horizon) || to < horizon {
				continue
			}
		}
		if v.row != "" && v.ms <= to && from <= to {
			got += fmt.Sprintf("%s@%d-%d ", v.row, v.ms, until)
		}
	}
	return got
}

// versionStore is a store with history on a DB, with the cache that tasks put before it.
type versionStore struct {
	t     *testing.T
	db    state.DB
	id    state.ID
	spec  state.Spec
	cache *state.Cache
	*state.Versions
}

func newVersionStore(t *testing.T, db state.DB, history, segment int64) *versionStore {
	t.Helper()
	s := &versionStore{t: t, db: db, spec: state.Spec{
		History: time.Duration(history) * time.Millisecond, Segment: time.Duration(segment) * time.Millisecond,
	}}
	var err error
	if s.id, err = db.Open("versions", 0); err != nil {
		t.Fatal(err)
	}
	s.open()
	return s
}

func (s *versionStore) open() {
	s.cache = state.NewCache(s.db.Reader(s.id), 4096)
	s.Versions = s.spec.Versions(s.cache)
}

func (s *versionStore) commit() {
	s.t.Helper()
	err := s.Settle()
	b := s.db.Batch()
	s.cache.Write(b, s.id)
	if err == nil {
		err = b.Commit()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.cache.Committed()
}

// compare looks a key up in every way there is.
func (s *versionStore) compare(m *versionModel, rnd *rand.Rand, key string) {
	s.t.Helper()
	now, from := m.at(key, 1<<60), m.newest-rnd.Int64N(3*m.history+2)
	row, ms, found, err := s.Get(nil, []byte(key))
	if err != nil || found != (now.row != "") || found && (string(row) != now.row || ms != now.ms) {
		s.t.Fatalf("%s is %s@%d %v %v, want %v", key, row, ms, found, err, now)
	}
	want := m.at(key, from)
	row, ms, found, err = s.AsOf([]byte("pre"), []byte(key), from)
	if err != nil || found != (want.row != "") || string(row) != "pre"+want.row || found && ms != want.ms {
		s.t.Fatalf("%s is %s@%d %v %v at %d of %d, want %v", key, row, ms, found, err, from, m.newest, want)
	}
	var got string
	to := from + rnd.Int64N(2*m.history+2)
	err = s.Between([]byte(key), from, to, func(from, until int64, row []byte) error {
		got += fmt.Sprintf("%s@%d-%d ", row, from, until)
		return nil
	})
	if want := m.between(key, from, to); err != nil || got != want {
		s.t.Fatalf("%s in %d to %d of %d is %s, %v; want %s", key, from, to, m.newest, got, err, want)
	}
}

// TestVersionsAgainstModel puts versions in any order of time, some too late and some
// without a row, commits, forgets and reopens, and compares with a list of all versions.
func TestVersionsAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var db state.DB = state.NewMemory()
		if seed%10 == 0 {
			var err error
			if db, err = state.OpenDisk(t.TempDir(), state.DiskOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		history := 1 + rnd.Int64N(60)
		m := &versionModel{history: history, newest: -1, keys: map[string][]version{}}
		s := newVersionStore(t, db, history, 1+rnd.Int64N(history+20))
		// Keys that continue each other, and times that look like such a continuation.
		keys, now := []string{"", "a", "a\x00\x00\x00\x00\x00\x00\x00\x05", "b"}, int64(0)
		for step := range 400 {
			now += rnd.Int64N(4)
			key, v := keys[rnd.IntN(len(keys))], version{ms: max(now-rnd.Int64N(history*3/2+1), 0)}
			if rnd.IntN(4) > 0 {
				v.row = fmt.Sprint("v", step)
			}
			latest, kept, err := s.Put([]byte(key), v.ms, []byte(v.row), v.row != "")
			if wantLatest, wantKept := m.put(key, v); err != nil || latest != wantLatest || kept != wantKept {
				t.Fatalf("seed %d: %s at %d is latest %v, kept %v, %v; want %v %v", seed, key, v.ms, latest, kept, err, wantLatest, wantKept)
			}
			s.compare(m, rnd, keys[rnd.IntN(len(keys))])
			switch rnd.IntN(20) {
			case 0, 1:
				s.commit()
			case 2:
				s.commit()
				s.open()
			}
		}
		s.commit()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVersionsUndone forgets what was put since the last commit, with the time.
func TestVersionsUndone(t *testing.T) {
	s := newVersionStore(t, state.NewMemory(), 10, 1)
	put := func(ms int64) (kept bool) {
		_, kept, err := s.Put([]byte("k"), ms, []byte("row"), true)
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	put(5)
	s.commit()
	put(100)
	if put(6) {
		t.Error("a version is kept that is older than the history")
	}
	s.cache.Discard()
	s.Forget()
	if newest, err := s.Newest(); err != nil || newest != 5 {
		t.Errorf("the latest time is %d, %v", newest, err)
	}
	if !put(6) {
		t.Error("a version counts as late by a time that was undone")
	}
}

// TestVersionsExpire looks that nothing is left of what nobody can ask for any more.
func TestVersionsExpire(t *testing.T) {
	s := newVersionStore(t, state.NewMemory(), 100, 10)
	for i := range int64(50) {
		for _, key := range []string{"moves", "goes"} {
			if _, _, err := s.Put([]byte(key), i*10, fmt.Append(nil, i), key == "moves" || i < 20); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := s.Put([]byte("stays"), 450, []byte("row"), true); err != nil {
		t.Fatal(err)
	}
	s.commit()
	if _, _, err := s.Put([]byte("late"), 10_000, []byte("row"), true); err != nil {
		t.Fatal(err)
	}
	s.commit()
	s.commit()
	var left []string
	it := s.db.Reader(s.id).Scan(state.Range{})
	for it.Next() {
		left = append(left, fmt.Sprintf("%q", it.Key()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(left); got != `["\x00late" "\x00moves" "\x00stays" "\x03"]` {
		t.Errorf("the store has %s", got)
	}
}
