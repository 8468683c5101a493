package postgres

import (
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// notifier tells how snapshots go on: in a topic, with Debezium's schemas, and in the
// log. The nil notifier tells nobody.
type notifier struct {
	topic      string // Empty: not in a topic.
	log        *slog.Logger
	key, value *connect.Schema
	life       string
	count      atomic.Uint64
	queue      []note // To be told at the next end of a transaction.
}

// note is one notification.
type note struct {
	kind, aggregate string
	more            []string // Names and values.
}

// newNotifier returns the notifier that the settings ask for.
func newNotifier(set *settings, log *slog.Logger) *notifier {
	on := set.signals.notify
	if !on["sink"] && !on["log"] {
		return nil
	}
	str := connect.Of(connect.KindString)
	n := &notifier{life: strconv.FormatInt(time.Now().UnixNano(), 36)}
	if on["log"] {
		n.log = log
	}
	if on["sink"] {
		n.topic = set.signals.notifyTopic
	}
	const base = "io.debezium.connector.common.Notification"
	more := connect.SchemaDef{Kind: connect.KindMap, Optional: true, Key: str, Elem: str}.MustBuild()
	n.key = connect.SchemaDef{Kind: connect.KindStruct, Name: base + "Key", Version: 1, Fields: []connect.Field{{Name: "id", Schema: str}}}.MustBuild()
	n.value = connect.SchemaDef{Kind: connect.KindStruct, Name: base, Version: 1, Fields: []connect.Field{
		{Name: "id", Schema: str}, {Name: "type", Schema: str}, {Name: "aggregate_type", Schema: str},
		{Name: "additional_data", Schema: more}, {Name: "timestamp", Schema: connect.Of(connect.KindInt64)},
	}}.MustBuild()
	return n
}

const (
	aggregateInitial     = "Initial Snapshot"
	aggregateIncremental = "Incremental Snapshot"
)

func aggregateOf(initial bool) string {
	if initial {
		return aggregateInitial
	}
	return aggregateIncremental
}

// add takes a notification in; more are names and values.
func (n *notifier) add(kind, aggregate string, more ...string) {
	if n != nil {
		n.queue = append(n.queue, note{kind, aggregate, more})
	}
}

// started tells that a request has been understood, or that there is nothing to do for
// it: it names no captured table, or only such as wait to be read already.
func (n *notifier) started(ask *snapshotRequest, found []tableBacklog) {
	if len(found) == 0 && !ask.Initial {
		n.add("SKIPPED", aggregateOf(ask.Initial), "request_id", ask.ID)
		return
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].table().String()
	}
	n.add("STARTED", aggregateOf(ask.Initial), "request_id", ask.ID, "data_collections", strings.Join(names, ", "))
}

func (n *notifier) tableStarted(t *tableBacklog) {
	n.add("IN_PROGRESS", aggregateOf(t.Initial), "request_id", t.Request, "data_collections", t.table().String(),
		"current_collection_in_progress", t.table().String(), "maximum_key", strings.Join(t.End, ", "), "last_processed_key", strings.Join(t.Last, ", "))
}

func (n *notifier) tableDone(t *tableBacklog, status string) {
	n.add("TABLE_SCAN_COMPLETED", aggregateOf(t.Initial), "request_id", t.Request, "data_collections", t.table().String(),
		"scanned_collection", t.table().String(), "total_rows_scanned", strconv.FormatInt(t.Rows, 10), "status", status)
}

// tell appends what was taken in. The stream stands between two transactions.
func (n *notifier) tell(s *stream) {
	if n == nil || len(n.queue) == 0 {
		return
	}
	queue := n.queue
	n.queue = nil
	for i := range queue {
		if n.write(s.em, &queue[i]) {
			s.pending = false
		}
	}
}

// write appends a record of a notification and returns true, unless it is told in the
// log only. It may be called by several goroutines, each with an emitter of its own.
func (n *notifier) write(e *emitter, q *note) bool {
	id := n.life + "-" + strconv.FormatUint(n.count.Add(1), 10)
	more := append([]string{"connector_name", e.set.prefix}, q.more...)
	if n.log != nil {
		n.log.Info("Notification.", "aggregate", q.aggregate, "type", q.kind, "data", strings.Join(more, " "))
	}
	if n.topic == "" {
		return false
	}
	a := &e.batch.arena
	key, value := a.row(1), a.row(5)
	var entries []connect.MapEntry
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] != "" {
			entries = append(entries, connect.MapEntry{Key: connect.String(more[i]), Value: connect.String(more[i+1])})
		}
	}
	key[0] = connect.String(id)
	value[0], value[1], value[2], value[3] = key[0], connect.String(q.kind), connect.String(q.aggregate), connect.Map(entries)
	value[4] = connect.Int64(time.Now().UnixMilli())
	e.append(connect.Record{Topic: n.topic, KeySchema: n.key, Key: a.structure(n.key, key), ValueSchema: n.value, Value: a.structure(n.value, value)}, true)
	e.batch.records[len(e.batch.records)-1].Boundary = connect.BoundaryCommit
	return true
}
