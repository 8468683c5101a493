//go:build kafka

package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestKafka returns the addresses of the brokers that TIDEMILL_TEST_BROKERS
// names (host:port, separated by commas). At the end of the test it deletes
// the topics and consumer groups that appeared meanwhile.
func TestKafka(tb TB) []string {
	tb.Helper()
	env := os.Getenv("TIDEMILL_TEST_BROKERS")
	if env == "" {
		tb.Fatalf("with the tag kafka, TIDEMILL_TEST_BROKERS must name a broker; make test-kafka starts one")
	}
	brokers := strings.Split(env, ",")
	topics, groups, err := inventory(brokers)
	if err != nil {
		tb.Fatalf("asking %s for its topics: %v", env, err)
	}
	tb.Cleanup(func() {
		if err := deleteNew(brokers, topics, groups); err != nil {
			tb.Fatalf("deleting what this test left on %s: %v", env, err)
		}
	})
	return brokers
}

// withClient calls do with a client and a time to do it in.
func withClient(brokers []string, do func(ctx context.Context, cl *kgo.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(ctx, cl)
}

// inventory lists the topics and the groups, without the broker's own topics.
func inventory(brokers []string) (topics, groups []string, err error) {
	err = withClient(brokers, func(ctx context.Context, cl *kgo.Client) error {
		adm := kadm.NewClient(cl)
		t, err := adm.ListTopics(ctx)
		if err != nil {
			return err
		}
		g, err := adm.ListGroups(ctx)
		topics, groups = t.Names(), g.Groups()
		return err
	})
	return topics, groups, err
}

// deleteNew deletes what is there now and was not before, and returns when it
// is gone: the next test may use the same names.
func deleteNew(brokers, oldTopics, oldGroups []string) error {
	var lastErr error
	return withClient(brokers, func(ctx context.Context, cl *kgo.Client) error {
		for {
			topics, groups, err := inventory(brokers)
			if err != nil {
				return err
			}
			topics = slices.DeleteFunc(topics, func(name string) bool { return slices.Contains(oldTopics, name) })
			groups = slices.DeleteFunc(groups, func(name string) bool { return slices.Contains(oldGroups, name) })
			if len(topics) == 0 && len(groups) == 0 {
				return nil
			}
			for _, group := range groups {
				lastErr = deleteGroup(ctx, cl, group)
			}
			// The offsets of a group go with the group, so the groups go first.
			if len(groups) == 0 {
				_, lastErr = kadm.NewClient(cl).DeleteTopics(ctx, topics...)
			}
			if !pause(ctx, 20*time.Millisecond) {
				return fmt.Errorf("topics %q and groups %q do not go: %w", topics, groups, errors.Join(ctx.Err(), lastErr))
			}
		}
	})
}

// deleteGroup puts the members out, who may be dead without having left, and
// deletes the group.
func deleteGroup(ctx context.Context, cl *kgo.Client, group string) error {
	adm := kadm.NewClient(cl)
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return err
	}
	req := kmsg.NewLeaveGroupRequest()
	req.Group = group
	for _, member := range described[group].Members {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.InstanceID = member.MemberID, member.InstanceID
		req.Members = append(req.Members, m)
	}
	if len(req.Members) > 0 {
		if _, err := req.RequestWith(ctx, cl); err != nil {
			return err
		}
	}
	deleted, err := adm.DeleteGroups(ctx, group)
	if err != nil {
		return err
	}
	return deleted.Error()
}

// TestRegistry returns the schema registry that TIDEMILL_TEST_REGISTRY names,
// or else one of our own. At the end of the test it deletes the subjects that
// appeared meanwhile.
func TestRegistry(tb TB) string {
	tb.Helper()
	base := os.Getenv("TIDEMILL_TEST_REGISTRY")
	if base == "" {
		r, err := StartRegistry("127.0.0.1:0", "")
		if err != nil {
			tb.Fatalf("starting the schema registry for this test: %v", err)
		}
		tb.Cleanup(func() { _ = r.Stop(context.Background()) })
		return r.URL()
	}
	before, err := subjects(base)
	if err != nil {
		tb.Fatalf("asking %s for its subjects: %v", base, err)
	}
	tb.Cleanup(func() {
		if err := deleteSubjects(base, before); err != nil {
			tb.Fatalf("deleting what this test left in %s: %v", base, err)
		}
	})
	return base
}

// subjects lists a registry's subjects.
func subjects(base string) (names []string, err error) {
	resp, err := http.Get(base + "/subjects")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /subjects: %s", resp.Status)
	}
	return names, json.NewDecoder(resp.Body).Decode(&names)
}

// deleteSubjects deletes the subjects that were not there before, for good.
func deleteSubjects(base string, before []string) error {
	now, err := subjects(base)
	if err != nil {
		return err
	}
	for _, name := range now {
		if slices.Contains(before, name) {
			continue
		}
		for _, query := range []string{"", "?permanent=true"} {
			req, err := http.NewRequest(http.MethodDelete, base+"/subjects/"+url.PathEscape(name)+query, nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			_ = resp.Body.Close() // A registry that deletes at once has nothing left to delete for good.
		}
	}
	return nil
}
