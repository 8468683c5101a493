package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
)

// difference is what comparing two states of a table found.
type difference struct {
	Rows      int `json:"rows"` // In the database.
	Missing   int `json:"missing"`
	Extra     int `json:"extra"`
	Different int `json:"different"`
	example   string
}

func (d difference) none() bool { return d.Missing+d.Extra+d.Different == 0 }

// String says what differs in one sentence.
func (d difference) String() string {
	text := fmt.Sprintf("%d rows, %d missing, %d extra, %d different", d.Rows, d.Missing, d.Extra, d.Different)
	if d.example != "" {
		text += ", such as " + d.example
	}
	return text
}

// compare holds what was derived against what is true; both map keys to rows.
func compare(derived, truth map[string]string) difference {
	d := difference{Rows: len(truth)}
	show := func(what, key, have, want string) {
		if d.example == "" {
			d.example = fmt.Sprintf("%s %q: %q instead of %q", what, key, have, want)
		}
	}
	for key, want := range truth {
		switch have, ok := derived[key]; {
		case !ok:
			d.Missing++
			show("missing", key, "", want)
		case have != want:
			d.Different++
			show("different", key, have, want)
		}
	}
	for key, have := range derived {
		if _, ok := truth[key]; !ok {
			d.Extra++
			show("extra", key, have, "")
		}
	}
	return d
}

// tableRows reads a table as fold writes it: by the key's columns, all columns of
// the row schema as text.
func tableRows(ctx context.Context, conn *pgx.Conn, table pgx.Identifier, key, row *connect.Schema) (map[string]string, error) {
	var columns []string
	for _, s := range []*connect.Schema{key, row} {
		for _, f := range s.Fields() {
			columns = append(columns, sqlText(pgx.Identifier{f.Name}.Sanitize(), f.Schema))
		}
	}
	n := len(key.Fields())
	return queryRows(ctx, conn, n, "SELECT "+strings.Join(columns, ", ")+" FROM "+table.Sanitize())
}

// queryRows runs a query of text columns; the first n are the key.
func queryRows(ctx context.Context, conn *pgx.Conn, n int, sql string) (map[string]string, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	state := map[string]string{}
	for rows.Next() {
		texts := make([]string, len(rows.RawValues()))
		for i, raw := range rows.RawValues() {
			texts[i] = nullText
			if raw != nil {
				texts[i] = string(raw)
			}
		}
		state[strings.Join(texts[:n], "\x1f")] = strings.Join(texts[n:], "\x1f")
	}
	return state, rows.Err()
}

// verifyTopic compares what a topic says of a table with the table.
func (t *topicState) verifyTopic(ctx context.Context, conn *pgx.Conn, topic string, table pgx.Identifier) (difference, error) {
	t.mu.Lock()
	folded := t.tables[topic]
	key, row, derived := folded.key, folded.row, make(map[string]string, len(folded.rows))
	for k, v := range folded.rows {
		derived[k] = v
	}
	t.mu.Unlock()
	if row == nil || key == nil {
		return difference{}, fmt.Errorf("topic %s has had no change yet", topic)
	}
	truth, err := tableRows(ctx, conn, table, key, row)
	if err != nil {
		return difference{}, err
	}
	return compare(derived, truth), nil
}

// verifySink compares a table that a sink wrote with the table it came from, both
// read as PostgreSQL writes them. Columns are compared by name.
func verifySink(ctx context.Context, source, sink *pgx.Conn, from, to pgx.Identifier) (difference, error) {
	columns, err := columnsOf(ctx, source, from)
	if err != nil {
		return difference{}, err
	}
	list := make([]string, 0, len(columns))
	for _, c := range columns {
		list = append(list, pgx.Identifier{c}.Sanitize()+"::text")
	}
	truth, err := queryRows(ctx, source, 1, "SELECT "+strings.Join(list, ", ")+" FROM "+from.Sanitize())
	if err != nil {
		return difference{}, err
	}
	derived, err := queryRows(ctx, sink, 1, "SELECT "+strings.Join(list, ", ")+" FROM "+to.Sanitize())
	if err != nil {
		return difference{}, err
	}
	return compare(derived, truth), nil
}

// columnsOf returns a table's columns, the primary key's first.
func columnsOf(ctx context.Context, conn *pgx.Conn, table pgx.Identifier) ([]string, error) {
	rows, err := conn.Query(ctx, `
		SELECT a.attname, coalesce(a.attnum = ANY (i.indkey), false) FROM pg_attribute a
		LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
		WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 2 DESC, a.attnum`, table.Sanitize())
	if err != nil {
		return nil, err
	}
	type column struct {
		Name string
		Key  bool
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, c := range found {
		names = append(names, c.Name)
	}
	return slices.Clip(names), nil
}
