package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// workerUnderTest is a worker in a process of its own, with what it needs in others.
type workerUnderTest struct {
	dir      string
	broker   *process
	registry *devstack.Registry
	process  *process
	brokers  string
	url      string
	ready    time.Duration // From the start of the process until /health says healthy.
}

// startWorker starts the broker in a process of its own and the registry in this one, then the worker, as users do:
// with an unchanged connect-distributed.properties.
// Further settings are lines of that file.
func startWorker(ctx context.Context, binary string, settings ...string) (*workerUnderTest, error) {
	dir, err := os.MkdirTemp("", "tidemill-bench-")
	if err != nil {
		return nil, err
	}
	w := &workerUnderTest{dir: dir}
	if err := w.start(ctx, binary, settings); err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

func (w *workerUnderTest) start(ctx context.Context, binary string, more []string) error {
	kafka, err := freePort()
	if err != nil {
		return err
	}
	rest, err := freePort()
	if err != nil {
		return err
	}
	w.brokers, w.url = fmt.Sprintf("127.0.0.1:%d", kafka), fmt.Sprintf("http://127.0.0.1:%d", rest)
	if w.registry, err = devstack.StartRegistry("127.0.0.1:0", ""); err != nil {
		return err
	}
	w.broker, err = start(binary, "dev-kafka", "--port", fmt.Sprint(kafka), "--data-dir", filepath.Join(w.dir, "kafka"))
	if err != nil {
		return err
	}
	if err := w.broker.listens(ctx, w.brokers); err != nil {
		return err
	}
	settings := fmt.Sprintf(`bootstrap.servers=%[1]s
group.id=bench
key.converter=io.confluent.connect.avro.AvroConverter
key.converter.schema.registry.url=%[2]s
value.converter=io.confluent.connect.avro.AvroConverter
value.converter.schema.registry.url=%[2]s
config.storage.topic=bench-configs
config.storage.replication.factor=1
offset.storage.topic=bench-offsets
offset.storage.replication.factor=1
status.storage.topic=bench-status
status.storage.replication.factor=1
listeners=http://127.0.0.1:%[3]d
%[4]s
`, w.brokers, w.registry.URL(), rest, strings.Join(more, "\n"))
	file := filepath.Join(w.dir, "connect-distributed.properties")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return err
	}
	began := time.Now()
	if w.process, err = start(binary, "worker", "-c", file); err != nil {
		return err
	}
	if err := w.process.answers(ctx, w.url+"/health"); err != nil {
		return err
	}
	w.ready = time.Since(began)
	return nil
}

func (w *workerUnderTest) stop() {
	for _, p := range []*process{w.process, w.broker} {
		if p != nil {
			p.stop()
		}
	}
	if w.registry != nil {
		_ = w.registry.Stop(context.Background())
	}
	_ = os.RemoveAll(w.dir)
}

// benchIdle measures a worker that has nothing to do.
func benchIdle(ctx context.Context, o options) ([]figure, error) {
	var ready, idle []float64
	for range o.rounds {
		w, err := startWorker(ctx, o.binary)
		if err != nil {
			return nil, err
		}
		ready = append(ready, w.ready.Seconds())
		select { // Memory settles once the start-up's garbage is collected.
		case <-ctx.Done():
		case <-time.After(3 * time.Second):
		}
		now, _ := w.process.rss()
		idle = append(idle, now)
		w.stop()
	}
	all := []figure{
		figure{Name: "worker.ready", Value: median(ready), Unit: "s"}.held(false, 1),
		figure{Name: "worker.idle_rss", Value: median(idle), Unit: "MB"}.held(false, 60),
	}
	for _, f := range all {
		o.show(f)
	}
	return all, nil
}

// benchDemo times the whole demo, set-up and verification included.
func benchDemo(ctx context.Context, o options) ([]figure, error) {
	var seconds []float64
	for range o.rounds {
		began := time.Now()
		out, err := exec.CommandContext(ctx, o.binary, "demo", "--once", "--json").Output()
		if err != nil {
			return nil, fmt.Errorf("demo --once: %w", err)
		}
		var result struct{ OK bool }
		if err := json.Unmarshal(out, &result); err != nil || !result.OK {
			return nil, fmt.Errorf("demo --once said %s", out)
		}
		seconds = append(seconds, time.Since(began).Seconds())
	}
	f := figure{Name: "demo.once", Value: median(seconds), Unit: "s"}.held(false, 15)
	o.show(f)
	return []figure{f}, nil
}
