package worker

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTopicsOfABatchShareConnections makes many topics: each costs the brokers a question
// before and one after, and no connection of its own.
func TestTopicsOfABatchShareConnections(t *testing.T) {
	l := newFakeLab(t)
	var mu sync.Mutex
	asked, connections := map[string]int{}, 0
	l.cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		switch r := req.(type) {
		case *kmsg.ApiVersionsRequest:
			connections++
		case *kmsg.MetadataRequest:
			for _, one := range r.Topics {
				asked[*one.Topic]++
			}
		}
		return nil, nil, false
	})
	rules, err := newTopicRules(nil)
	must(t, err)
	now := func() int {
		mu.Lock()
		defer mu.Unlock()
		return connections
	}
	made := func(batch, n int) int {
		before := now()
		c := &topicCreator{rules: rules, enabled: true, opts: []kgo.Opt{kgo.SeedBrokers(l.brokers)}, known: map[string]bool{}, log: slog.New(slog.DiscardHandler)}
		for i := range n {
			must(t, c.ensure(t.Context(), fmt.Sprintf("batch-%d-%d", batch, i)))
		}
		c.rest()
		return now() - before
	}
	if one, many := made(1, 1), made(2, 20); many > one {
		t.Errorf("20 topics took %d connections, and one takes %d", many, one)
	}
	for i := range 20 {
		if topic := fmt.Sprintf("batch-2-%d", i); asked[topic] != 2 {
			t.Errorf("%s was asked for %d times", topic, asked[topic])
		}
	}
}
