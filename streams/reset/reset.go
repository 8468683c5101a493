package reset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
)

// Start says from where an application reads again after its reset.
type Start int

// The starts: the first record there is, only what comes from now on, and the first
// record of a point in time.
const (
	Earliest Start = iota
	Latest
	At
)

// Options says what is reset.
type Options struct {
	// App is the application's id.
	App string
	// Brokers are the first brokers to ask, each as host:port.
	Brokers []string
	// Dir is the state directory of one process of the application, the Dir of its
	// streams.Config. Empty leaves local state alone; then each process has to be
	// given an empty directory, or its own reset.
	Dir string
	// From is where to read from again, and Time the point in time for At. An
	// application that begins at the end of new topics reads from there whatever
	// Earliest says.
	From Start
	Time time.Time
	// Topics are the input topics to set offsets for, when From is not Earliest; when
	// empty, those the application has read so far.
	Topics []string
	// Force removes members that the group still has, such as those of processes that
	// were killed. One that does run is not ended by it.
	Force bool
}

// Offset is the move of one partition of an input topic. To is -1 when the
// application will choose, which is the start for most.
type Offset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// Plan is what there is of an application, and what a reset makes of it.
type Plan struct {
	App string `json:"application"`
	// Members are in the group still.
	Members []topics.Member `json:"members,omitempty"`
	// Offsets are those of input topics. Those of internal topics go with them.
	Offsets []Offset `json:"offsets"`
	// InternalTopics are deleted.
	InternalTopics []string `json:"internalTopics"`
	// Stores are the stores in the state directory that are dropped.
	Stores []string `json:"stores"`

	options Options
}

// Prepare looks at what there is of an application and changes nothing.
func Prepare(ctx context.Context, o Options) (*Plan, error) {
	if o.App == "" {
		return nil, connect.ConfigError("application", "an application has an id")
	}
	client, err := topics.Open(o.Brokers)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	p := &Plan{App: o.App, Offsets: []Offset{}, InternalTopics: []string{}, Stores: []string{}, options: o}
	if p.Members, err = client.Members(ctx, o.App); err != nil {
		return nil, err
	}
	all, err := client.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, topic := range all {
		if internal(o.App, topic) {
			p.InternalTopics = append(p.InternalTopics, topic)
		}
	}
	if err := p.moves(ctx, client); err != nil {
		return nil, err
	}
	err = p.withState(func(db *state.Disk) error {
		p.Stores = append(p.Stores, p.stores(db)...)
		return nil
	})
	return p, err
}

// internal tells whether a topic is one that an application makes for itself: those
// of Kafka Streams' names.
func internal(app, topic string) bool {
	name, ok := strings.CutPrefix(topic, app+"-")
	if !ok {
		return false
	}
	for _, end := range []string{"-changelog", "-repartition", "-subscription-registration-topic", "-subscription-response-topic"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return strings.HasSuffix(name, "-topic") && strings.HasPrefix(name, "KTABLE-FK-JOIN-SUBSCRIPTION-")
}

// moves works out the offsets of input topics.
func (p *Plan) moves(ctx context.Context, client *topics.Client) error {
	committed, err := client.GroupOffsets(ctx, p.App)
	if err != nil {
		return err
	}
	inputs := slices.Clone(p.options.Topics)
	if len(inputs) == 0 {
		inputs = slices.Sorted(maps.Keys(committed))
	}
	inputs = slices.DeleteFunc(inputs, func(topic string) bool { return internal(p.App, topic) })
	to, err := p.targets(ctx, client, inputs)
	if err != nil {
		return err
	}
	for _, topic := range inputs {
		partitions := to[topic]
		if p.options.From == Earliest {
			partitions = committed[topic]
		}
		for _, partition := range slices.Sorted(maps.Keys(partitions)) {
			o := Offset{Topic: topic, Partition: partition, From: -1, To: -1}
			if at, ok := committed[topic][partition]; ok {
				o.From = at
			}
			if p.options.From != Earliest {
				o.To = to[topic][partition]
			}
			p.Offsets = append(p.Offsets, o)
		}
	}
	return nil
}

func (p *Plan) targets(ctx context.Context, client *topics.Client, inputs []string) (map[string]map[int32]int64, error) {
	if len(inputs) == 0 || p.options.From == Earliest {
		return nil, nil
	}
	at := p.options.Time
	if p.options.From == At {
		return client.OffsetsAfter(ctx, at, inputs...)
	}
	spans, err := client.Spans(ctx, inputs...)
	ends := map[string]map[int32]int64{}
	for topic, ps := range spans {
		ends[topic] = map[int32]int64{}
		for partition, span := range ps {
			ends[topic][partition] = span.End
		}
	}
	return ends, err
}

// withState hands over the state directory, if there is one.
func (p *Plan) withState(do func(*state.Disk) error) error {
	if p.options.Dir == "" {
		return nil
	}
	dir := filepath.Join(p.options.Dir, "state")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := state.OpenDisk(dir, state.DiskOptions{})
	if err != nil {
		return &connect.Error{
			Code: "streams.dir", Class: connect.ClassRetriable, Place: p.options.Dir,
			Message: "the state directory cannot be opened", Mend: "stop the process that uses it", Cause: err,
		}
	}
	return errors.Join(do(db), db.Close())
}

func (p *Plan) stores(db *state.Disk) []string {
	return slices.DeleteFunc(db.Names(), func(name string) bool { return !strings.HasPrefix(name, p.App+"/") })
}

// Run carries the plan out: local state first, then topics, then offsets, so that what
// is cut short can be run again. No process may run the application.
func (p *Plan) Run(ctx context.Context) error {
	client, err := topics.Open(p.options.Brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := p.empty(ctx, client); err != nil {
		return err
	}
	err = p.withState(func(db *state.Disk) error {
		for _, name := range p.stores(db) {
			if err := db.Drop(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := client.Delete(ctx, p.InternalTopics...); err != nil {
		return err
	}
	if err := client.DeleteGroup(ctx, p.App); err != nil {
		return err
	}
	set := map[string]map[int32]int64{}
	for _, o := range p.Offsets {
		if o.To < 0 {
			continue
		}
		if set[o.Topic] == nil {
			set[o.Topic] = map[int32]int64{}
		}
		set[o.Topic][o.Partition] = o.To
	}
	return client.SetGroupOffsets(ctx, p.App, set)
}

// empty makes sure that nobody is in the group.
func (p *Plan) empty(ctx context.Context, client *topics.Client) error {
	members, err := client.Members(ctx, p.App)
	if err != nil || len(members) == 0 {
		return err
	}
	if p.options.Force {
		if err := client.RemoveMembers(ctx, p.App, members); err != nil {
			return err
		}
		if members, err = client.Members(ctx, p.App); err != nil || len(members) == 0 {
			return err
		}
	}
	var who []string
	for _, m := range members {
		who = append(who, m.Client+" at "+m.Host)
	}
	return &connect.Error{
		Code: "streams.reset.running", Class: connect.ClassRetriable, Place: p.App,
		Message: fmt.Sprintf("the application has %d members: %s", len(members), strings.Join(who, ", ")),
		Mend:    "stop them; what was killed leaves by itself after a while, or with --force",
	}
}

// String tells the plan to people.
func (p *Plan) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "application %s\n", p.App)
	for _, o := range p.Offsets {
		to := fmt.Sprint(o.To)
		if o.To < 0 {
			to = "none, where the application begins"
		}
		from := fmt.Sprint(o.From)
		if o.From < 0 {
			from = "none"
		}
		fmt.Fprintf(&out, "  offset   %s, partition %d: %s → %s\n", o.Topic, o.Partition, from, to)
	}
	for _, t := range p.InternalTopics {
		fmt.Fprintf(&out, "  topic    %s: deleted\n", t)
	}
	for _, s := range p.Stores {
		fmt.Fprintf(&out, "  state    %s: deleted\n", s)
	}
	if len(p.Offsets)+len(p.InternalTopics)+len(p.Stores) == 0 {
		out.WriteString("  there is nothing of it\n")
	}
	return out.String()
}
