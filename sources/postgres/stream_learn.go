package postgres

import (
	"context"
	"log/slog"
	"strings"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// learn takes in a relation: from here on its rows have this shape.
func (s *stream) learn(ctx context.Context, r *relation) error {
	t := &planned{rel: r, signal: s.set.signals.channels["source"] && r.table() == s.set.signals.table}
	s.tables[r.oid] = t
	if r.schema == "pg_catalog" || r.schema == "information_schema" {
		return nil
	}
	failpoint.At("source.stream.relation")
	side, err := s.teach(ctx)
	if err != nil {
		return err
	}
	if _, t.facts, err = side.describe(ctx, r.oid); err != nil {
		s.dropSide(ctx)
		return err
	}
	t.facts = s.changes.prefer(r.oid, t.facts)
	root := t.facts.root
	if !s.set.filter.table(r.schema, r.name) && (root == tableName{} || !s.set.filter.table(root.schema, root.name)) {
		return nil
	}
	return s.plan(ctx, t)
}

func (s *stream) plan(ctx context.Context, t *planned) error {
	p, err := s.comp.compile(t.rel, t.facts)
	if err != nil {
		if isRetriable(err) {
			s.dropSide(ctx)
		}
		return err
	}
	t.plan = p
	warnUnknown(s.log, s.em.warned, p)
	return nil
}

// warnUnknown says once which columns are left out. Invariant 5.
func warnUnknown(log *slog.Logger, warned map[string]bool, p *plan) {
	for _, w := range p.warnings {
		if !warned[w] {
			warned[w] = true
			log.Warn(w)
		}
	}
	var columns []string
	for _, c := range p.unknown {
		if !warned[c] {
			warned[c] = true
			columns = append(columns, c)
		}
	}
	if len(columns) > 0 {
		log.Warn("Columns are left out because their types have no mapping. Set include.unknown.datatypes=true to have them as bytes.",
			"table", p.table.String(), "columns", strings.Join(columns, ", "))
	}
}

// catalog returns the ordinary connection, opening it when there is none.
func (s *stream) catalog(ctx context.Context) (*db, error) {
	if s.side != nil && !s.side.IsClosed() {
		return s.side, nil
	}
	side, err := s.set.open(ctx, s.app)
	if err != nil {
		return nil, err
	}
	s.side = side
	return side, nil
}

// teach is catalog for who learns types over it. They have the time of ctx for that, and
// not what the one had who opened the connection.
func (s *stream) teach(ctx context.Context) (*db, error) {
	s.comp.types.load = func(oid uint32) (*typeInfo, error) {
		side, err := s.catalog(ctx)
		if err != nil {
			return nil, err
		}
		return side.loadType(ctx, oid)
	}
	return s.catalog(ctx)
}

func (s *stream) dropSide(ctx context.Context) {
	s.side.close(ctx)
	s.side = nil
}
