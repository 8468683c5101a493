package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Record is a record as it is in Kafka.
type Record = kgo.Record

// Client asks and tells brokers about topics. It may be used by any number of
// goroutines.
type Client struct {
	opts []kgo.Opt
	cl   *kgo.Client
	adm  *kadm.Client
}

// Open returns a client of the brokers, each as host:port. Connections are made
// when they are needed.
func Open(brokers []string, opts ...kgo.Opt) (*Client, error) {
	opts = append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, opts...)
	// What the client knows of topics is asked again soon: it is used right after
	// topics were made.
	cl, err := kgo.NewClient(append(slices.Clone(opts), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MetadataMinAge(20*time.Millisecond), kgo.UnknownTopicRetries(50))...)
	if err != nil {
		return nil, fmt.Errorf("opening a client of %s: %w", strings.Join(brokers, ", "), err)
	}
	return &Client{opts: opts, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends all connections.
func (c *Client) Close() { c.cl.Close() }

// Spec describes a topic to make.
type Spec struct {
	Name       string
	Partitions int
	// Replication is the number of copies; the broker's default when zero.
	Replication int
	// Config are the topic's settings, such as cleanup.policy.
	Config map[string]string
}

// Create makes a topic and waits until its partitions can be used. One that is there
// already is left as it is and no error.
func (c *Client) Create(ctx context.Context, s Spec) error {
	config := map[string]*string{}
	for k, v := range s.Config {
		config[k] = &v
	}
	replication := int16(-1)
	if s.Replication > 0 {
		replication = int16(s.Replication)
	}
	_, err := c.adm.CreateTopic(ctx, int32(s.Partitions), replication, config, s.Name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %s: %w", s.Name, err)
	}
	_, err = c.Spans(ctx, s.Name)
	return err
}

// passing are the errors of brokers that have not heard of a change yet, and that of
// offsets which a transaction is about to commit. Whoever left that one open may be dead:
// brokers end it when its time is over, after up to twice as long as it may take.
var passing = []error{kerr.UnknownTopicOrPartition, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.UnstableOffsetCommit, errStillThere}

// How often something is tried, a tenth of a second apart.
const (
	manyTries     = 100
	unstableTries = 600
)

// patiently calls do until it gives something other than an error that passes, for ten
// seconds at most, and for a minute while a transaction is in the way.
func patiently(ctx context.Context, do func() error) error {
	for tries := 0; ; tries++ {
		err, most := do(), manyTries
		if errors.Is(err, kerr.UnstableOffsetCommit) {
			most = unstableTries
		}
		if tries >= most || !slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) }) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// errStillThere says that a deleted topic is still shown.
var errStillThere = errors.New("it is still there")

// Delete removes topics and waits until they are gone. Those that are not there are no error.
func (c *Client) Delete(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	resps, err := c.adm.DeleteTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("deleting topics: %w", err)
	}
	c.cl.PurgeTopicsFromClient(names...) // What it remembers of them is wrong now.
	for _, r := range resps.Sorted() {
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			err = errors.Join(err, fmt.Errorf("deleting topic %s: %w", r.Topic, r.Err))
		}
	}
	if err != nil {
		return err
	}
	return patiently(ctx, func() error {
		left, err := c.PartitionsOf(ctx, names...)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("deleting topics: %w", errStillThere)
		}
		return err
	})
}

// Partitions returns how many partitions a topic has, 0 when there is no such
// topic.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	counts, err := c.PartitionsOf(ctx, topic)
	return counts[topic], err
}

// PartitionsOf is Partitions for several topics at once; those that are not there
// are left out.
func (c *Client) PartitionsOf(ctx context.Context, names ...string) (map[string]int, error) {
	details, err := c.adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("asking for the partitions of %s: %w", strings.Join(names, ", "), err)
	}
	counts := map[string]int{}
	for _, d := range details {
		switch {
		case d.Err == nil:
			counts[d.Topic] = len(d.Partitions)
		case !errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			return nil, fmt.Errorf("asking for the partitions of %s: %w", d.Topic, d.Err)
		}
	}
	return counts, nil
}

// List returns the names of all topics, Kafka's own excepted, sorted.
func (c *Client) List(ctx context.Context) ([]string, error) {
	details, err := c.adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the topics: %w", err)
	}
	return slices.Sorted(maps.Keys(details.TopicsSet())), nil
}

// Produce writes records and waits until all are acknowledged. Those with a key
// are partitioned as by Kafka's own producers.
func (c *Client) Produce(ctx context.Context, rs ...*Record) error {
	if err := c.cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		return fmt.Errorf("writing %d records: %w", len(rs), err)
	}
	return nil
}

// Span is where a partition begins and ends.
type Span struct {
	Start, End int64
}

// Spans returns the offsets of the first record and of the next one to be written
// of each partition, the records of open transactions included. A topic that was
// made a moment ago may not be known everywhere yet; it is asked for a few times.
func (c *Client) Spans(ctx context.Context, names ...string) (spans map[string]map[int32]Span, err error) {
	err = patiently(ctx, func() (err error) {
		spans, err = c.spans(ctx, names)
		return err
	})
	return spans, err
}

func (c *Client) spans(ctx context.Context, names []string) (map[string]map[int32]Span, error) {
	starts, err := c.adm.ListStartOffsets(ctx, names...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where %s begin: %w", strings.Join(names, ", "), err)
	}
	ends, err := c.adm.ListEndOffsets(ctx, names...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where %s end: %w", strings.Join(names, ", "), err)
	}
	spans := map[string]map[int32]Span{}
	ends.Each(func(o kadm.ListedOffset) {
		if spans[o.Topic] == nil {
			spans[o.Topic] = map[int32]Span{}
		}
		start, _ := starts.Lookup(o.Topic, o.Partition)
		spans[o.Topic][o.Partition] = Span{Start: start.Offset, End: o.Offset}
	})
	return spans, nil
}

// StableEnds returns where partitions of topics end for a reader that is not shown what open
// transactions have written: at the first of their records, where there are any.
func (c *Client) StableEnds(ctx context.Context, names ...string) (ends map[string]map[int32]int64, err error) {
	err = patiently(ctx, func() error {
		listed, err := c.adm.ListCommittedOffsets(ctx, names...)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return fmt.Errorf("asking where %s end: %w", strings.Join(names, ", "), err)
		}
		ends = map[string]map[int32]int64{}
		listed.Each(func(o kadm.ListedOffset) {
			if ends[o.Topic] == nil {
				ends[o.Topic] = map[int32]int64{}
			}
			ends[o.Topic][o.Partition] = o.Offset
		})
		return nil
	})
	return ends, err
}

// Commit is what a group has committed for a partition.
type Commit struct {
	// Offset is that of the next record, -1 where nothing is committed.
	Offset int64
	// Note is what was said with it.
	Note string
}

// Commits are those of a group, by topic and partition.
type Commits map[string]map[int32]Commit

// Add sets that of one partition.
func (c Commits) Add(topic string, partition int32, commit Commit) {
	if c[topic] == nil {
		c[topic] = map[int32]Commit{}
	}
	c[topic][partition] = commit
}

// Committed returns what a group has committed for partitions of topics. It waits for
// transactions that are about to commit some.
func (c *Client) Committed(ctx context.Context, group string, partitions map[string][]int32) (commits Commits, err error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = group, true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	for topic, ps := range partitions {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, ps
		req.Topics = append(req.Topics, t)
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = topic, ps
		g.Topics = append(g.Topics, gt)
	}
	req.Groups = append(req.Groups, g)
	err = patiently(ctx, func() error {
		resp, err := req.RequestWith(ctx, c.cl)
		if err != nil {
			return fmt.Errorf("asking for the offsets of group %s: %w", group, err)
		}
		commits, err = committedIn(group, resp)
		return err
	})
	return commits, err
}

// committedIn reads an answer, which has one of two forms, by its version.
func committedIn(group string, resp *kmsg.OffsetFetchResponse) (Commits, error) {
	commits := Commits{}
	code := resp.ErrorCode
	add := func(topic string, p int32, commit Commit, perr int16) {
		commits.Add(topic, p, commit)
		if code == 0 {
			code = perr
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			add(t.Topic, p.Partition, Commit{p.Offset, orEmpty(p.Metadata)}, p.ErrorCode)
		}
	}
	for _, g := range resp.Groups {
		if code == 0 {
			code = g.ErrorCode
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				add(t.Topic, p.Partition, Commit{p.Offset, orEmpty(p.Metadata)}, p.ErrorCode)
			}
		}
	}
	if err := kerr.ErrorForCode(code); err != nil {
		return nil, fmt.Errorf("asking for the offsets of group %s: %w", group, err)
	}
	return commits, nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// DeleteGroup forgets a group that nobody is in, and its offsets. One that is not
// there is no error.
func (c *Client) DeleteGroup(ctx context.Context, group string) error {
	err := patiently(ctx, func() error {
		resp, err := c.adm.DeleteGroup(ctx, group)
		if err == nil {
			err = resp.Err
		}
		return err
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("deleting group %s: %w", group, err)
	}
	return nil
}

// DeleteBefore removes the records before the given offsets.
func (c *Client) DeleteBefore(ctx context.Context, offsets map[string]map[int32]int64) error {
	req := kadm.Offsets{}
	for topic, ps := range offsets {
		for p, o := range ps {
			req.Add(kadm.Offset{Topic: topic, Partition: p, At: o})
		}
	}
	resp, err := c.adm.DeleteRecords(ctx, req)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return fmt.Errorf("removing processed records: %w", err)
	}
	return nil
}
