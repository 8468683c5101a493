package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// signal is what a user sends to a running connector: a row of the signal table, a
// record of the signal topic, a line of the signal file, or a call of REST.
type signal struct {
	id, kind string
	data     signalData
	// applied is told the number of the backlog that holds what the signal asks for; the
	// sender lets go of it once that is stored. Nil when nobody waits.
	applied chan uint64
}

// signalData is the data of all types of signals.
type signalData struct {
	Message    string   `json:"message"` // Of log.
	Type       string   `json:"type"`
	Tables     []string `json:"data-collections"`
	Conditions []struct {
		Table  string `json:"data-collection"`
		Filter string `json:"filter"`
	} `json:"additional-conditions"`
	Condition string `json:"additional-condition"`
	Surrogate string `json:"surrogate-key"`
}

// signalSettings are the settings of signals.
type signalSettings struct {
	table       tableName // Empty: there is none.
	channels    map[string]bool
	poll        time.Duration
	topic       string
	group       string
	consumer    connect.Config
	file        string
	notify      map[string]bool
	notifyTopic string
}

func newSignalSettings(s connect.Settings) signalSettings {
	set := signalSettings{channels: map[string]bool{}, notify: map[string]bool{}, poll: max(10*time.Millisecond, s.Duration("signal.poll.interval.ms")),
		topic: s.String("signal.kafka.topic"), group: s.String("signal.kafka.groupId"), file: s.String("signal.file"),
		notifyTopic: s.String("notification.sink.topic.name"), consumer: connect.Config{}}
	if schema, name, ok := strings.Cut(s.String("signal.data.collection"), "."); ok {
		set.table = tableName{schema, name}
	}
	for _, c := range s.List("signal.enabled.channels") {
		set.channels[strings.ToLower(c)] = true
	}
	for _, c := range s.List("notification.enabled.channels") {
		set.notify[strings.ToLower(c)] = true
	}
	if set.topic == "" {
		set.topic = s.String("topic.prefix") + "-signal"
	}
	if servers := s.String("signal.kafka.bootstrap.servers"); servers != "" {
		set.consumer["bootstrap.servers"] = servers
	}
	for name, value := range s.Config() {
		if own, ok := strings.CutPrefix(name, "signal.consumer."); ok {
			set.consumer[own] = value
		}
	}
	return set
}

// parseSignal reads a signal from its parts. data is a JSON object, or a string that
// holds one.
func parseSignal(id, kind string, data []byte) (signal, error) {
	sig := signal{id: id, kind: kind}
	// The binary form of jsonb begins with its version.
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte{1}))
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return sig, badSignal(sig, err)
		}
		data = []byte(text)
	}
	if len(data) == 0 || string(data) == "null" {
		return sig, nil
	}
	if err := json.Unmarshal(data, &sig.data); err != nil {
		return sig, badSignal(sig, err)
	}
	return sig, nil
}

// parseSignalObject reads {"id":…,"type":…,"data":{…}}.
func parseSignalObject(text []byte) (signal, error) {
	var o struct {
		ID   string          `json:"id"`
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return signal{}, badSignal(signal{}, err)
	}
	return parseSignal(o.ID, o.Type, o.Data)
}

func badSignal(sig signal, cause error) error {
	return &connect.Error{Code: "pg.signal.data", Class: connect.ClassConfig, Place: sig.id, Message: "a signal cannot be understood", Cause: cause,
		Mend: `send JSON such as {"id":"1","type":"execute-snapshot","data":{"data-collections":["public.orders"],"type":"incremental"}}`}
}

// request returns the snapshot that a signal asks for.
func (sig *signal) request() snapshotRequest {
	r := snapshotRequest{ID: sig.id, Blocking: strings.EqualFold(sig.data.Type, "blocking"), Tables: sig.data.Tables, Surrogate: strings.Trim(sig.data.Surrogate, `" `)}
	for _, c := range sig.data.Conditions {
		r.Conditions = append(r.Conditions, snapshotCondition{Table: c.Table, Filter: c.Filter})
	}
	if sig.data.Condition != "" {
		r.Conditions = append(r.Conditions, snapshotCondition{Table: ".*", Filter: sig.data.Condition})
	}
	return r
}

// listen takes in the signals that came by other ways than the log.
func (b *beside) listen() {
	for {
		select {
		case sig := <-b.signals:
			b.obey(&sig)
			if sig.applied != nil {
				sig.applied <- b.s.em.pos.backlog.version()
			}
		default:
			return
		}
	}
}

// obey does what a signal says. It is called by the stream's goroutine, also inside a
// transaction: the position of whatever comes after holds what was asked for.
func (b *beside) obey(sig *signal) {
	s := b.s
	s.log.Info("A signal came.", "id", sig.id, "type", sig.kind)
	s.metrics.Add("signals_total", 1)
	switch sig.kind {
	case "execute-snapshot":
		b.execute(sig)
	case "stop-snapshot":
		b.stop(sig)
	case "pause-snapshot", "resume-snapshot":
		pause := sig.kind == "pause-snapshot"
		if s.em.pos.backlog.empty() && !pause || s.em.pos.backlog != nil && s.em.pos.backlog.Paused == pause {
			return
		}
		if s.em.pos.backlog.empty() {
			s.log.Warn("There is no snapshot to pause.", "id", sig.id)
			return
		}
		b.change(s.em.pos.backlog.with(func(p *backlog) { p.Paused = pause }))
		kind := "RESUMED"
		if pause {
			kind = "PAUSED"
		}
		b.notes.add(kind, aggregateIncremental, "request_id", sig.id)
	case "log":
		s.log.Info("Signal: " + strings.ReplaceAll(sig.data.Message, "{}", lsnText(s.em.pos.end)))
	case "schema-changes":
		s.log.Info("The signal schema-changes has no effect: the shape of a table is taken from the log itself.", "id", sig.id)
	case "snapshot-window-open", "snapshot-window-close":
		// Debezium's own marks, left over in the table.
	default:
		s.log.Warn("A signal has a type that is not known.", "code", "pg.signal.type", "id", sig.id, "type", sig.kind)
	}
	b.due = true
}

func (b *beside) execute(sig *signal) {
	s := b.s
	if t := strings.ToLower(sig.data.Type); t != "" && t != "incremental" && t != "blocking" {
		s.log.Warn("A signal asks for a kind of snapshot that is not known.", "code", "pg.signal.data", "id", sig.id, "kind", sig.data.Type)
		return
	}
	if len(sig.data.Tables) == 0 {
		s.log.Warn("A signal asks for a snapshot without naming data-collections.", "code", "pg.signal.data", "id", sig.id)
		return
	}
	s.askSnapshot(sig.request())
	b.due = true
}

// stop gives up snapshots, all or those of the tables named.
func (b *beside) stop(sig *signal) {
	s := b.s
	named, err := compilePatterns(sig.data.Tables)
	if err != nil {
		s.log.Warn("A signal cannot be understood.", "code", "pg.signal.data", "id", sig.id, "error", err)
		return
	}
	if s.em.pos.backlog.empty() {
		s.log.Warn("There is no snapshot to stop.", "id", sig.id)
		return
	}
	all := len(sig.data.Tables) == 0
	wanted := func(t *tableBacklog) bool { return !t.Initial && (all || named.match(t.table().String())) }
	b.change(s.em.pos.backlog.with(func(p *backlog) {
		if all {
			p.Requests = slices.DeleteFunc(slices.Clone(p.Requests), func(r snapshotRequest) bool { return !r.Initial })
		}
		p.Tables = slices.DeleteFunc(slices.Clone(p.Tables), func(t tableBacklog) bool { return wanted(&t) })
		p.Paused = p.Paused && (len(p.Tables) > 0 || len(p.Requests) > 0)
	}))
	b.scans = slices.DeleteFunc(b.scans, func(sc *scan) bool {
		gone := wanted(&sc.table)
		if gone && b.s.watch[sc.table.OID] == sc {
			delete(b.s.watch, sc.table.OID)
		}
		return gone
	})
	b.notes.add("ABORTED", aggregateIncremental, "request_id", sig.id)
}

// withSignals returns the tables that the publication must have: those that are
// captured, and the one that signals are written into.
func (w *work) withSignals(p *preflight) []catalogTable {
	name := w.set.signals.table
	if name == (tableName{}) || !w.set.signals.channels["source"] {
		return p.tables
	}
	list := slices.Clone(p.tables)
	for _, t := range p.all {
		if t.name == name && !slices.ContainsFunc(list, func(o catalogTable) bool { return o.name == name }) {
			t.publish = t.name
			return append(list, t)
		}
	}
	if !slices.ContainsFunc(list, func(o catalogTable) bool { return o.name == name }) {
		w.log.Warn("The signal table does not exist; signals that are written into it will come once it is there and in the publication.", "code", "pg.signal.table",
			"table", name.String(), "mend", "CREATE TABLE "+name.quoted()+" (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048))")
	}
	return list
}

// signalRow takes in a row of the signal table.
func (s *stream) signalRow(t *planned) {
	list := map[string]string{}
	for i, raw := range s.msg.new {
		if i < len(t.rel.columns) && raw.held() {
			list[t.rel.columns[i].name] = string(raw.data)
		}
	}
	sig, err := parseSignal(list["id"], list["type"], []byte(list["data"]))
	if err != nil {
		s.log.Warn("A row of the signal table cannot be understood.", "error", err)
		return
	}
	s.beside.obey(&sig)
}

// channels are the ways signals come by, apart from the log.
func (b *beside) channels() (list []func(context.Context) error) {
	set := &b.s.set.signals
	if b.env.Signals != nil {
		list = append(list, b.fromREST)
	}
	switch {
	case !set.channels["kafka"]:
	case b.env.Consume == nil:
		b.s.log.Warn("signal.enabled.channels names kafka, but this worker cannot read topics for a connector.", "code", "pg.signal.channel")
	default:
		list = append(list, b.fromKafka)
	}
	if set.channels["file"] {
		list = append(list, b.fromFile)
	}
	return list
}

// hand gives a signal to the stream, waiting for room.
func (b *beside) hand(ctx context.Context, sig signal) error {
	select {
	case b.signals <- sig:
		b.wake()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handSafely gives a signal to the stream and waits until what it asks for is stored.
func (b *beside) handSafely(ctx context.Context, sig signal) error {
	sig.applied = make(chan uint64, 1)
	if err := b.hand(ctx, sig); err != nil {
		return err
	}
	var number uint64
	select {
	case number = <-sig.applied:
	case <-ctx.Done():
		return ctx.Err()
	}
	for b.stored.Load() < number {
		if !pause(ctx, b.s.set.signals.poll/4) {
			return ctx.Err()
		}
	}
	return nil
}

func (b *beside) fromREST(ctx context.Context) error {
	for {
		select {
		case text := <-b.env.Signals:
			sig, err := parseSignalObject(text)
			if err != nil {
				b.s.log.Warn("A signal cannot be understood.", "error", err)
				continue
			}
			if err := b.hand(ctx, sig); err != nil {
				return nil //nolint:nilerr // The end of the connection is no fault of this channel.
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// fromKafka reads the signal topic. A record counts as read once what it asks for is
// stored with the position.
func (b *beside) fromKafka(ctx context.Context) error {
	set := &b.s.set.signals
	wait := backoff{first: time.Second, most: 30 * time.Second}
	for {
		err := b.env.Consume(ctx, set.consumer, set.topic, set.group, func(key, value []byte) error {
			if string(key) != b.s.set.prefix {
				return nil
			}
			sig, err := parseSignalObject(value)
			if err != nil {
				b.s.log.Warn("A record of the signal topic cannot be understood.", "topic", set.topic, "error", err)
				return nil
			}
			return b.handSafely(ctx, sig)
		})
		if ctx.Err() != nil {
			return nil
		}
		b.s.log.Warn("The signal topic cannot be read; it is tried again.", "topic", set.topic, "error", err)
		if !pause(ctx, wait.next()) {
			return nil
		}
	}
}

// signalKeys are the settings of signals and notifications, and of the tables that are
// read beside the log.
func signalKeys() []connect.ConfigKey {
	oneOf := func(k connect.ConfigKey, why string, words ...string) connect.ConfigKey {
		return checked(k, func(s string) error {
			for _, w := range splitTrimmed(strings.ToLower(s), ",") {
				if w != "" && !slices.Contains(words, w) {
					return fmt.Errorf("%q is none of %s%s", w, strings.Join(words, ", "), why)
				}
			}
			return nil
		})
	}
	return []connect.ConfigKey{
		checked(text("signal.data.collection", "", "A table (schema.table) with the columns id, type and data: rows that are inserted into it are signals. The connector adds it to its publication."), func(s string) error {
			if strings.Count(s, ".") != 1 {
				return fmt.Errorf("it is written as schema.table")
			}
			return nil
		}),
		oneOf(typed("signal.enabled.channels", connect.TypeList, "source", "Ways by which signals come: source (the signal table), kafka, file. POST /connectors/<name>/signals is always open and takes the place of jmx and in-process."), "; signals that Debezium takes by jmx go to POST /connectors/<name>/signals", "source", "kafka", "file", "jmx", "in-process"),
		typed("signal.poll.interval.ms", connect.TypeDuration, "5000", "How often the signal file is looked at."),
		text("signal.kafka.topic", "", "The signal topic; default: <topic.prefix>-signal. Only records whose key is topic.prefix count."),
		text("signal.kafka.bootstrap.servers", "", "Its brokers; default: the worker's. Further settings of the consumer go under signal.consumer."),
		text("signal.kafka.groupId", "kafka-signal", "The consumer group that keeps what of the topic was read."),
		{Name: "signal.kafka.poll.timeout.ms", Optional: true, Importance: connect.Low, Doc: "Accepted, no effect: records are taken as they come."},
		text("signal.file", "file-signals.txt", "The signal file, one JSON object on each line. Lines that were taken are removed."),
		{Name: "signal.emit.failure.max.retries", Optional: true, Importance: connect.Low, Doc: "Accepted, no effect: marks are written again until that succeeds."},
		{Name: "signal.emit.failure.backoff.ms", Optional: true, Importance: connect.Low, Doc: "Accepted, no effect: marks are written again until that succeeds."},
		typed("incremental.snapshot.chunk.size", connect.TypeInt, "1024", "Rows of the first chunk that is read of a table; the following ones grow while they are quick and small."),
		typed("incremental.snapshot.max.threads", connect.TypeInt, "2", "Connections that read tables beside the log at once."),
		choice("incremental.snapshot.watermarking.strategy", "Accepted, no effect: no rows are written to mark places in the log. Marks are logical messages (PostgreSQL 14), or the end of the log is asked for.", "insert_insert", "insert_delete"),
		typed("incremental.snapshot.allow.schema.changes", connect.TypeBoolean, "false", "Accepted, no effect: a table may always be altered while it is read; the rows that it concerns are read again."),
		typed("read.only", connect.TypeBoolean, "false", "Write nothing into the database to mark places in its log; the end of the log is asked for instead, which is slower."),
		oneOf(typed("notification.enabled.channels", connect.TypeList, "", "Where to tell how snapshots go on: sink (a topic) and log."), "; GET /connectors/<name>/details takes the place of jmx", "sink", "log", "jmx"),
		text("notification.sink.topic.name", "", "The topic of notifications, for the channel sink."),
	}
}
