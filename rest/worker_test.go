package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	jsonconv "github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/converters/raw"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/sinks/file"
	"github.com/tidemill/tidemill/sources/datagen"
	"github.com/tidemill/tidemill/worker"
)

// runWorker runs a distributed worker on a broker of its own until the test ends, and
// returns the address of its REST interface.
func runWorker(t *testing.T) string {
	t.Helper()
	props := connect.Config{
		"bootstrap.servers": strings.Join(devstack.TestKafka(t), ","), "group.id": "workers", "offset.flush.interval.ms": "50",
		"key.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
		"config.storage.topic": "connect-configs", "config.storage.replication.factor": "1",
		"offset.storage.topic": "connect-offsets", "offset.storage.replication.factor": "1", "offset.storage.partitions": "3",
		"status.storage.topic": "connect-status", "status.storage.replication.factor": "1",
	}
	settings, err := worker.ConfigDef().Parse(props)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := config.NewResolver(props, config.NewRedactor())
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	w, err := worker.New(worker.Options{
		Config: settings, Raw: props, Resolve: resolver.Resolve, Metrics: registry, WorkerID: "w:8083", Version: "4.0.0", Commit: "abc",
		Plugins: connect.Plugins{
			Sources:          []connect.Plugin[connect.SourceConnector]{datagen.Plugin()},
			Sinks:            []connect.Plugin[connect.SinkConnector]{file.Plugin(file.Options{Stdout: io.Discard})},
			Converters:       append(jsonconv.Plugins(), raw.Plugins()...),
			HeaderConverters: raw.HeaderPlugins(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return serve(t, nil, func(o *rest.Options) {
		o.Herder, o.Redactor, o.Metrics = w.Herder(), resolver.Redactor(), promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	})
}

// A worker is asked everything its interface offers, as a person with curl would.
func TestWorkerOverHTTP(t *testing.T) {
	t.Setenv("REST_TEST_TOPIC", "orders")
	base := runWorker(t)
	play(t, filepath.Join("testdata", "worker.http"), base)
	checkValidation(t, base)
	if _, body := get(t, http.DefaultClient, base+"/metrics", ""); !strings.Contains(body, `kafka_connect_connect_worker_metrics_connector_count{connector="aggregate"} 2`) {
		t.Errorf("no connectors in\n%s", body)
	}
}

// checkValidation looks at a few settings of an answer that has all of them.
func checkValidation(t *testing.T, base string) {
	t.Helper()
	text := put(t, base+"/connector-plugins/Datagen/config/validate", `{"connector.class":"tidemill.Datagen","name":"v","quickstart":"ordres","tasks.max":"none","value.converter.secret":"x","topic":null}`)
	var v struct {
		ErrorCount int `json:"error_count"`
		Configs    []struct {
			Definition *struct{ Type string }
			Value      struct {
				Name   string
				Value  *string
				Errors []string
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err, text)
	}
	errs := map[string]string{}
	for _, c := range v.Configs {
		if len(c.Value.Errors) > 0 {
			errs[c.Value.Name] = strings.Join(c.Value.Errors, "; ")
		}
	}
	for name, want := range map[string]string{
		"quickstart": "did you mean orders?", "tasks.max": "Not a number of type INT", "topic": "Null value can not be supplied",
	} {
		if !strings.Contains(errs[name], want) {
			t.Errorf("%s: %q instead of %q", name, errs[name], want)
		}
	}
	if v.ErrorCount < 3 || len(v.Configs) < 25 {
		t.Errorf("%d errors in %d settings: %v", v.ErrorCount, len(v.Configs), errs)
	}
}
