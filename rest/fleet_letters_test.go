package rest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// letters puts records that are no JSON into a topic, and waits until a sink has made dead
// letters of all of them.
func (f *fleet) letters(via, out string, n int) {
	f.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.brokers, ",")...))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(f.t.Context(), 1, -1, nil, "in"); err != nil {
		f.t.Fatal(err)
	}
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: "in", Value: fmt.Appendf(nil, "row-%d", i)})
	}
	if err := cl.ProduceSync(f.t.Context(), records...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
	f.must(http.StatusCreated, via, "PUT", "/connectors/sink/config", letterSink(f, out, "org.apache.kafka.connect.json.JsonConverter"))
	f.wait("all are letters", func() bool {
		_, text := f.ask(via, "GET", fmt.Sprintf("/connectors/sink/dlq?limit=%d", n+1), "")
		return strings.Count(text, `"pending"`) == n
	})
}

// letterSink is a sink with a dead letter queue.
func letterSink(f *fleet, out, converter string) string {
	return fmt.Sprintf(`{"connector.class":"tidemill.FileSink","topics":"in","file":%q,"format":"json","value.converter":%q,
		"errors.tolerance":"all","errors.deadletterqueue.topic.name":"dead","errors.deadletterqueue.topic.replication.factor":%q,
		"errors.deadletterqueue.context.headers.enable":"true","consumer.override.session.timeout.ms":"6000"}`, out, converter, f.replicas())
}

// replaying is how far the replay of a connector is.
type replaying struct {
	State                                      string
	Chosen, Replayed, Failed, Unsure, Repeated int
	Resumed                                    int
}

// TestFleetReplaysOn kills the leader in the middle of a replay of dead letters. The next
// one goes on with it: every letter is replayed, and the figures are those of the whole.
func TestFleetReplaysOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := f.start(""), f.start(""), f.start("")
	out := filepath.Join(f.dir, "out")
	const letters, batch = 400, 3
	f.letters(a, out, letters)
	// From here on the sink can read what it could not.
	f.must(http.StatusOK, b, "PUT", "/connectors/sink/config", letterSink(f, out, "org.apache.kafka.connect.storage.StringConverter"))
	f.waitSpread("sink", 1, a, b, c)
	f.must(http.StatusAccepted, c, "POST", "/connectors/sink/dlq/replay", fmt.Sprintf(`{"batch":%d}`, batch))
	kills := 0
	var now, before replaying
	f.wait("the replay ends", func() bool {
		status, text := f.ask(f.ids()[0], "GET", "/connectors/sink/dlq/replay", "")
		var next replaying
		if status != http.StatusOK || json.Unmarshal([]byte(text), &next) != nil {
			return false // The group has no leader at the moment.
		}
		now = next
		if now.Replayed < before.Replayed {
			t.Errorf("it was at %+v and is at %+v", before, now)
		}
		before = now
		if now.State == "running" && kills < 2 && now.Replayed > letters/4*(kills+1) && now.Resumed == kills {
			kills++
			leader := f.leader()
			f.end(leader, syscall.SIGKILL)
			if kills == 1 {
				f.start(leader)
			}
		}
		return now.State != "running"
	})
	if now.State != "done" || now.Chosen != letters || now.Replayed != letters || now.Failed != 0 || now.Unsure != 0 || now.Resumed != kills || kills != 2 || now.Repeated > kills*batch {
		t.Errorf("after %d leaders were killed: %+v", kills, now)
	}
	_, text := f.ask(f.ids()[0], "GET", fmt.Sprintf("/connectors/sink/dlq?state=all&limit=%d", letters+1), "")
	if n := strings.Count(text, `"replayed"`); n != letters {
		t.Errorf("%d letters are marked as replayed", n)
	}
	wrote := map[string]int{}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct{ Value string }
		if json.Unmarshal(lines.Bytes(), &line) == nil {
			wrote[line.Value]++
		}
	}
	twice := 0
	for i := range letters {
		n := wrote[fmt.Sprint("row-", i)]
		if n == 0 {
			t.Errorf("letter %d was not written", i)
		}
		twice += max(n-1, 0)
	}
	if twice > now.Repeated {
		t.Errorf("%d letters were written again, and %d are told of", twice, now.Repeated)
	}
	for _, id := range f.ids() {
		f.end(id, syscall.SIGTERM)
	}
}
