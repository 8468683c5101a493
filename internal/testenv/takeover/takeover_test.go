//go:build takeover

package takeover_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// world is a cluster of one worker, and what its connectors read and write.
type world struct {
	t       *testing.T
	brokers []string
	db      *pgx.Conn
	dir     string
	group   string
	exactly bool // Sources write in transactions.
	now     *running
	rows    map[string]int // Of each table.
	lines   int            // Of the file.
	again   int            // Rows that have come twice.
	said    strings.Builder
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func newWorld(t *testing.T, exactly bool) *world {
	t.Helper()
	w := &world{t: t, brokers: devstack.TestKafka(t), dir: t.TempDir(), group: "fleet-alo", exactly: exactly, rows: map[string]int{}}
	if exactly {
		w.group = "fleet-eos"
	}
	db, err := pgx.Connect(t.Context(), devstack.TestPostgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	w.db = db
	for _, table := range []string{"orders", "notes"} {
		w.exec("CREATE TABLE " + table + " (id int PRIMARY KEY, text text)")
	}
	return w
}

func (w *world) exec(statement string) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), statement); err != nil {
		w.t.Fatal(err)
	}
}

// insert adds rows to a table: the first in a transaction of its own, then some in one, of
// which the last two are copied: their changes have the same position in the log.
func (w *world) insert(table string, n int) {
	w.t.Helper()
	first := w.rows[table] + 1
	w.rows[table] += n
	w.exec(fmt.Sprintf("INSERT INTO %s VALUES (%d, 'alone')", table, first))
	w.exec("BEGIN")
	w.exec(fmt.Sprintf("INSERT INTO %s SELECT i, 'row ' || i FROM generate_series(%d, %d) i", table, first+1, w.rows[table]-2))
	rows := [][]any{{w.rows[table] - 1, "copied"}, {w.rows[table], "copied"}}
	if _, err := w.db.CopyFrom(w.t.Context(), pgx.Identifier{table}, []string{"id", "text"}, pgx.CopyFromRows(rows)); err != nil {
		w.t.Fatal(err)
	}
	w.exec("COMMIT")
}

// addLines adds lines to the file that Kafka Connect reads.
func (w *world) addLines(n int) {
	w.t.Helper()
	file, err := os.OpenFile(w.path("lines.txt"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	for range n {
		w.lines++
		fmt.Fprintln(file, "line", w.lines)
	}
}

// properties writes the file that all workers are started with, and returns their address.
func (w *world) properties() (file, url string) {
	w.t.Helper()
	port, err := devstack.FreePort()
	if err != nil {
		w.t.Fatal(err)
	}
	url = fmt.Sprint("http://127.0.0.1:", port)
	support := "disabled"
	if w.exactly {
		support = "enabled"
	}
	text := fmt.Sprintf(`bootstrap.servers=%[1]s
group.id=%[2]s
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.topic=%[2]s-offsets
offset.storage.replication.factor=1
offset.storage.partitions=5
config.storage.topic=%[2]s-configs
config.storage.replication.factor=1
status.storage.topic=%[2]s-status
status.storage.replication.factor=1
offset.flush.interval.ms=10000
exactly.once.source.support=%[3]s
listeners=%[4]s
plugin.path=%[5]s
`, strings.Join(w.brokers, ","), w.group, support, url, pluginFolder(w.t, w.dir))
	file = w.path("connect-distributed.properties")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file, url
}

// debezium is a source of one table.
func (w *world) debezium(table string) map[string]string {
	c := w.db.Config()
	return map[string]string{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1", "topic.prefix": w.group + "-" + table,
		"database.hostname": "127.0.0.1", "database.port": fmt.Sprint(c.Port), "database.user": c.User, "database.password": w.password(),
		"database.dbname": c.Database, "plugin.name": "pgoutput", "slot.name": w.slot(table), "publication.name": w.slot(table),
		"publication.autocreate.mode": "filtered", "table.include.list": "public." + table,
	}
}

// topic is where a table's rows go. Debezium wants a prefix of its own for each connector.
func (w *world) topic(table string) string { return w.group + "-" + table + ".public." + table }

// password is the database's; one that asks for none takes any.
func (w *world) password() string { return cmp.Or(w.db.Config().Password, "any") }

func (w *world) slot(table string) string {
	return strings.ReplaceAll(w.group, "-", "_") + "_" + table
}

const (
	fileSource = "org.apache.kafka.connect.file.FileStreamSourceConnector"
	fileSink   = "org.apache.kafka.connect.file.FileStreamSinkConnector"
)

// TestTakeover starts Kafka Connect with sources and sinks, one of which is paused, one is
// stopped, and one is of a class that we do not know; stops it, and lets our worker go on
// with the same file; has it change and add connectors; and lets Kafka Connect come back.
// Nothing may be lost on the way, and with transactions nothing may come twice.
func TestTakeover(t *testing.T) {
	for _, exactly := range []bool{true, false} {
		t.Run(fmt.Sprintf("exactly=%v", exactly), func(t *testing.T) {
			w := newWorld(t, exactly)
			file, url := w.properties()
			w.now = startJava(t, url, w.dir, file)
			before := w.begin()
			w.now.stop()
			w.insert("orders", 4) // While nobody runs.
			w.addLines(2)
			configs := w.position(w.group + "-configs")

			w.now = startOurs(t, url, w.dir, file)
			w.taken(before, configs)
			w.change()
			w.now.stop()
			w.insert("orders", 4)
			w.insert("notes", 4)
			after := w.states()

			w.now = startJava(t, url, w.dir, file)
			w.given(after)
			t.Logf("%d rows, %d of them came twice", w.rows["orders"]+w.rows["notes"], w.again)
		})
	}
}

// states are the connectors' configurations.
type states map[string]map[string]string

func (w *world) states() states {
	w.t.Helper()
	all := states{}
	for key, value := range w.latest(w.group + "-configs") {
		if name, ok := strings.CutPrefix(key, "connector-"); ok {
			all[name] = map[string]string{"": canonical(w.t, []byte(value))}
		}
	}
	return all
}

// begin has Kafka Connect run everything, and returns what it says of it.
func (w *world) begin() states {
	w.t.Helper()
	w.insert("orders", 4)
	w.insert("notes", 3)
	w.addLines(3)
	w.now.put("orders", w.debezium("orders"))
	w.now.waitFor("orders", "RUNNING+RUNNING")
	w.keepMessages()
	w.now.put("notes", w.debezium("notes"))
	w.now.put("lines", map[string]string{"connector.class": fileSource, "tasks.max": "1", "file": w.path("lines.txt"), "topic": w.group + "-lines"})
	w.now.put("copy", map[string]string{"connector.class": fileSink, "tasks.max": "1", "file": w.path("copy.txt"), "topics": w.group + "-lines"})
	w.now.put("halted", map[string]string{"connector.class": fileSink, "tasks.max": "1", "file": w.path("halted.txt"), "topics": w.group + "-lines"})
	for _, name := range []string{"orders", "notes", "lines", "copy", "halted"} {
		w.now.waitFor(name, "RUNNING+RUNNING")
	}
	w.waitRows("orders")
	w.waitRows("notes")
	w.insert("orders", 5)
	w.insert("notes", 3)
	w.waitRows("orders")
	w.waitRows("notes")
	w.waitLines()
	w.waitCopy("copy.txt", "line ", w.lines)
	w.now.must("PUT", "/connectors/notes/pause", "")
	w.now.waitFor("notes", "PAUSED+PAUSED")
	w.now.must("PUT", "/connectors/halted/stop", "")
	w.now.waitFor("halted", "STOPPED")
	w.insert("notes", 3) // They wait until it goes on.
	w.keep()
	all := states{}
	for _, name := range []string{"orders", "notes", "lines", "copy", "halted"} {
		all[name] = w.now.config(name)
	}
	return all
}

// taken checks that our worker does what Kafka Connect did.
func (w *world) taken(before states, configs map[int32]int64) {
	w.t.Helper()
	w.now.waitFor("orders", "RUNNING+RUNNING")
	w.now.waitFor("copy", "RUNNING+RUNNING")
	w.now.waitFor("notes", "PAUSED+PAUSED")
	w.now.waitFor("halted", "STOPPED")
	w.waitRows("orders")
	for name, config := range before {
		if got := w.now.config(name); !maps.Equal(got, config) {
			w.t.Errorf("the configuration of %s is %v, want %v", name, got, config)
		}
	}
	var notes string
	for key, value := range w.latest(w.group + "-offsets") {
		if strings.HasPrefix(key, `["notes"`) {
			partition := strings.TrimSuffix(strings.TrimPrefix(key, `["notes",`), "]")
			notes = canonical(w.t, fmt.Appendf(nil, `{"offsets":[{"partition":%s,"offset":%s}]}`, partition, value))
		}
	}
	if got := w.now.offsets("notes"); got != notes {
		w.t.Errorf("the offsets of notes are %s, and the topic has %s", got, notes)
	}

	// The connector that is not known fails, says why, and is left as it is.
	wait(w.t, "lines has failed", func() bool { return strings.HasPrefix(w.now.status("lines").short(), "FAILED") }, w.now.tail)
	if s := w.now.status("lines"); !strings.Contains(s.Connector.Trace, fileSource) {
		w.t.Errorf("the state of lines is %+v", s)
	}
	for _, r := range w.written(w.group+"-configs", configs) {
		switch key := string(r.Key); {
		case strings.HasSuffix(key, "-lines") || strings.Contains(key, "-lines-"):
			w.t.Errorf("our worker has written %s = %s", key, r.Value)
		case key == "session-key":
			w.t.Errorf("our worker has written another session key: %s", r.Value)
		}
	}
	w.waitCopy("copy.txt", "line ", w.lines-2)
}

// change has our worker do what is asked of it.
func (w *world) change() {
	w.t.Helper()
	config := w.debezium("orders")
	config["poll.interval.ms"] = "100"
	w.now.put("orders", config)
	w.now.put("second", map[string]string{"connector.class": fileSink, "tasks.max": "1", "file": w.path("second.txt"), "topics": w.topic("orders")})
	w.forgetAndRewind("notes")
	w.now.must("PUT", "/connectors/notes/resume", "")
	w.now.must("PUT", "/connectors/halted/resume", "")
	w.now.waitFor("second", "RUNNING+RUNNING")
	w.now.waitFor("notes", "RUNNING+RUNNING")
	w.now.waitFor("halted", "RUNNING+RUNNING")
	w.insert("orders", 6)
	w.waitRows("orders")
	w.waitRows("notes")
	w.waitCopy("second.txt", "", w.rows["orders"])
	w.now.must("PUT", "/connectors/copy/pause", "")
	w.now.waitFor("copy", "PAUSED+PAUSED")
	w.now.waitFor("orders", "RUNNING+RUNNING")
}

// forgetAndRewind has our worker forget a connector's offsets and put them back, which leaves
// a history in the topic of the offsets.
func (w *world) forgetAndRewind(name string) {
	w.t.Helper()
	w.now.must("PUT", "/connectors/"+name+"/stop", "")
	w.now.waitFor(name, "STOPPED")
	before := w.now.offsets(name)
	w.now.must("DELETE", "/connectors/"+name+"/offsets", "")
	w.now.must("POST", "/connectors/"+name+"/offsets/rewind", `{"to":1}`)
	if got := w.now.offsets(name); got != before {
		w.t.Errorf("the offsets of %s are %s, want %s", name, got, before)
	}
}

// given checks that Kafka Connect goes on with what our worker has left.
func (w *world) given(after states) {
	w.t.Helper()
	for _, name := range []string{"orders", "notes", "lines", "halted", "second"} {
		w.now.waitFor(name, "RUNNING+RUNNING")
	}
	w.now.waitFor("copy", "PAUSED+PAUSED")
	if got := w.states(); fmt.Sprint(got) != fmt.Sprint(after) {
		w.t.Errorf("the configurations are %v, want %v", got, after)
	}
	if got := w.now.config("orders")["poll.interval.ms"]; got != "100" {
		w.t.Errorf("poll.interval.ms is %q", got)
	}
	w.insert("orders", 4)
	w.addLines(2)
	w.now.must("PUT", "/connectors/copy/resume", "")
	w.waitRows("orders")
	w.waitRows("notes")
	w.waitLines()
	w.waitCopy("copy.txt", "line ", w.lines)
	w.waitCopy("halted.txt", "line ", w.lines)
	w.waitCopy("second.txt", "", w.rows["orders"])
	for line := range strings.Lines(w.now.said()) {
		if strings.Contains(line, "Discarding") || strings.Contains(line, "Ignoring offset") || strings.Contains(line, "Failed to start") {
			w.t.Errorf("Kafka Connect says: %s", line)
		}
	}
}
