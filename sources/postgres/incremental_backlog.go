package postgres

import (
	"encoding/json"

	"github.com/tidemill/tidemill/connect"
)

// backlog is what is still to be read of tables while the log is read. It is part
// of positions, so it is never changed once it is made: with returns another one.
// The nil backlog has nothing to do.
type backlog struct {
	Requests []snapshotRequest `json:"requests,omitempty"` // Not looked at yet.
	Tables   []tableBacklog    `json:"tables,omitempty"`   // In the order of reading.
	Paused   bool              `json:"paused,omitempty"`

	text   string // Rendered, as a JSON string.
	number uint64 // Grows with each backlog of one life of a task.
}

// tableBacklog is how far one table has been read. Key values are in the text form
// of the server.
type tableBacklog struct {
	Table   tableName `json:"-"`
	Request string    `json:"request,omitempty"` // The ID of what asked for it.
	Initial bool      `json:"initial,omitempty"`
	Filter  string    `json:"filter,omitempty"`
	// Surrogate is the column asked for, if any.
	Surrogate string `json:"surrogate,omitempty"`
	// Key names the columns that give the order of reading; none: by pages. Match
	// names those by which rows are found in the stream.
	Key   []string `json:"key,omitempty"`
	Match []string `json:"match,omitempty"`
	// Last is the key of the last row that was sent, End that of the last row to read.
	Last []string `json:"last,omitempty"`
	End  []string `json:"end,omitempty"`
}

// with returns a copy that change has been made to; change must not write to slices
// that p has.
func (p *backlog) with(change func(*backlog)) *backlog {
	next := backlog{}
	if p != nil {
		next = *p
	}
	change(&next)
	next.number++
	next.text = ""
	if text, err := json.Marshal(&next); err == nil {
		quoted, _ := json.Marshal(string(text)) // A string always has a JSON form.
		next.text = string(quoted)
	}
	return &next
}

// empty tells that there is nothing to do.
func (p *backlog) empty() bool {
	return p == nil || len(p.Requests) == 0 && len(p.Tables) == 0 && !p.Paused
}

// parseBacklog reads what a stored offset says, nil for nothing.
func parseBacklog(text string) (*backlog, error) {
	if text == "" {
		return nil, nil
	}
	p := &backlog{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, &connect.Error{Code: "pg.offset", Class: connect.ClassFatal, Message: "the progress of snapshots in the stored offset cannot be read", Cause: err,
			Mend: "put a right one (PATCH /connectors/<name>/offsets), or none, and ask for the snapshot again"}
	}
	return p.with(func(*backlog) {}), nil
}
