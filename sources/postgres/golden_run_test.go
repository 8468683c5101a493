package postgres

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// golden runs the blocks of one script.
type golden struct {
	t        *testing.T
	db       *testDB
	sessions map[string]*pgx.Conn
	config   map[string]string
	offsets  connecttest.Offsets

	task    connect.SourceTask
	cancel  context.CancelFunc
	metrics *connecttest.Figures
	failed  *connect.Error
	records []connect.SourceRecord // Not yet shown.
	last    []connect.SourceRecord // Shown last.
	taken   map[connect.SourcePartition]connect.Offset
	schemas []*connect.Schema // Shown before.
	syncs   int
	state   string // The task's directory, through all starts.

	mu    sync.Mutex
	logs  []string // Warnings, not yet shown.
	shown map[string]string

	masks map[string]map[string]string // By kind, from what came to what is shown.
}

func newGolden(t *testing.T) *golden {
	g := &golden{
		t: t, sessions: map[string]*pgx.Conn{}, config: map[string]string{}, taken: map[connect.SourcePartition]connect.Offset{},
		shown: map[string]string{}, masks: map[string]map[string]string{}, metrics: &connecttest.Figures{}, state: t.TempDir(),
	}
	t.Cleanup(g.stop)
	return g
}

func (g *golden) run(b *goldenBlock) string {
	g.t.Helper()
	if b.directive == "server" {
		return "" // It was seen to before.
	}
	if g.db == nil {
		g.db = newTestDB(g.t)
	}
	switch b.directive {
	case "config":
		addSettings(g.config, b.input)
		return ""
	case "sql":
		return g.sql(b)
	case "query":
		return g.query(b)
	case "wait":
		eventually(g.t, b.head, func() bool {
			g.poll(10 * time.Millisecond)
			g.pass()
			return g.query(b) == "t\n"
		})
		return ""
	case "start":
		return g.start(b.input)
	case "records":
		return g.show(b.args)
	case "schemas":
		var out strings.Builder
		for _, r := range g.last {
			g.schema(&out, r.KeySchema)
			g.schema(&out, r.ValueSchema)
		}
		return out.String()
	case "commit":
		g.commit()
		return ""
	case "stop":
		g.halt()
		return ""
	case "fails":
		return g.fails()
	case "logs", "logged":
		return g.warned(b)
	case "shows", "shown":
		return g.document(b)
	case "metric":
		return g.figures(b.args)
	case "validate":
		return g.validate(b.input)
	}
	g.t.Fatalf("line %d: the directive %s is not known", b.line, b.directive)
	return ""
}

func addSettings(config map[string]string, lines []string) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		if config[name] = value; value == "" {
			delete(config, name)
		}
	}
}

func (g *golden) session(args []string) *pgx.Conn {
	if len(args) == 0 {
		return g.db.conn
	}
	if g.sessions[args[0]] == nil {
		g.sessions[args[0]] = g.db.session()
	}
	return g.sessions[args[0]]
}

func (g *golden) sql(b *goldenBlock) string {
	conn := g.session(b.args)
	for _, statement := range statements(b.input) {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			return g.plain(err.Error()) + "\n"
		}
	}
	return ""
}

// statements joins lines up to one that ends with a semicolon.
func statements(lines []string) (list []string) {
	var one []string
	for i, line := range lines {
		one = append(one, line)
		if strings.HasSuffix(line, ";") || i == len(lines)-1 {
			list, one = append(list, strings.Join(one, "\n")), nil
		}
	}
	return list
}

func (g *golden) query(b *goldenBlock) string {
	result := g.session(b.args).PgConn().ExecParams(context.Background(), strings.Join(b.input, "\n"), nil, nil, nil, nil).Read()
	if result.Err != nil {
		return g.plain(result.Err.Error()) + "\n"
	}
	var out strings.Builder
	for _, row := range result.Rows {
		var cells []string
		for _, cell := range row {
			if cell == nil {
				cell = []byte("NULL")
			}
			cells = append(cells, string(cell))
		}
		out.WriteString(g.plain(strings.Join(cells, "|")) + "\n")
	}
	return out.String()
}

// settings returns the configuration with further lines.
func (g *golden) settings(lines []string) connect.Config {
	c := g.db.config()
	for name, value := range g.config {
		c[name] = value
	}
	addSettings(c, lines)
	return c
}

func (g *golden) start(lines []string) string {
	g.halt()
	g.failed = nil
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.task = Plugin().New().NewTask()
	g.metrics = &connecttest.Figures{}
	config := g.settings(lines)
	err := g.task.Start(ctx, connect.SourceTaskEnv{
		Connector: "golden", Config: config, StoredOffset: g.offsets.Get, Log: slog.New(&goldenLog{g: g}), Metrics: g.metrics,
		StateDir: g.state,
		Show: func(name string, document []byte) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.shown[name] = string(document)
		},
	})
	if err != nil {
		g.failed = connect.AsError(err)
	}
	if config["snapshot.mode"] == "initial_only" {
		return ""
	}
	eventually(g.t, "the task reads the log", func() bool {
		g.poll(10 * time.Millisecond)
		return g.failed != nil || g.db.get("SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = $1 AND r.state = 'streaming'", config["slot.name"]) == "1"
	})
	return ""
}

// poll takes what there is. A task that failed gives its error once.
func (g *golden) poll(atMost time.Duration) {
	if g.task == nil || g.failed != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	records, err := g.task.Poll(ctx)
	if err != nil && connect.AsError(err).Class != connect.ClassRetriable {
		g.failed = connect.AsError(err)
	}
	g.records = append(g.records, connecttest.Keep(records)...)
}

const goldenPrefix = "golden script"

// collect polls until everything has come that was committed so far.
func (g *golden) collect() (list []connect.SourceRecord) {
	g.syncs++
	word := fmt.Sprintf("%d", g.syncs)
	// The number of a transaction makes the server write its log out at once.
	g.db.exec("BEGIN; SELECT pg_current_xact_id(); SELECT pg_logical_emit_message(false, '" + goldenPrefix + "', '" + word + "'); COMMIT")
	done := false
	eventually(g.t, "all records", func() bool {
		if len(g.records) == 0 {
			g.poll(time.Second)
		}
		for i := range g.records {
			r := &g.records[i]
			g.taken[r.SourcePartition] = r.SourceOffset
			if r.Topic == "" {
				continue
			}
			if !r.Key.IsNull() && r.Key.String() == `{"prefix":"`+goldenPrefix+`"}` {
				done = done || string(r.Value.Struct().Get("message").Struct().Get("content").Bytes()) == word
				continue
			}
			list = append(list, *r)
		}
		g.records = nil
		return done || g.failed != nil
	})
	return list
}

// until collects records up to one of a table, by its operation and its row's id.
// What comes twice, as a snapshot beside the log may bring it, is shown once.
func (g *golden) until(what []string) (list []connect.SourceRecord) {
	found, seen := false, map[string]bool{}
	eventually(g.t, "a record "+strings.Join(what, " "), func() bool {
		for _, r := range g.collect() {
			text := brief(&r)
			if _, row := connect.EnvelopeOf(r.ValueSchema); !row {
				continue
			}
			found = found || strings.HasPrefix(text, what[0]+" "+what[1]+" ") && after(&r, "id").String() == what[2]
			if !seen[text] {
				seen[text] = true
				list = append(list, r)
			}
		}
		return found || g.failed != nil
	})
	return list
}

func (g *golden) show(form []string) string {
	var out strings.Builder
	g.last = nil
	if len(form) > 1 && form[0] == "until" {
		g.last, form = g.until(form[1:]), nil
	} else {
		g.last = g.collect()
	}
	var of []string
	if len(form) > 0 && form[0] == "of" {
		of, form = form[1:], nil
	}
	for _, r := range g.last {
		if of != nil && !slices.ContainsFunc(of, func(topic string) bool { return r.Topic == topic || r.Topic == "shop."+topic }) {
			continue
		}
		switch {
		case len(form) == 0 || form[0] == "brief":
			out.WriteString(g.brief(&r) + "\n")
		case form[0] == "value":
			out.WriteString(r.Topic + " " + g.json(r.KeySchema, r.Key) + " " + g.json(r.ValueSchema, r.Value) + headersText(&r) + "\n")
		default:
			g.t.Fatalf("the form %s is not known", form[0])
		}
	}
	return out.String()
}

// brief writes an event as "topic op key before after", other records as "topic key
// value".
func (g *golden) brief(r *connect.SourceRecord) string {
	text := r.Topic + " "
	switch env, ok := connect.EnvelopeOf(r.ValueSchema); {
	case r.Value.IsNull():
		text += "tombstone " + g.json(r.KeySchema, r.Key)
	case r.ValueSchema.Name() == "io.debezium.connector.postgresql.SchemaChangeValue":
		st := r.Value.Struct()
		change := st.Get("tableChanges").Array()[0].Struct()
		text += change.Get("type").Str() + " " + g.plain(change.Get("id").Str()) + ": " + st.Get("ddl").Str()
	case ok:
		st := r.Value.Struct()
		text += op(r) + " " + g.json(r.KeySchema, r.Key)
		for _, i := range []int{env.Before, env.After} {
			text += " " + g.json(r.ValueSchema.Fields()[i].Schema, st.At(i))
		}
	default:
		text += g.json(r.KeySchema, r.Key) + " " + g.json(r.ValueSchema, r.Value)
	}
	return text + headersText(r)
}

func headersText(r *connect.SourceRecord) (text string) {
	for _, h := range r.Headers {
		text += " " + h.Key + "=" + h.Value.String()
	}
	return text
}

var (
	maskClock    = regexp.MustCompile(`"(ts_ms|ts_us|ts_ns)":\d+`)
	maskPlace    = regexp.MustCompile(`"(lsn|origin_lsn)":(\d+)`)
	maskXid      = regexp.MustCompile(`"(txId)":(\d+)`)
	maskTx       = regexp.MustCompile(`"(id)":"(\d+:\d+)"`)
	maskSequence = regexp.MustCompile(`"sequence":"\[(null|\\"\d+\\"),\\"(\d+)\\"\]"`)
	maskXlog     = regexp.MustCompile(`\b[0-9A-F]+/[0-9A-F]{6,}\b`)
)

// json writes a value with what differs from run to run masked.
func (g *golden) json(s *connect.Schema, v connect.Value) string {
	if v.IsNull() {
		return "null"
	}
	text := string(connect.AppendJSON(nil, s, v))
	text = maskClock.ReplaceAllString(text, `"$1":<ts>`)
	for kind, pattern := range map[string]*regexp.Regexp{"lsn": maskPlace, "tx": maskXid, "transaction": maskTx} {
		text = pattern.ReplaceAllStringFunc(text, func(found string) string {
			m := pattern.FindStringSubmatch(found)
			return `"` + m[1] + `":` + g.mask(kind, m[2])
		})
	}
	text = maskSequence.ReplaceAllStringFunc(text, func(found string) string {
		m := maskSequence.FindStringSubmatch(found)
		last := "null"
		if m[1] != "null" {
			last = "<lsn>" // It moves with the server's keepalives.
		}
		return `"sequence":[` + last + "," + g.mask("lsn", m[2]) + "]"
	})
	return g.plain(text)
}

func (g *golden) mask(kind, found string) string {
	if g.masks[kind] == nil {
		g.masks[kind] = map[string]string{}
	}
	if g.masks[kind][found] == "" {
		g.masks[kind][found] = fmt.Sprintf("<%s %d>", kind, len(g.masks[kind])+1)
	}
	return g.masks[kind][found]
}

// plain masks names of the test's own in any text.
func (g *golden) plain(text string) string {
	text = strings.ReplaceAll(text, g.db.slot, "slot")
	text = strings.ReplaceAll(text, strings.TrimPrefix(g.db.url.Path, "/"), "db")
	return maskXlog.ReplaceAllString(text, "<lsn>")
}

// schema writes a schema that was not written before, one line for each field.
func (g *golden) schema(out *strings.Builder, s *connect.Schema) {
	if s == nil || slices.Contains(g.schemas, s) {
		return
	}
	g.schemas = append(g.schemas, s)
	out.WriteString(schemaLine(s) + "\n")
	for _, f := range s.Fields() {
		out.WriteString("  " + f.Name + " " + schemaLine(f.Schema) + "\n")
	}
	for _, f := range s.Fields() {
		if f.Schema.Kind() == connect.KindStruct && f.Name != "before" {
			g.schema(out, f.Schema)
		}
	}
}

func schemaLine(s *connect.Schema) string {
	text := s.Kind().String()
	if s.Name() != "" {
		text += " " + s.Name()
	}
	if s.Version() != 0 {
		text += " v" + strconv.Itoa(s.Version())
	}
	if s.Optional() {
		text += " optional"
	}
	for _, p := range s.Params() {
		text += " " + p.Key + "=" + p.Value
	}
	if !s.Default().IsNull() {
		text += " default " + s.Default().String()
	}
	if s.Kind() == connect.KindArray {
		text += " of (" + schemaLine(s.Elem()) + ")"
	}
	return text
}

func (g *golden) commit() {
	for p, o := range g.taken {
		g.offsets.Put(p, o.AppendJSON(nil))
	}
	if c, ok := g.task.(connect.Committer); ok && len(g.taken) > 0 {
		if err := c.Commit(context.Background(), g.taken); err != nil {
			g.t.Error(err)
		}
	}
	g.taken = map[connect.SourcePartition]connect.Offset{}
}

// pass commits positions that come without a record, as a worker does, unless records
// before them are still to be committed.
func (g *golden) pass() {
	if len(g.taken) > 0 {
		return
	}
	for len(g.records) > 0 && g.records[0].Topic == "" {
		g.taken[g.records[0].SourcePartition] = g.records[0].SourceOffset
		g.records = g.records[1:]
	}
	g.commit()
}

// halt stops the task and waits until the server has noticed.
func (g *golden) halt() {
	if g.task == nil {
		return
	}
	g.stop()
	eventually(g.t, "the slot is free", func() bool {
		return g.db.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active", g.db.slot) == "0"
	})
}

func (g *golden) stop() {
	if g.task == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.task.Stop(ctx); err != nil {
		g.t.Error(err)
	}
	g.cancel()
	g.task, g.records = nil, nil
}

func (g *golden) fails() string {
	eventually(g.t, "the task fails", func() bool {
		g.poll(100 * time.Millisecond)
		return g.failed != nil
	})
	text := g.failed.Code
	if g.failed.Place != "" {
		text += " at " + g.failed.Place
	}
	return g.plain(text+": "+g.failed.Message+"\n"+g.failed.Mend) + "\n"
}

// warned shows warnings: all that there are, or, when the block names a text, up to
// one that has it.
func (g *golden) warned(b *goldenBlock) string {
	text := strings.Join(b.args, " ")
	take := func() (string, bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for i, line := range g.logs {
			if b.directive == "logged" && strings.Contains(line, text) {
				g.logs = slices.Delete(g.logs, i, i+1)
				return line + "\n", true
			}
		}
		if b.directive == "logged" || len(g.logs) == 0 {
			return "", false
		}
		all := strings.Join(g.logs, "\n") + "\n"
		g.logs = nil
		return all, true
	}
	out, found := take()
	for deadline := time.Now().Add(patience); b.directive == "logged" && !found; out, found = take() {
		if time.Now().After(deadline) {
			g.t.Fatalf("line %d: nothing was warned of with %q in it, but of %q", b.line, text, g.logs)
		}
		g.poll(20 * time.Millisecond)
	}
	return g.plain(out)
}

func (g *golden) document(b *goldenBlock) string {
	look := func() string {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.shown[b.args[0]]
	}
	if b.directive == "shows" {
		return g.plain(look()) + "\n"
	}
	eventually(g.t, b.head, func() bool {
		g.poll(20 * time.Millisecond)
		return strings.Contains(look(), strings.Join(b.args[1:], " "))
	})
	return ""
}

func (g *golden) figures(names []string) string {
	var out strings.Builder
	for _, name := range names {
		out.WriteString(name + " " + strconv.FormatInt(g.metrics.Counter(name), 10) + "\n")
	}
	return out.String()
}

func (g *golden) validate(lines []string) string {
	config := g.settings(lines)
	values := configDef().Validate(config)
	Plugin().New().(connect.Validator).Validate(context.Background(), config, values)
	var list []string
	for name, v := range values {
		for _, e := range v.Errors {
			list = append(list, g.plain(name+": "+e))
		}
	}
	slices.Sort(list)
	return strings.Join(append(list, ""), "\n")
}

// goldenLog keeps warnings.
type goldenLog struct {
	g     *golden
	attrs []slog.Attr
}

func (*goldenLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h *goldenLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "pg.slot_limit: ") {
		return nil // It speaks of the server the tests have, not of a script.
	}
	var line bytes.Buffer
	line.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s=%s", a.Key, a.Value)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.g.mu.Lock()
	defer h.g.mu.Unlock()
	h.g.logs = append(h.g.logs, strings.ReplaceAll(line.String(), "\n", " "))
	return nil
}

func (h *goldenLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &goldenLog{g: h.g, attrs: append(slices.Clone(h.attrs), attrs...)}
}

func (h *goldenLog) WithGroup(string) slog.Handler { return h }
