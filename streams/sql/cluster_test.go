package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	jsonconv "github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/streams"
	recordfault "github.com/tidemill/tidemill/streams/fault"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/topics"
)

// cluster stands in for brokers and for the engine's process: topics of one
// partition in memory, and topologies run by streams.Local, each step at once.
type cluster struct {
	t      *testing.T
	mu     sync.Mutex // guards topics while several goroutines make them
	topics map[string][]*topics.Record
	apps   map[string]*localApp
	clock  int64
}

type localApp struct {
	app   streams.App
	local *streams.Local
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, topics: map[string][]*topics.Record{}, apps: map[string]*localApp{}}
}

// Partitions implements Topics.
func (c *cluster) Partitions(_ context.Context, topic string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.topics[topic]; ok {
		return 1, nil
	}
	return 0, nil
}

// Create implements Topics.
func (c *cluster) Create(_ context.Context, s topics.Spec) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.topics[s.Name]; !ok {
		c.topics[s.Name] = []*topics.Record{}
	}
	return nil
}

// Delete implements Topics.
func (c *cluster) Delete(_ context.Context, names ...string) error {
	for _, n := range names {
		delete(c.topics, n)
	}
	return nil
}

// List implements Topics.
func (c *cluster) List(context.Context) ([]string, error) {
	var out []string
	for n := range c.topics {
		out = append(out, n)
	}
	sort.Strings(out)
	return out, nil
}

// Produce implements Records.
func (c *cluster) Produce(_ context.Context, rs ...*topics.Record) error {
	for _, r := range rs {
		if _, ok := c.topics[r.Topic]; !ok {
			return fmt.Errorf("there is no topic %s", r.Topic)
		}
		r.Offset = int64(len(c.topics[r.Topic]))
		c.topics[r.Topic] = append(c.topics[r.Topic], r)
		for _, id := range c.ids() {
			if err := c.feed(c.apps[id], r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) ids() []string {
	var out []string
	for id := range c.apps {
		out = append(out, id)
	}
	sort.Strings(out)
	return out
}

// feed gives a record to an application and passes on what it writes.
func (c *cluster) feed(a *localApp, r *topics.Record) error {
	if !slices.Contains(a.app.Topology.Sources(), r.Topic) {
		return nil
	}
	if err := a.local.Put(r.Topic, r.Key, r.Value, r.Timestamp.UnixMilli(), r.Headers...); err != nil {
		return err
	}
	if err := errors.Join(a.local.Commit(), a.local.Advance(time.Second)); err != nil {
		return err
	}
	for _, sink := range a.app.Topology.Sinks() {
		if err := c.Produce(context.Background(), a.local.Take(sink)...); err != nil {
			return err
		}
	}
	return nil
}

// Read implements Records. Whoever follows is told of the end by ctx in a real
// cluster; here reading ends, since nothing more will come.
func (c *cluster) Read(_ context.Context, topic string, extent topics.Extent, visit func(*topics.Record) (bool, error)) error {
	if extent == topics.FromNow {
		return nil
	}
	for _, r := range c.topics[topic] {
		if more, err := visit(r); !more || err != nil {
			return err
		}
	}
	return nil
}

// Spans implements Records.
func (c *cluster) Spans(_ context.Context, names ...string) (map[string]map[int32]topics.Span, error) {
	spans := map[string]map[int32]topics.Span{}
	for _, name := range names {
		spans[name] = map[int32]topics.Span{0: {End: int64(len(c.topics[name]))}}
	}
	return spans, nil
}

// ReadSpan implements Records.
func (c *cluster) ReadSpan(_ context.Context, from, to map[string]map[int32]int64, visit func([]*topics.Record) (bool, error)) error {
	for name, ps := range from {
		if _, err := visit(c.topics[name][ps[0]:]); err != nil {
			return err
		}
	}
	return nil
}

// Add implements Runner.
func (c *cluster) Add(app streams.App) error {
	local, err := streams.NewLocal(app.Topology, app.ID)
	if err != nil {
		return err
	}
	local.OnFault(recordfault.SkipUnreadable, "")
	a := &localApp{app, local}
	c.apps[app.ID] = a
	if app.FromLatest {
		return nil
	}
	for _, topic := range app.Topology.Sources() {
		for _, r := range slices.Clone(c.topics[topic]) {
			if err := c.feed(a, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove implements Runner.
func (c *cluster) Remove(_ context.Context, id string, _ bool) error {
	if c.apps[id] == nil {
		return fmt.Errorf("there is no application %s", id)
	}
	delete(c.apps, id)
	return nil
}

// State implements Runner.
func (c *cluster) State(id string) (streams.State, error) {
	if c.apps[id] == nil {
		return streams.Stopped, fmt.Errorf("there is no application %s", id)
	}
	return streams.Running, nil
}

// Rows implements Runner.
func (c *cluster) Rows(_ context.Context, id, store string) (*rows.Rows, error) {
	if c.apps[id] == nil {
		return nil, fmt.Errorf("there is no application %s", id)
	}
	return c.apps[id].local.Rows(store)
}

// memoryLog is a Log in memory.
type memoryLog struct {
	commands [][]byte
	fail     error
}

func (l *memoryLog) Append(_ context.Context, c []byte) error {
	if l.fail != nil {
		return l.fail
	}
	l.commands = append(l.commands, slices.Clone(c))
	return nil
}

func (l *memoryLog) Replay(_ context.Context, visit func([]byte) error) error {
	for _, c := range l.commands {
		if err := visit(c); err != nil {
			return err
		}
	}
	return nil
}

// jsonFormat is the JSON format as the product configures it; with schemas it
// stands for a format whose bytes lead to a schema.
func jsonFormat(schemas string) Format {
	return func(key bool) (connect.Converter, error) {
		c := &jsonconv.Converter{}
		return c, c.Configure(connect.Config{"schemas.enable": schemas, "decimal.format": "NUMERIC"}, key)
	}
}

// registryOf tells the schemas that were set for topics.
type registryOf map[string]*connect.Schema

func (r registryOf) Schema(_ context.Context, topic string, key bool) (*connect.Schema, bool, error) {
	s, ok := r[topic+map[bool]string{true: "-key", false: "-value"}[key]]
	return s, ok, nil
}

// engineOn opens an Engine on a cluster.
func engineOn(t *testing.T, c *cluster, log Log, schemas SchemaSource) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Config{Service: "test", Topics: c, Records: c, Runner: c, Log: log, Schemas: schemas,
		Formats: map[string]Format{"JSON": jsonFormat("false"), "AVRO": jsonFormat("true")}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// at makes the time of the n-th record of a script.
func (c *cluster) at() time.Time {
	c.clock++
	return time.UnixMilli(c.clock * 1000)
}

// Pause implements Pauser.
func (c *cluster) Pause(id string) error { return c.known(id) }

// Resume implements Pauser.
func (c *cluster) Resume(id string) error { return c.known(id) }

func (c *cluster) known(id string) error {
	_, err := c.State(id)
	return err
}
