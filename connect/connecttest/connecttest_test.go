package connecttest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// counter is a source of numbers that keeps its contract, except for one defect.
type counter struct {
	defect string
	next   int64
	quit   chan struct{}
	done   chan struct{}
}

func (c *counter) Start(context.Context, connect.ConnectorEnv) error { return nil }
func (c *counter) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{{}}, nil
}
func (c *counter) Stop(context.Context) error { return nil }
func (c *counter) NewTask() connect.SourceTask {
	return &counterTask{counter: counter{defect: c.defect}}
}

type counterTask struct{ counter }

func (c *counterTask) Start(ctx context.Context, env connect.SourceTaskEnv) error {
	p, err := connect.NewSourcePartition(map[string]any{"counter": 1})
	if err != nil {
		return err
	}
	stored, err := env.StoredOffset(ctx, p)
	if err != nil {
		return err
	}
	if stored != nil {
		var o struct{ N int64 }
		if err := json.Unmarshal(stored, &o); err != nil {
			return err
		}
		c.next = o.N
		if c.defect == "gap" {
			c.next++
		}
	}
	c.quit, c.done = make(chan struct{}), make(chan struct{})
	go func() {
		<-c.quit
		close(c.done)
	}()
	return nil
}

func (c *counterTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if c.next >= 10 || ctx.Err() != nil {
		if c.defect == "deaf" {
			c.defect = ""
			<-time.After(promptly + time.Second)
		}
		<-ctx.Done()
		if c.defect == "error" {
			return nil, ctx.Err()
		}
		return nil, nil
	}
	p, err := connect.NewSourcePartition(map[string]any{"counter": 1})
	if err != nil {
		return nil, err
	}
	c.next++
	r := connect.SourceRecord{SourcePartition: p, SourceOffset: connect.OffsetMap{"N": c.next}}
	r.Topic, r.Partition, r.ValueSchema, r.Value = "numbers", connect.AnyPartition, connect.Of(connect.KindInt64), connect.Int64(c.next)
	switch c.defect {
	case "misfit":
		r.Value = connect.String("1")
	case "back":
		if c.next == 7 {
			r.SourceOffset = connect.OffsetMap{"N": 3}
		}
	}
	return []connect.SourceRecord{r}, nil
}

func (c *counterTask) Stop(context.Context) error {
	if c.quit != nil && c.defect != "leak" {
		close(c.quit)
		<-c.done
	}
	return nil
}

func counterCase(defect string) SourceCase {
	return SourceCase{
		New:     func() connect.SourceConnector { return &counter{defect: defect} },
		Config:  func(testing.TB) connect.Config { return connect.Config{} },
		Records: 10, Identity: recordText,
	}
}

// shelf is a sink that keeps the last value of each key, except for one defect.
type shelf struct {
	defect string
	held   map[string]string
}

func (s *shelf) Start(context.Context, connect.ConnectorEnv) error { return nil }
func (s *shelf) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{{}}, nil
}
func (s *shelf) Stop(context.Context) error { return nil }
func (s *shelf) NewTask() connect.SinkTask  { return &shelfTask{shelf: s} }

type shelfTask struct {
	shelf *shelf
	env   connect.SinkTaskEnv
	put   int
}

func (s *shelfTask) Start(_ context.Context, env connect.SinkTaskEnv) error {
	s.env = env
	return nil
}

func (s *shelfTask) Put(ctx context.Context, records []connect.SinkRecord) error {
	if len(records) == 0 && s.shelf.defect == "empty" {
		return fmt.Errorf("nothing was put")
	}
	for i := range records {
		r := &records[i]
		key := r.Key.String()
		switch {
		case s.shelf.defect == "counts":
			s.put++
			s.shelf.held[key] = fmt.Sprint(r.Value, " ", s.put)
		case r.Value.IsNull():
			delete(s.shelf.held, key)
		case r.Value.Kind() != connect.KindString:
			bad := &connect.Error{Code: "shelf.kind", Class: connect.ClassRecord, Message: "no string"}
			if s.env.Errant == nil {
				return bad
			}
			if _, err := s.env.Errant.Report(ctx, r, bad); err != nil {
				return err
			}
		default:
			s.shelf.held[key] = r.Value.Str()
		}
	}
	return nil
}

func (s *shelfTask) PreCommit(_ context.Context, offsets map[connect.TopicPartition]int64) (map[connect.TopicPartition]int64, error) {
	if s.shelf.defect == "ahead" {
		for tp := range offsets {
			offsets[tp] += 5
		}
		return map[connect.TopicPartition]int64{{Topic: "t"}: 99}, nil
	}
	return offsets, nil
}

func (s *shelfTask) Stop(context.Context) error { return nil }

func shelfCase(defect string) SinkCase {
	text, str := connect.String, connect.Of(connect.KindString)
	record := func(k, v string) connect.Record {
		return connect.Record{KeySchema: str, Key: text(k), ValueSchema: str, Value: text(v)}
	}
	s := &shelf{defect: defect}
	bad := SinkRecords("t", 0, connect.Record{Key: text("z"), Value: connect.Int32(1)})[0]
	return SinkCase{
		New: func() connect.SinkConnector { return s },
		Config: func(testing.TB) connect.Config {
			s.held = map[string]string{}
			return connect.Config{}
		},
		Records: SinkRecords("t", 0, record("a", "1"), record("b", "2"), record("a", "3")),
		Read: func(testing.TB, connect.Config) []string {
			var lines []string
			for _, k := range slices.Sorted(maps.Keys(s.held)) {
				lines = append(lines, k+"="+s.held[k])
			}
			return lines
		},
		Want:   []string{`"a"=3`, `"b"=2`},
		Poison: &bad,
	}
}

// adder is a transform that adds to the first of an array, except for one defect.
type adder struct {
	defect string
	most   int64
	given  int64
}

func (a *adder) Configure(s connect.Settings) error {
	if a.most = s.Int64("most"); a.most < 0 && a.defect != "anything" {
		return connect.ConfigError("most", "it is negative")
	}
	return nil
}

func (a *adder) Apply(r *connect.Record) (bool, error) {
	list := r.Value.Array()
	switch n := list[0].Int(); {
	case n > a.most:
		return false, &connect.Error{Code: "test.most", Class: connect.ClassRecord, Message: "too many"}
	case n == a.most:
		return a.defect == "keeps", nil
	}
	a.given++
	if a.defect != "writes" {
		list = slices.Clone(list)
	}
	list[0] = connect.Int64(list[0].Int() + 1)
	if a.defect == "counts" {
		list[0] = connect.Int64(a.given)
	}
	r.Value = connect.Array(list)
	return true, nil
}

func (a *adder) Close() error { return nil }

func adderCase(defect string) TransformCase {
	array := func(n int64) connect.Record {
		return connect.Record{Topic: "t", Value: connect.Array([]connect.Value{connect.Int64(n)}), Headers: []connect.Header{{Key: "h", Value: connect.Bool(true)}}}
	}
	three := array(3)
	return TransformCase{
		Plugin: connect.Plugin[connect.Transform]{
			Class: "Adder", Config: connect.NewConfigDef(connect.ConfigKey{Name: "most", Type: connect.TypeInt, Default: "5"}),
			New: func() connect.Transform { return &adder{defect: defect} },
		},
		Records: []Transformed{{Given: array(2), Want: &three}, {Given: array(2), Want: &three}, {Given: array(5)}, {Given: array(6), Fails: true}},
		Bad:     connect.Config{"most": "-1"},
	}
}

func TestGoodPluginsPass(t *testing.T) {
	Source(t, counterCase(""))
	Sink(t, shelfCase(""))
	Transform(t, adderCase(""))
}

func TestDefectsAreFound(t *testing.T) {
	for _, c := range []struct {
		defect string
		check  func(tb testing.TB, c SourceCase)
		says   string
	}{
		{"misfit", checkSourceShape, "does not fit"},
		{"back", checkSourceResumes, "offsets go back"},
		{"error", checkSourceContext, "want none"},
		{"deaf", checkSourceContext, "after its context was done"},
		{"leak", checkSourceStopAtOnce, "goroutines running"},
	} {
		t.Run("source "+c.defect, func(t *testing.T) {
			finds(t, c.says, func(tb testing.TB) { c.check(tb, counterCase(c.defect)) })
		})
	}
	for _, c := range []struct {
		defect string
		check  func(tb testing.TB, c SinkCase)
		says   string
	}{
		{"counts", checkSinkAgain, "the target holds"},
		{"empty", checkSinkEmpty, "nothing was put"},
		{"ahead", checkSinkBatch, "answers for offset"},
	} {
		t.Run("sink "+c.defect, func(t *testing.T) {
			finds(t, c.says, func(tb testing.TB) { c.check(tb, shelfCase(c.defect)) })
		})
	}
	for _, c := range []struct {
		defect string
		check  func(tb testing.TB, c TransformCase)
		says   string
	}{
		{"writes", checkTransformRecords, "was written to"},
		{"keeps", checkTransformRecords, "is kept"},
		{"counts", checkTransformRecords, "has become"},
		{"anything", checkTransformBad, "did not fail"},
	} {
		t.Run("transform "+c.defect, func(t *testing.T) {
			finds(t, c.says, func(tb testing.TB) { c.check(tb, adderCase(c.defect)) })
		})
	}
}

func TestGapIsNoWayToGoOn(t *testing.T) {
	want := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		got  string
		told int
		from int
		ok   bool
	}{
		{"cd", 2, 2, true},
		{"bcd", 2, 1, true},
		{"abcde", 2, 0, true},
		{"d", 2, 0, false},
		{"c", 2, 0, false},
		{"", 4, 4, true},
		{"acd", 2, 0, false},
	} {
		from, ok := began(want, strings.Split(c.got, "")[:len(c.got)], c.told)
		if from != c.from || ok != c.ok {
			t.Errorf("%q after %d: %d, %v", c.got, c.told, from, ok)
		}
	}
}

// finds runs a check that must fail and say so.
func finds(t *testing.T, says string, check func(tb testing.TB)) {
	t.Helper()
	rec := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(rec.cleanups) {
				f()
			}
		}()
		leakless(rec, check)
	}()
	<-done
	if all := strings.Join(rec.errors, "\n"); !strings.Contains(all, says) {
		t.Errorf("the check says %q; it should say %q", all, says)
	}
}

// recorder notes failures in place of failing.
type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
func (r *recorder) Failed() bool     { return len(r.errors) > 0 }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
