package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// series are the labels of each series of a scrape, by their name.
type series map[string][]map[string]string

var (
	seriesLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)(!=|=~|=)"((?:[^"\\]|\\.)*)"`)
)

// scrape reads GET /metrics in a format.
func scrape(ctx context.Context, base, accept string) (series, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%d: %.2000s: %w", resp.StatusCode, text, err)
	}
	found := series{}
	for line := range strings.Lines(string(text)) {
		if m := seriesLine.FindStringSubmatch(line); m != nil && line[0] != '#' {
			labels := map[string]string{}
			for _, p := range labelPair.FindAllStringSubmatch(m[2], -1) {
				labels[p[1]] = p[3]
			}
			found[m[1]] = append(found[m[1]], labels)
		}
	}
	return found, nil
}

// has tells whether a series fits a selector, a name with the matchers of its labels.
func (s series) has(selector string) bool {
	name, matchers, _ := strings.Cut(selector, "{")
	return slices.ContainsFunc(s[name], func(labels map[string]string) bool {
		for _, p := range labelPair.FindAllStringSubmatch(matchers, -1) {
			is := labels[p[1]]
			switch p[2] {
			case "=":
				if is != p[3] {
					return false
				}
			case "!=":
				if is == p[3] {
					return false
				}
			default:
				if !regexp.MustCompile("^(?:" + p[3] + ")$").MatchString(is) {
					return false
				}
			}
		}
		return true
	})
}

// lacks returns the selectors that no series fits.
func (s series) lacks(selectors []string) (none []string) {
	for _, sel := range selectors {
		if !s.has(sel) {
			none = append(none, sel)
		}
	}
	return none
}

// dashboard is what one public dashboard asks for, and what of that is left out.
type dashboard struct {
	name           string
	selectors, out []string
}

func readDashboards(t *testing.T) (list []*dashboard) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "dashboards.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "== "):
			list = append(list, &dashboard{name: line[3:]})
		case strings.HasPrefix(line, "- "):
			d := list[len(list)-1]
			d.out = append(d.out, line[2:])
		default:
			d := list[len(list)-1]
			d.selectors = append(d.selectors, line)
		}
	}
	return list
}

// observed runs a worker with a source of PostgreSQL, a sink, a generator, one connector that is
// paused and one that is stopped, and lets rows through. It returns where the worker is.
func observed(t *testing.T) string {
	t.Helper()
	dsn := devstack.TestPostgres(t)
	execAll(t, dsn, "CREATE TABLE ledger (id bigint PRIMARY KEY, note text); INSERT INTO ledger SELECT g, 'early' FROM generate_series(1, 100) g; CREATE SCHEMA copy")
	ports := freePorts(t, 2)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	settings := metricsSettings(t, broker, base)
	w := launch(t, "worker", "-c", settings)
	ctx := timeout(t, 4*time.Minute)
	w.waitHealthy(ctx, base)
	c := newClient(base)
	source := debeziumConfig(t, dsn)
	source["wal.guard.interval.ms"] = "100"
	source["key.converter.schemas.enable"], source["value.converter.schemas.enable"] = "true", "true"
	generator := map[string]string{"connector.class": "tidemill.Datagen", "quickstart": "orders", "kafka.topic": "generated", "max.interval": "20"}
	connectors := map[string]map[string]string{
		"shop": source, "generator": generator, "paused": generator, "stopped": generator,
		"lake": {"connector.class": "tidemill.PostgresSink", "topics": "own.public.ledger", "connection.url": dsn, "collection.name.format": "copy.${table}"},
	}
	for name, config := range connectors {
		if err := c.createConnector(ctx, name, config); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, w.stderr.String())
		}
	}
	for name := range connectors {
		if err := c.waitRunning(ctx, name); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, w.stderr.String())
		}
	}
	for _, path := range []string{"paused/pause", "stopped/stop"} {
		if err := c.call(ctx, http.MethodPut, "/connectors/"+path, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	// What is written before the snapshot is a part of it.
	snapshotted := func() (bool, error) {
		now, err := scrape(ctx, base, formats["text"])
		return now.has("tidemill_confirmed_lsn"), err
	}
	if err := until(ctx, "the snapshot to be over", snapshotted); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{"INSERT INTO ledger VALUES (1000, 'late')", "UPDATE ledger SET note = 'later' WHERE id = 1000", "DELETE FROM ledger WHERE id = 1000"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

func metricsSettings(t *testing.T, broker, listener string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker.properties")
	text := fmt.Sprintf(`bootstrap.servers=%s
listeners=%s
group.id=metrics
config.storage.topic=metrics-configs
offset.storage.topic=metrics-offsets
status.storage.topic=metrics-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.flush.interval.ms=100
metrics.compat=debezium-jmx,debezium-otel,connect,strimzi,debezium-examples
plugin.state.dir=%s
`, broker, listener, t.TempDir())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The formats of GET /metrics: that of Prometheus, and the one that it asks for itself.
var formats = map[string]string{"text": "text/plain;version=0.0.4", "OpenMetrics": "application/openmetrics-text;version=1.0.0;charset=utf-8"}

var (
	queryLine = regexp.MustCompile(`(?m)^\s*"?expr"?: (.*)$`)
	aSelector = regexp.MustCompile(`\b(?:kafka|debezium|tidemill|process|up)[a-zA-Z0-9_]*(?:\{[^}]*\})?`)
)

// ownDashboards are the dashboard and alerts in deploy/, as readDashboards has others.
func ownDashboards(t *testing.T) (list []*dashboard) {
	t.Helper()
	for _, file := range []string{"grafana/dashboards/tidemill.json", "alerts.yml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		d := &dashboard{name: "deploy/" + file}
		for _, m := range queryLine.FindAllStringSubmatch(string(text), -1) {
			for _, sel := range aSelector.FindAllString(strings.ReplaceAll(m[1], `\"`, `"`), -1) {
				if strings.HasPrefix(sel, "up{") {
					d.out = append(d.out, sel) // Prometheus adds it.
					continue
				}
				d.selectors = append(d.selectors, sel)
			}
		}
		if len(d.selectors) == 0 {
			t.Errorf("no query was found in %s", file)
		}
		list = append(list, d)
	}
	return list
}

// TestPublicDashboardsWork has every selector of the public dashboards, but for those of
// other databases and machines, and of our own dashboard and alerts fit a series of a running worker, in both formats.
func TestPublicDashboardsWork(t *testing.T) {
	t.Parallel()
	base := observed(t)
	boards := append(readDashboards(t), ownDashboards(t)...)
	var all []string
	for _, d := range boards {
		all = append(all, d.selectors...)
	}
	for format, accept := range formats {
		var last series
		err := until(timeout(t, time.Minute), "all selectors fit", func() (bool, error) {
			var err error
			last, err = scrape(t.Context(), base, accept)
			return err == nil && len(last.lacks(all)) == 0, err
		})
		for _, d := range boards {
			none := last.lacks(d.selectors)
			t.Logf("%s: %s: %d of %d selectors, %d left out", format, d.name, len(d.selectors)-len(none), len(d.selectors), len(d.out))
			for _, sel := range none {
				t.Errorf("%s: %s asks in vain for %s", format, d.name, sel)
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}
