package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestWorkerWaitsForItsBroker starts a worker with SQL before its broker is there: it
// says so to whoever asks, does not end, and answers once there is a broker.
func TestWorkerWaitsForItsBroker(t *testing.T) {
	ctx := timeout(t, 2*time.Minute)
	ports := freePorts(t, 2)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	file := exactlyOnceSettings(t, broker, base)
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(text, "ksql.service.id=waiting_\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	worker := launch(t, "worker", "-c", file)
	err = until(ctx, "the worker to say how it is", func() (bool, error) {
		resp, err := http.Get(base + "/health")
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return false, fmt.Errorf("it is well without a broker")
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	worker.waitHealthy(ctx, base)
	c := newClient(base)
	err = until(ctx, "SQL", func() (bool, error) {
		_, err := c.ksql(ctx, "SHOW STREAMS;")
		if err != nil && !strings.Contains(err.Error(), "statement log") {
			return false, err
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-worker.ended:
		t.Error("the worker has ended")
	default:
	}
}
