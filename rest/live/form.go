package live

import (
	"encoding/json"

	"github.com/tidemill/tidemill/streams/sql"
)

// form writes events.
type form struct {
	columns []sql.Column
	names   [][]byte // as keys of JSON, with the colon
}

func newForm(h sql.Header) form {
	f := form{columns: h.Columns}
	for _, c := range h.Columns {
		name, _ := json.Marshal(c.Name) // A text can be written.
		f.names = append(f.names, append(name, ':'))
	}
	return f
}

// begin is the event that says what the rows are.
func (f form) begin(table bool) []byte {
	type column struct {
		Name string `json:"name"`
		Type string `json:"type"`
		Key  bool   `json:"key"`
	}
	of := struct {
		Table   bool     `json:"table"`
		Columns []column `json:"columns"`
	}{table, []column{}}
	for _, c := range f.columns {
		of.Columns = append(of.Columns, column{c.Name, c.Type, c.Key})
	}
	text, _ := json.Marshal(of) // These can be written.
	return append(append([]byte("event: begin\ndata: "), text...), "\n\n"...)
}

// event appends the event of a row, without the line that ends it: the row as an object, of
// one that is gone its key.
func (f form) event(b []byte, r sql.Row) []byte {
	kind := "event: row\ndata: {"
	if r.Tombstone {
		kind = "event: delete\ndata: {"
	}
	b = append(b, kind...)
	some := false
	for i, c := range f.columns {
		if r.Tombstone && !c.Key {
			continue
		}
		if some {
			b = append(b, ',')
		}
		b, some = c.AppendJSON(append(b, f.names[i]...), r.Values[i]), true
	}
	return append(b, "}\n"...)
}

// fault is the event of an error, after which nothing comes. An event of the name error is
// what browsers make themselves when a connection is lost.
func fault(what any) []byte {
	text, err := json.Marshal(what)
	if err != nil {
		text = []byte("{}")
	}
	return append(append([]byte("event: fault\ndata: "), text...), "\n\n"...)
}
