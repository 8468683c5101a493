package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	jsonconv "github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/converters/raw"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/sinks/file"
	"github.com/tidemill/tidemill/sources/datagen"
	"github.com/tidemill/tidemill/worker"
)

// childProps is the variable by which a process of a test is told to be a worker.
const childProps = "TIDEMILL_TEST_FLEET_PROPS"

// filesDir is the setting by which it is told where sinks may write.
const filesDir = "tidemill.files"

// TestMain lets the test binary be a worker in a process of its own.
func TestMain(m *testing.M) {
	text := os.Getenv(childProps)
	if text == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := beWorker(ctx, []byte(text)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beWorker is a worker with its REST interface until ctx ends.
func beWorker(ctx context.Context, text []byte) error {
	var props connect.Config
	if err := json.Unmarshal(text, &props); err != nil {
		return err
	}
	settings, err := worker.ConfigDef().Parse(props)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	registry := prometheus.NewRegistry()
	cable := newLine()
	go cable.obey(ctx)
	files := file.Options{Stdout: io.Discard, Dirs: []string{props[filesDir]}}
	loggers := rest.NewLoggers(slog.LevelInfo)
	w, err := worker.New(worker.Options{
		Config: settings, Raw: props, Metrics: registry, Log: log, Level: loggers.Set, Dial: cable.dial,
		Plugins: connect.Plugins{
			Sources:          []connect.Plugin[connect.SourceConnector]{datagen.Plugin()},
			Sinks:            []connect.Plugin[connect.SinkConnector]{file.Plugin(files)},
			Converters:       append(jsonconv.Plugins(), raw.Plugins()...),
			HeaderConverters: raw.HeaderPlugins(),
		},
	})
	if err != nil {
		return err
	}
	own, err := rest.ConfigDef().Parse(props)
	if err != nil {
		return err
	}
	server, err := rest.New(rest.Options{Settings: own, Herder: w.Herder(), Loggers: loggers, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Log: log})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- server.Run(serving) }()
	err = w.Run(ctx)
	stop()
	<-served
	return err
}

// fleet is a group of workers, each a process.
type fleet struct {
	t       *testing.T
	brokers string
	members map[string]*exec.Cmd // By the worker's id.
	dir     string
	lan     lan // Nil for the machine's own loopback interface.
}

// lan gives each worker's process a machine of its own, as far as networks go.
type lan interface {
	// place returns the address of a new machine, where a worker is to listen.
	place() (id string)
	// join starts a worker's process on its machine.
	join(id string, cmd *exec.Cmd) error
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return fleetOn(t, devstack.TestKafka(t))
}

func fleetOn(t *testing.T, brokers []string) *fleet {
	t.Helper()
	f := &fleet{t: t, brokers: strings.Join(brokers, ","), members: map[string]*exec.Cmd{}, dir: t.TempDir()}
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	f.wait("all brokers know each other", func() bool {
		meta, err := kadm.NewClient(cl).BrokerMetadata(t.Context())
		return err == nil && len(meta.Brokers) >= len(brokers)
	})
	return f
}

// replicas is how many copies of the internal topics there are to be.
func (f *fleet) replicas() string { return strconv.Itoa(min(3, strings.Count(f.brokers, ",")+1)) }

// patience is how long a test waits for what must come; machines that run tests may be
// slow.
const patience = 3 * time.Minute

func (f *fleet) wait(what string, done func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			f.t.Fatalf("it never came to this: %s; %s", what, f.describe())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// start starts a worker; without an id it gets a new one, which is returned.
func (f *fleet) start(id string) string {
	f.t.Helper()
	start := func(_ string, cmd *exec.Cmd) error { return cmd.Start() }
	if f.lan != nil {
		start = f.lan.join
	}
	switch {
	case id == "" && f.lan != nil:
		id = f.lan.place()
	case id == "":
		port, err := devstack.FreePort()
		if err != nil {
			f.t.Fatal(err)
		}
		id = "127.0.0.1:" + strconv.Itoa(port)
	}
	props, err := json.Marshal(connect.Config{
		"bootstrap.servers": f.brokers, "group.id": "workers", "listeners": "http://" + id, "exactly.once.source.support": "enabled",
		"key.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
		"value.converter.schemas.enable": "false", "key.converter.schemas.enable": "false",
		"config.storage.topic": "connect-configs", "config.storage.replication.factor": f.replicas(), filesDir: f.dir,
		"offset.storage.topic": "connect-offsets", "offset.storage.replication.factor": f.replicas(), "offset.storage.partitions": "3",
		"status.storage.topic": "connect-status", "status.storage.replication.factor": f.replicas(),
		"session.timeout.ms": "6000", "heartbeat.interval.ms": "200", "errors.restart.delay.ms": "50", "topic.creation.enable": "true",
		"rest.insecure": strconv.FormatBool(f.lan != nil),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childProps+"="+string(props))
	said, err := os.CreateTemp(f.dir, "worker-*.log")
	if err != nil {
		f.t.Fatal(err)
	}
	cmd.Stderr = said
	if err := start(id, cmd); err != nil {
		f.t.Fatal(err)
	}
	f.members[id] = cmd
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = said.Close()
		if f.t.Failed() {
			f.t.Logf("what the worker %s said last:\n%s", id, lastLines(said.Name(), 30))
		}
	})
	f.wait(id+" is healthy", func() bool { status, _ := f.ask(id, "GET", "/health", ""); return status == http.StatusOK })
	return id
}

// lastLines returns the last lines of a file.
func lastLines(name string, most int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "")
}

// end ends a worker's process by a signal.
func (f *fleet) end(id string, sig syscall.Signal) {
	f.t.Helper()
	cmd := f.members[id]
	delete(f.members, id)
	_ = cmd.Process.Signal(sig)
	if err := cmd.Wait(); err != nil && sig == syscall.SIGTERM {
		f.t.Errorf("%s ends with %v", id, err)
	}
}

// client gives up on workers that stand still.
var client = &http.Client{Timeout: 100 * time.Second}

func (f *fleet) ask(id, method, path, body string) (int, string) {
	req, err := http.NewRequest(method, "http://"+id+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// must asks and wants the status.
func (f *fleet) must(status int, id, method, path, body string) {
	f.t.Helper()
	if got, text := f.ask(id, method, path, body); got != status {
		f.t.Fatalf("%s %s%s: %d %s, want %d", method, id, path, got, text, status)
	}
}

// ids returns the workers that run, sorted.
func (f *fleet) ids() (list []string) {
	for id := range f.members {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// places returns where connectors and tasks run, as a worker sees it, and whether all do.
func (f *fleet) places(id string, connectors int) (map[string]string, bool) {
	type state struct {
		State  string `json:"state"`
		Worker string `json:"worker_id"`
	}
	var all map[string]struct {
		Status struct {
			Connector state   `json:"connector"`
			Tasks     []state `json:"tasks"`
		} `json:"status"`
	}
	_, text := f.ask(id, "GET", "/connectors?expand=status", "")
	places := map[string]string{}
	if json.Unmarshal([]byte(text), &all) != nil || len(all) != connectors {
		return places, false
	}
	running := true
	for name, c := range all {
		places[name] = c.Status.Connector.Worker
		running = running && c.Status.Connector.State == "RUNNING" && len(c.Status.Tasks) == 1
		for i, task := range c.Status.Tasks {
			places[fmt.Sprint(name, "-", i)] = task.Worker
			running = running && task.State == "RUNNING"
		}
	}
	return places, running
}

func (f *fleet) describe() string {
	var b bytes.Buffer
	for _, id := range f.ids() {
		_, text := f.ask(id, "GET", "/connectors?expand=status", "")
		fmt.Fprintf(&b, "%s: %s\n", id, text)
	}
	return b.String()
}

// waitEven waits until everything runs, evenly divided among the workers that are asked,
// and is seen to do so by each.
func (f *fleet) waitEven(connectors int, among ...string) {
	f.t.Helper()
	f.wait(fmt.Sprintf("%d connectors run on %d workers", connectors, len(among)), func() bool {
		for _, id := range among {
			places, running := f.places(id, connectors)
			counts := map[string]int{}
			for _, worker := range places {
				counts[worker]++
				running = running && slices.Contains(among, worker)
			}
			for _, worker := range among {
				if n := counts[worker]; !running || n < 2*(connectors/len(among)) || n > 2*((connectors+len(among)-1)/len(among)) {
					return false
				}
			}
		}
		return true
	})
}

// starts returns how often tasks were started on the workers that run.
func (f *fleet) starts() int {
	f.t.Helper()
	sum := 0
	for _, id := range f.ids() {
		_, text := f.ask(id, "GET", "/metrics", "")
		for line := range strings.Lines(text) {
			if n, ok := strings.CutPrefix(line, `kafka_connect_connect_worker_metrics_task_startup_attempts_total{connector="aggregate"} `); ok {
				count, _ := strconv.ParseFloat(strings.TrimSpace(n), 64)
				sum += int(count)
			}
		}
	}
	return sum
}

// leader returns the leader's id.
func (f *fleet) leader() string {
	f.t.Helper()
	for _, id := range f.ids() {
		_, text := f.ask(id, "GET", "/metrics", "")
		if _, rest, ok := strings.Cut(text, `leader_name="http://`); ok {
			leader, _, _ := strings.Cut(rest, "/")
			return leader
		}
	}
	f.t.Fatal("nobody knows the leader")
	return ""
}

// other returns a worker that is not the given one.
func (f *fleet) other(id string) string {
	return f.ids()[slices.IndexFunc(f.ids(), func(other string) bool { return other != id })]
}

// row is one that the source has written, and when.
type row struct {
	number int
	at     time.Time
}

// settled waits until all transactions of a topic that is no longer written to are over:
// their ends come to the partitions one after another, behind the answer to who commits.
func (f *fleet) settled(topic string) {
	f.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.brokers, ",")...))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	f.wait("the transactions in "+topic+" are over", func() bool {
		committed, err := admin.ListCommittedOffsets(f.t.Context(), topic)
		if err != nil || committed.Error() != nil {
			return false
		}
		ends, err := admin.ListEndOffsets(f.t.Context(), topic)
		return err == nil && ends.Error() == nil && maps.Equal(committed.KOffsets()[topic], ends.KOffsets()[topic])
	})
}

// read returns the rows of a topic, of all its partitions, by their numbers.
func (f *fleet) read(topic string) (rows []row) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.brokers, ",")...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	var ends kadm.ListedOffsets
	f.wait("the brokers tell how much is in "+topic, func() bool { // Others lead what a lost one led, after a moment.
		ends, err = kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
		return err == nil && ends.Error() == nil
	})
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			var v struct{ Source struct{ Row *int } }
			if !r.Attrs.IsControl() && json.Unmarshal(r.Value, &v) == nil && v.Source.Row != nil {
				rows = append(rows, row{*v.Source.Row, r.Timestamp})
			}
		})
	}
	slices.SortFunc(rows, func(a, b row) int { return a.number - b.number })
	return rows
}

// rows checks that no row of the source, which has ended, is missing in a topic or there
// twice, and that there are some.
func (f *fleet) rows(topic string) []row {
	f.t.Helper()
	f.settled(topic)
	rows := f.read(topic)
	for i := range rows {
		if rows[i].number != rows[0].number+i {
			f.t.Fatalf("%s: row %d follows row %d", topic, rows[i].number, rows[max(i-1, 0)].number)
		}
	}
	if len(rows) == 0 {
		f.t.Errorf("topic %s is empty", topic)
	}
	return rows
}

// pause returns the longest time between two rows that were written one after the other
// in a span of time.
func pause(rows []row, from, to time.Time) (longest time.Duration) {
	for i := 1; i < len(rows); i++ {
		if rows[i].at.After(from) && rows[i-1].at.Before(to) {
			longest = max(longest, rows[i].at.Sub(rows[i-1].at))
		}
	}
	return longest
}

// TestFleet has three workers share connectors, kills, suspends and restarts them, and
// changes connectors through whichever is at hand.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	a, b, c := f.start(""), f.start(""), f.start("")
	const connectors = 6
	for i := range connectors {
		f.must(http.StatusCreated, f.ids()[i%3], "PUT", fmt.Sprintf("/connectors/c%d/config", i), source(i, 50))
	}
	f.waitEven(connectors, a, b, c)

	// A change of one connector, wherever it is asked for, leaves the others alone.
	leader := f.leader()
	before := f.starts()
	f.must(http.StatusOK, f.other(leader), "PUT", "/connectors/c0/config", source(0, 60))
	f.wait("its task has started again", func() bool { return f.starts() == before+1 })
	f.must(http.StatusCreated, f.other(leader), "POST", "/connectors", `{"name":"more","config":`+source(connectors, 50)+`}`)
	f.wait("the new one runs", func() bool { _, running := f.places(a, connectors+1); return running })
	for _, id := range f.ids() {
		f.must(http.StatusNoContent, id, "POST", "/connectors/c1/tasks/0/restart", "")
		f.must(http.StatusNoContent, id, "POST", "/connectors/c2/restart", "")
	}
	f.must(http.StatusNoContent, f.other(leader), "PUT", "/connectors/more/stop", "")
	f.must(http.StatusNoContent, f.other(leader), "DELETE", "/connectors/more", "")
	f.waitEven(connectors, a, b, c)
	if got, want := f.starts(), before+1+1+3; got != want {
		t.Errorf("%d tasks have started, want %d", got, want)
	}
	f.must(http.StatusBadRequest, a, "PUT", "/connectors/c1/fence", "")
	f.must(http.StatusNoContent, f.other(leader), "PUT", "/admin/loggers/tidemill.x?scope=cluster", `{"level":"debug"}`)
	for _, id := range f.ids() {
		f.wait("the level is set in "+id, func() bool {
			_, text := f.ask(id, "GET", "/admin/loggers/tidemill.x", "")
			return strings.Contains(text, `"level":"DEBUG"`)
		})
	}
	f.must(http.StatusConflict, f.other(leader), "PUT", "/connectors/c1/pause?forward=false", "")

	// The leader is killed. Its work goes to the others, and comes back with it.
	f.end(leader, syscall.SIGKILL)
	killed := time.Now()
	f.waitEven(connectors, f.ids()...)
	t.Logf("the work of a worker that was killed runs elsewhere after %s", time.Since(killed).Round(time.Millisecond))
	f.start(leader)
	f.waitEven(connectors, a, b, c)

	// One that was killed and is back within its session goes on where it was.
	victim := f.leader()
	f.end(victim, syscall.SIGKILL)
	f.start(victim)
	f.waitEven(connectors, a, b, c)

	// One is suspended until others have its work. It must not write when it is back.
	zombie := f.other(f.leader())
	process := f.members[zombie].Process
	_ = process.Signal(syscall.SIGSTOP)
	f.waitEven(connectors, slices.DeleteFunc(f.ids(), func(id string) bool { return id == zombie })...)
	_ = process.Signal(syscall.SIGCONT)
	f.waitEven(connectors, a, b, c)

	// All are restarted, one after another.
	rolling := time.Now()
	for _, id := range f.ids() {
		f.end(id, syscall.SIGTERM)
		f.start(id)
		f.waitEven(connectors, a, b, c)
	}
	rolled := time.Now()
	f.finish(connectors, func(topic string, rows []row) {
		t.Logf("%s: no task has written for %s at most while all workers were restarted", topic, pause(rows, rolling, rolled).Round(time.Millisecond))
	})
}

// finish stops all workers and checks what they have written.
func (f *fleet) finish(connectors int, look func(topic string, rows []row)) {
	f.t.Helper()
	for _, id := range f.ids() {
		f.end(id, syscall.SIGTERM)
	}
	for i := range connectors {
		topic := fmt.Sprintf("t%d", i)
		look(topic, f.rows(topic))
	}
}

// source is a connector's configuration whose rows tell if one is missing.
func source(i, rate int) string {
	return fmt.Sprintf(`{"connector.class":"tidemill.Datagen","topic":"t%d","quickstart":"orders","keys":"0","rate":"%d"}`, i, rate)
}
