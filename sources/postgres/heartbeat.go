package postgres

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// heartbeats are records at a fixed pace, for whoever watches them. They are not
// needed to confirm positions.
type heartbeats struct {
	next       time.Time
	key, value *connect.Schema
}

func newHeartbeats() heartbeats {
	field := func(name string, k connect.Kind) []connect.Field {
		return []connect.Field{{Name: name, Schema: connect.Of(k)}}
	}
	return heartbeats{
		key: connect.SchemaDef{Kind: connect.KindStruct, Name: "io.debezium.connector.common.ServerNameKey", Version: 1,
			Fields: field("serverName", connect.KindString)}.MustBuild(),
		value: connect.SchemaDef{Kind: connect.KindStruct, Name: "io.debezium.connector.common.Heartbeat", Version: 1,
			Fields: field("ts_ms", connect.KindInt64)}.MustBuild(),
	}
}

// beat adds a heartbeat when one is due, and runs heartbeat.action.query. Inside a
// transaction it waits for its end, since a heartbeat carries a position as well.
func (h *heartbeats) beat(ctx context.Context, s *stream, now time.Time) error {
	if s.set.heartbeat <= 0 || s.open() || now.Before(h.next) {
		return nil
	}
	h.next = now.Add(s.set.heartbeat)
	a := &s.em.batch.arena
	key, value := a.row(1), a.row(1)
	key[0], value[0] = connect.String(s.set.prefix), connect.Int64(now.UnixMilli())
	s.em.append(connect.Record{
		Topic:     topicName(s.set.heartbeatTopic),
		KeySchema: h.key, Key: a.structure(h.key, key), ValueSchema: h.value, Value: a.structure(h.value, value),
	}, true)
	last := &s.em.batch.records[len(s.em.batch.records)-1]
	last.Boundary, last.Partition = connect.BoundaryCommit, 0
	s.pending = false
	if s.set.heartbeatQuery == "" {
		return nil
	}
	side, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	if err := side.exec(ctx, s.set.heartbeatQuery); err != nil {
		s.dropSide(ctx)
		e := fatal("pg.heartbeat", "heartbeat.action.query fails", err, "put the statement right, or grant what it needs")
		e.Place = "heartbeat.action.query"
		if isRetriable(explain(err, "")) {
			e.Class = connect.ClassRetriable
		}
		return e
	}
	return nil
}
