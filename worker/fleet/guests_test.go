package fleet

import (
	"errors"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// guest makes a member what a worker of Kafka Connect is to ours: it has no name.
func guest(config *Config) { config.Instance = "" }

// TestKafkaConnectsWorkersAreNotMixedWithOurs has one of theirs come to ours, lead the
// group after them, and be there before them.
func TestKafkaConnectsWorkersAreNotMixedWithOurs(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	a := c.start("a")
	c.configure(map[string]int{"x": 2, "y": 2}, a)
	c.waitCounts(map[string]int{"a": 6})
	before := c.allStarts()
	theirs := c.start("theirs", guest)
	c.wait("it is in the group", func() bool { return theirs.State().Rounds > 0 && len(a.State().URLs) == 2 })
	b := c.start("b", func(config *Config) { config.Admission = time.Millisecond })
	<-b.done
	if u, ok := errors.AsType[*Unwelcome](b.err); !ok || !u.Foreign {
		t.Errorf("another of ours ends with %v", b.err)
	}
	c.waitCounts(map[string]int{"a": 6})
	for w, n := range c.allStarts() {
		if n != before[w] {
			t.Errorf("%v was started %d times, and before %d times", w, n, before[w])
		}
	}

	// When ours goes, theirs is given the work, and keeps it until it goes itself.
	a.end()
	c.waitCounts(map[string]int{"theirs": 6})
	a = c.start("a")
	theirs.end()
	c.waitCounts(map[string]int{"a": 6})
}

// TestALeaderOfKafkaConnectIsNotFollowed has one of ours find out who leads.
func TestALeaderOfKafkaConnectIsNotFollowed(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	theirs := c.start("theirs", guest)
	c.configure(map[string]int{"x": 1, "y": 1}, theirs)
	c.waitCounts(map[string]int{"theirs": 4})
	a := c.start("a", func(config *Config) { config.Admission = time.Minute })
	err := a.vet(t.Context(), theirs.State().Member)
	if u, ok := errors.AsType[*Unwelcome](err); !ok || !u.Foreign {
		t.Errorf("a leader of theirs is answered by %v", err)
	}
	c.waitCounts(map[string]int{"theirs": 4})
}

// TestAddressesThatDoNotGoTogether has workers that cannot reach each other.
func TestAddressesThatDoNotGoTogether(t *testing.T) {
	for _, test := range []struct {
		own, other string
		oneMachine bool
		refused    bool
	}{
		{"http://127.0.0.1:8083/", "http://127.0.0.1:8083/", false, true},
		{"http://127.0.0.1:8083/", "http://127.0.0.1:8083/", true, true},
		{"http://w1:8083/", "http://w1:8083/", false, true},
		{"http://127.0.0.1:8083/", "http://127.0.0.1:8084/", true, false},
		{"http://127.0.0.1:8083/", "http://127.0.0.1:8084/", false, true},
		{"http://localhost:8083/", "http://w1:8083/", false, true},
		{"http://w1:8083/", "http://[::1]:8083/", false, true},
		{"http://w1:8083/", "http://w2:8083/", false, false},
		{"http://w1:8083/", "", false, false},
	} {
		found := objection(test.own, []neighbour{{id: "i", instance: "other", url: test.other}}, func() bool { return test.oneMachine })
		if (found != nil) != test.refused {
			t.Errorf("%+v: %v", test, found)
		}
	}
	if found := objection("http://w1/", []neighbour{{id: "theirs-1"}}, func() bool { return true }); found == nil || !found.Foreign || found.Other != "theirs-1" {
		t.Errorf("a worker of Kafka Connect is answered by %v", found)
	}
}
