package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// patternMark stands before a regular expression where nodes have the name of a topic. No
// Kafka topic can have it in its name.
const patternMark = "~"

// patternCode is the code of everything that is wrong with topics by pattern.
const patternCode = "streams.pattern"

// isPattern tells whether what a source reads is not one topic.
func isPattern(topic string) bool { return strings.HasPrefix(topic, patternMark) }

// plainPattern is a pattern in a form that names of topics can have.
func plainPattern(topic string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			return c
		}
		return '_'
	}, strings.TrimPrefix(topic, patternMark))
}

// onlyTopic reports a pattern where one topic is read.
func (b *Builder) onlyTopic(s With, topic, what string) {
	if s.Pattern {
		b.fault(patternCode, topic, what+" is read from one topic, and not from those that match a pattern", "read them with From, and make a table of them with ToTable")
	}
}

// checkPatterns reports topics that are read by their name and by a pattern: whose they
// are would be left open.
func (b *Builder) checkPatterns() {
	for _, n := range b.nodes {
		if n.pattern == nil {
			continue
		}
		var twice []string
		for _, other := range b.nodes {
			if other.isSource && !other.internal && other.pattern == nil && n.pattern.MatchString(other.topic) {
				twice = append(twice, other.topic)
			}
		}
		for _, g := range b.globals {
			if n.pattern.MatchString(g.topic) {
				twice = append(twice, g.topic)
			}
		}
		for _, topic := range twice {
			b.fault(patternCode, topic, "the topic is read, and matches the pattern "+n.plainTopic()+" of operator "+n.name, "choose a pattern that does not match it")
		}
	}
}

// patternNode makes n a source of the topics that match.
func (b *Builder) patternNode(n *node, s With) {
	if !s.Pattern {
		return
	}
	re, err := regexp.Compile("^(?:" + n.topic + ")$")
	if err != nil {
		b.fault(patternCode, n.topic, "the pattern is no regular expression: "+err.Error(), "write it as package regexp reads it")
		re = regexp.MustCompile("$.")
	}
	n.topic, n.pattern = patternMark+n.topic, re
}

// input is a topic that a sub-topology reads: as nodes call it, which for one that matches
// a pattern is the pattern, and by its own name, of which only the application's id is
// missing.
type input struct{ name, topic string }

// inputs lists what a sub-topology reads when its patterns match those topics.
func (s *subTopology) inputs(matched map[string][]string) (all []input) {
	for _, name := range s.sources {
		if !isPattern(name) {
			all = append(all, input{name, name})
			continue
		}
		for _, topic := range matched[name] {
			all = append(all, input{name, topic})
		}
	}
	return all
}

// patterns are those by which the topology reads topics, by what nodes call them.
func (t *Topology) patterns() map[string]*regexp.Regexp {
	all := map[string]*regexp.Regexp{}
	for _, n := range t.nodes {
		if n.pattern != nil {
			all[n.topic] = n.pattern
		}
	}
	return all
}

// match finds the topics that match the topology's patterns when it runs as app: its own
// topics do not. What matches two patterns is refused, as by Kafka Streams.
func (t *Topology) match(app string, names []string) (map[string][]string, error) {
	matched, by := map[string][]string{}, map[string]string{}
	patterns := t.patterns()
	internal := t.InternalTopics(app)
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		for _, name := range names {
			if !patterns[pattern].MatchString(name) || slices.Contains(internal, name) {
				continue
			}
			if other := by[name]; other != "" {
				return nil, &connect.Error{
					Code: patternCode, Class: connect.ClassConfig, Place: name,
					Message: fmt.Sprintf("the topic matches two patterns of application %s, %s and %s", app, other[len(patternMark):], pattern[len(patternMark):]),
					Mend:    "choose patterns that match no topic both",
				}
			}
			by[name] = pattern
			matched[pattern] = append(matched[pattern], name)
		}
	}
	return matched, nil
}

// match finds the topics that match the patterns of the application: its dead letters do not
// either, nor does the topic of a [GlobalTable].
func (a *application) match(names []string) (map[string][]string, error) {
	if a.DeadLetters != "" {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == a.DeadLetters })
	}
	return a.Topology.match(a.ID, names)
}

// matching asks which topics there are that match.
func (a *application) matching(ctx context.Context) (map[string][]string, error) {
	if len(a.Topology.patterns()) == 0 {
		return nil, nil
	}
	names, err := a.e.client.List(ctx)
	if err != nil {
		return nil, err
	}
	return a.match(names)
}

// errUnmatched says that there is nothing to read.
func (a *application) errUnmatched() error {
	patterns := slices.Sorted(maps.Keys(a.Topology.patterns()))
	return &connect.Error{
		Code: "streams.topic.missing", Class: connect.ClassRetriable, Place: strings.ReplaceAll(strings.Join(patterns, ", "), patternMark, ""),
		Message: "application " + a.ID + " waits for a topic that matches",
		Mend:    "create one, or start what writes it",
	}
}

// errRematched ends a runner whose patterns match other topics than before. The next one
// reads those.
var errRematched = errors.New("streams: other topics match")

// watchTopics looks at the topics there are, as often as clients look at those they read
// and when the group gives out one that is not known here, and has the runner end when
// others match its patterns. It returns what ends that.
func (r *runner) watchTopics(ctx context.Context) (end func()) {
	if len(r.a.Topology.patterns()) == 0 {
		return func() {}
	}
	every, ok := r.cl.OptValue(kgo.MetadataMaxAge).(time.Duration)
	if !ok || every <= 0 {
		every = 5 * time.Minute
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait := every; ; {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
				wait = min(2*wait, every)
			case <-r.looking:
				timer.Stop()
				wait = min(lookAgain, every) // The broker that is asked may not know it yet.
			}
			if !r.sameTopics(ctx) {
				wait = min(lookAgain, every)
			}
		}
	}()
	return func() {
		stop()
		<-done
	}
}

// lookAgain is how soon the topics are looked at again when something was wrong.
const lookAgain = 500 * time.Millisecond

// look has the topics looked at now.
func (r *runner) look() {
	select {
	case r.looking <- struct{}{}:
	default:
	}
}

// sameTopics finds out whether other topics match than before. It returns false when that
// could not be done.
func (r *runner) sameTopics(ctx context.Context) bool {
	matched, err := r.a.matching(ctx)
	_, lasting := errors.AsType[*connect.Error](err)
	if lasting || err == nil && !maps.EqualFunc(matched, r.plan.matched, slices.Equal) {
		r.rematched.Store(true) // The next start tells what is wrong, if something is.
		return true
	}
	if err != nil && ctx.Err() == nil {
		r.a.e.cfg.Logger.Warn("it is not known which topics match, looking again", "app", r.a.ID, "error", err)
	}
	return err == nil
}

// rematch ends the runner after a commit when other topics match. Before that it has the
// group look again when this one is here because of such an end: to a broker a member that
// comes back under its name is the one it was, with the partitions it had.
func (r *runner) rematch() error {
	if r.renewed && r.joined {
		r.renewed = false
		r.asking.Add(1)
		r.cl.ForceRebalance()
	}
	if !r.rematched.Load() {
		return nil
	}
	if err := r.commit(r.sending); err != nil {
		return err
	}
	return errRematched
}

// matchedSource is the part of a source by pattern that reads one of the topics.
type matchedSource[K, V any] struct {
	*streamSource[K, V]
	key   serde.Serde[K]
	value serde.Serde[V]
}

// matchedOf makes the part of src that reads a topic.
func matchedOf[K, V any](src *streamSource[K, V], topic string, key serde.Serde[K], value serde.Serde[V]) (sourceNode, timer) {
	m := &matchedSource[K, V]{streamSource: src, key: serde.Bind(key, topic, true), value: serde.Bind(value, topic, false)}
	tm := timer{how: src.node.timestamps, of: src.timed(src.node.timedBy), high: -1}
	if of := tm.of; of != nil {
		tm.of = func(r *kgo.Record, partitionTime int64) (int64, bool, error) {
			m.turn()
			return of(r, partitionTime)
		}
	}
	return m, tm
}

// turn has the source read with what its topic is read with.
func (m *matchedSource[K, V]) turn() { m.streamSource.key, m.streamSource.value = m.key, m.value }

func (m *matchedSource[K, V]) consume(r *kgo.Record) error {
	m.turn()
	return m.streamSource.consume(r)
}

// readMatched binds a source by pattern to the queues of all topics that match, also to
// those that are added later.
func (t *task) readMatched(pattern string, of func(topic string) (sourceNode, timer)) {
	n := t.building
	follow := func(q *queue) {
		src, tm := of(q.topic)
		t.bind(n, q, src, tm)
	}
	if t.matching == nil {
		t.matching = map[string][]func(*queue){}
	}
	t.matching[pattern] = append(t.matching[pattern], follow)
	for _, q := range t.queues {
		if q.name == pattern {
			follow(q)
		}
	}
}

// reads adds a topic that matches a pattern, when the task reads those.
func (t *task) reads(pattern, topic string) {
	if len(t.matching[pattern]) == 0 {
		return
	}
	q := &queue{topic: topic, name: pattern, first: -1, savedHigh: -1, saved: -1, next: -1}
	t.queues = append(t.queues, q)
	for _, follow := range t.matching[pattern] {
		follow(q)
	}
}
