package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/worker"
)

// replayRig is two workers of a group, and a sink with dead letters that would now be taken.
type replayRig struct {
	t       *testing.T
	bases   []string
	workers map[string]*process // By their base.
}

const rigLetters = 600

func newReplayRig(t *testing.T, ctx context.Context) *replayRig {
	dsn := devstack.TestPostgres(t)
	execAll(t, dsn, "CREATE TABLE orders (id bigint PRIMARY KEY, city text CHECK (length(city) < 3))")
	ports := freePorts(t, 3)
	r := &replayRig{t: t, workers: map[string]*process{}}
	broker := fmt.Sprintf("127.0.0.1:%d", ports[0])
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[0]), "--data-dir", t.TempDir())
	for _, port := range ports[1:] {
		base := fmt.Sprintf("http://127.0.0.1:%d", port)
		r.bases = append(r.bases, base)
		r.workers[base] = launch(t, "worker", "-c", exactlyOnceSettings(t, broker, base))
	}
	for base, w := range r.workers {
		w.waitHealthy(ctx, base)
	}
	kafka, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(50*time.Millisecond))
	r.must(err)
	defer kafka.Close()
	var rows []*kgo.Record
	for id := range rigLetters {
		const schema = `{"type":"struct","fields":[{"field":"id","type":"int64"},{"field":"city","type":"string"}]}`
		rows = append(rows, &kgo.Record{
			Topic: "orders", Key: fmt.Appendf(nil, `{"schema":{"type":"struct","fields":[{"field":"id","type":"int64"}]},"payload":{"id":%d}}`, id),
			Value: fmt.Appendf(nil, `{"schema":%s,"payload":{"id":%d,"city":"Basel"}}`, schema, id),
		})
	}
	r.must(kafka.ProduceSync(ctx, rows...).FirstErr())
	r.must(newClient(r.bases[0]).createConnector(ctx, "orders-sink", map[string]string{
		"connector.class": "tidemill.PostgresSink", "topics": "orders", "connection.url": dsn, "errors.tolerance": "all",
		"errors.deadletterqueue.topic.name": "orders-dead", "errors.deadletterqueue.topic.replication.factor": "1", "errors.deadletterqueue.context.headers.enable": "true",
	}))
	r.must(until(ctx, "all are letters", func() (bool, error) { return r.count(ctx, r.bases[0], "pending") == rigLetters, nil }))
	execAll(t, dsn, "ALTER TABLE orders DROP CONSTRAINT orders_city_check")
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), dsn)
		r.must(err)
		defer conn.Close(context.Background())
		var n int
		if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM orders").Scan(&n); err != nil || n != rigLetters {
			t.Errorf("%d rows are written, %v", n, err)
		}
	})
	return r
}

func (r *replayRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// count returns how many letters are in a state.
func (r *replayRig) count(ctx context.Context, base, state string) int {
	var found struct{ Letters []worker.Letter }
	if err := newClient(base).call(ctx, http.MethodGet, dlqPath("orders-sink")+"?limit=1000&state="+state, nil, &found); err != nil {
		return -1
	}
	return len(found.Letters)
}

// leader returns the worker that leads, and the other.
func (r *replayRig) leader(ctx context.Context) (leads, other string) {
	r.must(until(ctx, "somebody to lead", func() (bool, error) {
		resp, err := http.Get(r.bases[0] + "/metrics")
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		_, rest, _ := strings.Cut(string(text), `leader_name="`)
		leads, _, _ = strings.Cut(rest, `"`)
		leads = strings.TrimSuffix(leads, "/")
		return r.workers[leads] != nil, err
	}))
	if other = r.bases[0]; other == leads {
		other = r.bases[1]
	}
	return leads, other
}

// said is what a command has answered.
type said struct {
	code   int
	replay worker.Replay
	errs   string
}

// tidemill runs a command on dead letters.
func (r *replayRig) tidemill(args ...string) (answer said) {
	var out, errs bytes.Buffer
	answer.code = run(append([]string{"dlq", "-o", "json"}, args...), &out, &errs)
	if answer.errs = errs.String(); out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &answer.replay); err != nil {
			r.t.Errorf("%v: %v\n%s%s", args, err, out.String(), errs.String())
		}
	}
	return answer
}

// midway runs a command that replays, and kills a worker when some letters are replayed.
func (r *replayRig) midway(ctx context.Context, kill string, args ...string) <-chan said {
	done := make(chan said, 1)
	go func() { done <- r.tidemill(args...) }()
	r.must(until(ctx, "some are replayed", func() (bool, error) {
		var now worker.Replay
		err := newClient(r.bases[0]).call(ctx, http.MethodGet, dlqPath("orders-sink")+"/replay", nil, &now)
		return err == nil && now.Replayed > 10 && now.State == "running", nil
	}))
	r.workers[kill].kill()
	return done
}

// TestReplayByCommandOutlivesTheLeader kills the leader, by whose work a command waits that
// asks another worker: it waits for the next leader, and tells of the whole.
func TestReplayByCommandOutlivesTheLeader(t *testing.T) {
	t.Parallel()
	ctx := timeout(t, 4*time.Minute)
	r := newReplayRig(t, ctx)
	leads, other := r.leader(ctx)
	got := <-r.midway(ctx, leads, "replay", "orders-sink", "--batch", "1", "--url", other)
	if got.code != exitOK || got.replay.State != "done" || got.replay.Chosen != rigLetters || got.replay.Replayed != rigLetters || got.replay.Resumed != 1 {
		t.Errorf("%+v", got)
	}
	if n := r.count(ctx, other, "replayed"); n != rigLetters {
		t.Errorf("%d letters are replayed", n)
	}
}

// TestReplayByCommandLosesItsWorker kills the worker that a command asks, which also does
// the work. The command says what it knows, and another one tells how it ended.
func TestReplayByCommandLosesItsWorker(t *testing.T) {
	t.Parallel()
	ctx := timeout(t, 4*time.Minute)
	r := newReplayRig(t, ctx)
	leads, other := r.leader(ctx)
	got := <-r.midway(ctx, leads, "replay", "orders-sink", "--batch", "1", "--url", leads)
	if got.code != exitEnvironment || !strings.Contains(got.errs, "dlq.unfollowed") || !strings.Contains(got.errs, "tidemill dlq follow orders-sink") || got.replay.State != "running" {
		t.Errorf("%+v", got)
	}
	got = r.tidemill("follow", "orders-sink", "--url", other)
	if got.code != exitOK || got.replay.State != "done" || got.replay.Replayed != rigLetters || got.replay.Resumed != 1 {
		t.Errorf("followed: %+v", got)
	}
	got = r.tidemill("replay", "orders-sink", "--url", other)
	if got.code != exitOK || got.replay.State != "done" || got.replay.Chosen != 0 {
		t.Errorf("again: %+v", got)
	}
	// A dry run is nobody's to go on with, and what is told of an older replay is not its end.
	r.workers[leads].start()
	r.workers[leads].waitHealthy(ctx, leads)
	lost := &worker.Replay{Connector: "orders-sink", State: "running", DryRun: true, Started: got.replay.Started.Add(time.Second)}
	a := &app{out: io.Discard, err: io.Discard}
	err := a.awaitReplay(ctx, newClient(other), dlqPath("orders-sink")+"/replay", lost)
	if err == nil || !strings.Contains(err.Error(), "the dry run has no end") {
		t.Errorf("of a dry run that is lost: %v", err)
	}
}
