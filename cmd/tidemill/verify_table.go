package main

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// verifiedTable is what comparing a table with its topic found.
type verifiedTable struct {
	Name      string   `json:"name"`
	Topic     string   `json:"topic"`
	Rows      int      `json:"rows"` // In the table.
	Missing   int      `json:"missing"`
	Extra     int      `json:"extra"`
	Different int      `json:"different"`
	Examples  []string `json:"examples,omitempty"`
}

func (t *verifiedTable) equal() bool { return t.Missing+t.Extra+t.Different == 0 }

// String says what was found in one line.
func (t *verifiedTable) String() string {
	if t.equal() {
		return fmt.Sprintf("%d rows, all equal", t.Rows)
	}
	return fmt.Sprintf("%d rows; %d missing, %d too many, %d different", t.Rows, t.Missing, t.Extra, t.Different)
}

// example keeps some of what was found for people to look at.
func (t *verifiedTable) example(format string, args ...any) {
	const most = 5
	if len(t.Examples) < most {
		t.Examples = append(t.Examples, fmt.Sprintf(format, args...))
	}
}

// compare holds one row of the table against the topic.
func (t *foldedRows) compare(key, row connect.Value) error {
	d := &t.found
	d.Rows++
	truth := make([]uint64, len(t.place))
	t.hash(row, truth)
	if key.IsNull() {
		id := fmt.Sprint(truth)
		if t.bag[id]--; t.bag[id] < 0 {
			d.Missing++
			d.example("missing: %s", row)
		}
		if t.bag[id] == 0 {
			delete(t.bag, id)
		}
		return nil
	}
	id := string(connect.AppendJSON(nil, t.table.Key, key))
	have := t.rows[id]
	if have == nil {
		d.Missing++
		d.example("missing: %s", id)
		return nil
	}
	have.seen = true
	for name, i := range t.place {
		// A column that came to the table later is missing from rows that nobody has
		// changed since, which is the same as null.
		if value := row.Struct().At(i); have.columns[i] != truth[i] && (have.columns[i] != 0 || !value.IsNull()) {
			d.Different++
			d.example("different: %s in column %s, which is %s in the table", id, name, value)
			break
		}
	}
	return nil
}

// result ends the comparison: what the topic has and the table does not is too much.
func (t *foldedRows) result() verifiedTable {
	d := t.found
	d.Name, d.Topic = t.table.Name, t.table.Topic
	for id, row := range t.rows {
		if !row.seen {
			d.Extra++
			d.example("too many: %s", id)
		}
	}
	for _, n := range t.bag {
		if n > 0 {
			d.Extra += n
		}
	}
	return d
}
