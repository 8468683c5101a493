package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// away is a transform that stands where one in another process does: it notes its calls,
// and fails as such a process may.
type away struct {
	suffixing
	l    *lab
	name string
}

func (a *away) Open(life context.Context, log *slog.Logger) {
	a.l.note(fmt.Sprintf("open %v %v", life.Err() == nil, log != nil))
}

func (a *away) Close() error {
	a.l.note("close " + a.name)
	return nil
}

func (a *away) ApplyAll(_ context.Context, records []*connect.Record) (yes []bool, bad []error, err error) {
	a.l.note(fmt.Sprintf("call %s of %d", a.name, len(records)))
	yes, bad = make([]bool, len(records)), make([]error, len(records))
	for i, r := range records {
		switch text := r.Value.Str(); {
		case strings.HasPrefix(text, "gone") && a.l.once("gone"), strings.HasPrefix(text, "boom") && a.l.allowed("boom") && a.l.once("end"):
			return nil, nil, &connect.Error{Code: "plugin.ended", Class: connect.ClassRetriable, Message: "it was killed"}
		case strings.HasPrefix(text, "boom") && !a.l.allowed("boom"):
			bad[i] = &connect.Error{Code: "test.boom", Class: connect.ClassRecord, Message: "not this one"}
		case strings.HasPrefix(text, "later") && a.l.once("later"):
			bad[i] = connect.Retry(errors.New("not now"), 0)
		case strings.HasPrefix(text, "never"):
			a.l.note(text)
			bad[i] = connect.Retry(errors.New("not now"), 0)
		case strings.HasPrefix(text, "nowhere"):
			yes[i], r.Topic = true, ""
		default:
			yes[i], bad[i] = a.Apply(r)
		}
	}
	return yes, bad, nil
}

// awayOn is a predicate of that kind: it holds for texts with its word.
type awayOn struct{ away }

func (a *awayOn) Test(*connect.Record) bool { panic("asked for one record") }

func (a *awayOn) ApplyAll(_ context.Context, records []*connect.Record) (yes []bool, bad []error, err error) {
	a.l.note(fmt.Sprintf("test of %d", len(records)))
	for _, r := range records {
		yes = append(yes, strings.Contains(r.Value.Str(), a.s.String("word")))
	}
	return yes, nil, nil
}

// abroad adds the two to a worker, as external plugins.
func (l *lab) abroad(o *Options) {
	str := func(name string) connect.ConfigKey { return connect.ConfigKey{Name: name, Type: connect.TypeString} }
	o.External = func(bool) connect.Plugins {
		return connect.Plugins{
			Transforms: []connect.Plugin[connect.Transform]{{
				Class: "far.Away", Version: "2.1", Config: connect.NewConfigDef(str("suffix"), str("drop")), New: func() connect.Transform { return &away{l: l, name: "2.1"} },
			}, {
				Class: "far.Away", Version: "1.0", Config: connect.NewConfigDef(str("suffix"), str("drop")), New: func() connect.Transform { return &away{l: l, name: "1.0"} },
			}, {
				Class: "org.example.Suffix", Version: "3", Config: connect.NewConfigDef(str("suffix"), str("drop")), New: func() connect.Transform { return &away{l: l, name: "suffix"} },
			}},
			Predicates: []connect.Plugin[connect.Predicate]{{
				Class: "far.On", Version: "1", Config: connect.NewConfigDef(str("word")), New: func() connect.Predicate { return &awayOn{away{l: l, name: "on"}} },
			}},
		}
	}
}

// TestFarTransformsTakeBatches has a source's records go through steps here and elsewhere:
// in order, marks left out, with one call for a batch.
func TestFarTransformsTakeBatches(t *testing.T) {
	for name, over := range map[string]connect.Config{"at least once": nil, "exactly once": exact} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			w := l.start(over, l.abroad)
			topic := "far-" + strings.ReplaceAll(name, " ", "-")
			w.create("c", counter(topic, "count", "100", "batch", "50", "mark.every", "10",
				"transforms", "a, f, b", "transforms.a.type", "Suffix", "transforms.a.suffix", "<",
				"transforms.f.type", "Away", "transforms.f.plugin.version", "[1,2)", "transforms.f.suffix", "=", "transforms.f.drop", "9<", "transforms.f.predicate", "p",
				"transforms.b.type", "Suffix", "transforms.b.suffix", ">", "transforms.b.predicate", "p", "transforms.b.negate", "true",
				"predicates", "p", "predicates.p.type", "far.On", "predicates.p.word", "9"))
			wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":100}` })
			var want []string
			for n := 1; n <= 100; n++ {
				switch text := fmt.Sprintf("0:%d", n); {
				case n%10 == 0 || n%10 == 9:
				case strings.Contains(text, "9"):
					want = append(want, text+"<=")
				default:
					want = append(want, text+"<>")
				}
			}
			if got := l.values(topic); !same(got, want) {
				t.Errorf("written is %q,\nwant %q", got, want)
			}
			w.remove("c")
			// 5 and 13 of the records have a 9; 5 of each batch end with one and are dropped.
			for text, n := range map[string]int{"call 1.0 of 5": 1, "call 1.0 of 13": 1, "call": 2, "test of 45": 2, "test of 40": 2, "test of": 4, "open true true": 3, "close 1.0": 1, "close on": 2} {
				if got := l.noted(text); got != n {
					t.Errorf("%q is noted %d times, not %d: %q", text, got, n, l.notes)
				}
			}
		})
	}
}

// TestBrokenStepIsNoRecordsFault has a process end under a batch: the task starts anew, and
// nothing is left out though errors are tolerated, nor tried again and again.
func TestBrokenStepIsNoRecordsFault(t *testing.T) {
	l := newLab(t)
	w := l.start(connect.Config{"errors.restart.delay.ms": "3000"}, l.abroad)
	l.produce("far-gone", 1, "one", "gone", "three")
	w.create("s", keeper("far-gone", "transforms", "f", "transforms.f.type", "Away", "transforms.f.suffix", "!", "errors.tolerance", "all", "errors.retry.timeout", "-1",
		"errors.deadletterqueue.topic.name", "far-gone-letters", "errors.deadletterqueue.topic.replication.factor", "1"))
	w.waitState("s", "RUNNING FAILED")
	s, err := w.Status("s")
	must(t, err)
	if f := s.Tasks[0].Failure; f == nil || f.Code != "plugin.ended" || f.Stage != "TRANSFORMATION" || f.NextTry == nil {
		t.Errorf("the failure is %+v", f)
	}
	wait(t, "all are kept", func() bool { return same(l.keptBy("s"), []string{"one!", "gone!", "three!"}) })
	if letters := l.values("far-gone-letters"); len(letters) != 0 {
		t.Errorf("letters were written: %q", letters)
	}
}

// TestNothingIsTriedBehindTheEnd has a step fail with all records of a batch, each for a
// passing reason: the first of them ends the task, before the others are tried again.
func TestNothingIsTriedBehindTheEnd(t *testing.T) {
	l := newLab(t)
	w := l.start(connect.Config{"errors.restart.delay.ms": "600000"}, l.abroad)
	l.produce("far-never", 1, "never one", "never two", "three")
	w.create("s", keeper("far-never", "transforms", "f, g", "transforms.f.type", "Away", "transforms.f.suffix", "!", "transforms.g.type", "Away", "errors.retry.timeout", "1000"))
	w.waitState("s", "RUNNING FAILED")
	if l.noted("never one") < 2 || l.noted("never two") != 1 || l.noted("call 2.1 of 3") != 1 || len(l.keptBy("s")) != 0 {
		t.Errorf("noted are %q, and kept is %q", l.notes, l.keptBy("s"))
	}
}

// TestFarTransformOfASink gives a sink what it can be given: what cannot be converted, and
// what a transform refuses, become letters as they were read.
func TestFarTransformOfASink(t *testing.T) {
	l := newLab(t)
	w := l.start(nil, l.abroad)
	l.produce("far-in", 1, "one", "bad two", "boom three", "later four", "nowhere five", "six-", "seven")
	w.create("s", keeper("far-in", "transforms", "f", "transforms.f.type", "Away", "transforms.f.suffix", "!", "transforms.f.drop", "-",
		"errors.tolerance", "all", "errors.retry.timeout", "10000", "errors.deadletterqueue.topic.name", "far-letters",
		"errors.deadletterqueue.topic.replication.factor", "1", "errors.deadletterqueue.context.headers.enable", "true"))
	wait(t, "all is committed", func() bool { return l.groupOffset("connect-s", "far-in", 0) == 7 })
	if got, want := l.keptBy("s"), []string{"one!", "later four!", "seven!"}; !slices.Equal(got, want) {
		t.Errorf("kept is %q, want %q", got, want)
	}
	var letters []string
	for _, r := range l.records("far-letters") {
		h := headers(r)
		letters = append(letters, string(r.Value)+" "+h["__connect.errors.stage"]+" "+h["__connect.errors.exception.class.name"])
	}
	if want := []string{"bad two VALUE_CONVERTER test.convert", "boom three TRANSFORMATION test.boom", "nowhere five TRANSFORMATION transform.topic"}; !slices.Equal(letters, want) {
		t.Errorf("letters are %q, want %q", letters, want)
	}
	// What nobody here knows to be masked or not is not shown as it is.
	if got, want := w.peek("s", "", 7)[1:3], []string{`far-in-0@1 VALUE_CONVERTER test.convert`, `far-in-0@2 TRANSFORMATION test.boom`}; !slices.Equal(got, want) {
		t.Errorf("shown is %q, want %q", got, want)
	}
	l.allow("boom")
	if p := w.replay("s", LetterQuery{}); p.State != "failed" || p.Failed != 0 || !strings.Contains(p.Error, "plugin.ended") {
		t.Errorf("the replay under which the process ended is %+v", p)
	}
	if p := w.replay("s", LetterQuery{}); p.Chosen != 3 || p.Replayed != 1 || !slices.Contains(l.keptBy("s"), "boom three!") {
		t.Errorf("the replay is %+v, and kept is %q", p, l.keptBy("s"))
	}
}

// TestStepsAreLocated has transforms in several versions, beside the program's own.
func TestStepsAreLocated(t *testing.T) {
	l := emptyLab()
	o := Options{Plugins: l.plugins()}
	l.abroad(&o)
	rt := &runtime{plugins: o.Plugins, external: o.External}
	for _, c := range []struct{ class, version, want, code string }{
		{"far.Away", "", "far.Away 2.1", ""},
		{"Away", "[1,2)", "far.Away 1.0", ""},
		{"Away", "9", "", "plugin.version"},
		{"Suffix", "", "org.example.Suffix ", ""},
		{"Suffix", "3", "org.example.Suffix 3", ""},
		{"Suffix", "4", "", "plugin.version"},
		{"Away", "[", "", "config.invalid"},
		{"Awav", "", "", "plugin.unknown"},
		{"On", "", "", "plugin.unknown"},
	} {
		found, err := rt.find(transformsNamed, wish{c.class, c.version, "transforms.f.plugin.version"}, true)
		switch e := connect.AsError(err); {
		case c.code == "" && (err != nil || found.class+" "+found.version != c.want):
			t.Errorf("%+v: %s %s, %v", c, found.class, found.version, err)
		case c.code != "" && (err == nil || e.Code != c.code || c.version != "" && e.Place != "transforms.f.plugin.version"):
			t.Errorf("%+v: %v", c, err)
		}
	}
	h := &Herder{rt: rt}
	if keys, err := h.PluginConfig("far.Away", "1.0"); err != nil || len(keys) != 2 {
		t.Errorf("the settings are %v, %v", keys, err)
	}
	if _, err := h.PluginConfig("far.Away", "7"); connect.AsError(err).Code != "plugin.version" {
		t.Errorf("the settings of a version that is not there: %v", err)
	}
	var listed []string
	for _, p := range h.Plugins() {
		listed = append(listed, p.Type+" "+p.Class+" "+p.Version)
	}
	for _, want := range []string{"transformation far.Away 1.0", "transformation far.Away 2.1", "transformation org.example.Suffix ", "predicate far.On 1"} {
		if !slices.Contains(listed, want) {
			t.Errorf("%s is not listed: %q", want, listed)
		}
	}
}

// TestStopwatchKeepsBatches puts a stopwatch into a chain with a far transform.
func TestStopwatchKeepsBatches(t *testing.T) {
	l := emptyLab()
	c := &chain{steps: []step{{transform: &away{l: l}}, {transform: &suffixing{}}}}
	w := newStopwatch(c)
	w.start(c)
	if _, ok := c.steps[0].transform.(many); !ok {
		t.Error("a traced far transform takes records one by one")
	}
	if _, ok := c.steps[1].transform.(many); ok {
		t.Error("a traced transform of this process takes records together")
	}
}
