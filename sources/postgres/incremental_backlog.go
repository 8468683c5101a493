package postgres

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// backlog is what is still to be read of tables while the log is read. It is part
// of positions, so it is never changed once it is made: with returns another one.
// The nil backlog has nothing to do.
type backlog struct {
	Requests []snapshotRequest `json:"requests,omitempty"` // Not looked at yet.
	Tables   []tableBacklog    `json:"tables,omitempty"`   // In the order of reading.
	Paused   bool              `json:"paused,omitempty"`
	// Count is how many tables were ever taken in, which gives each its number.
	Count uint64 `json:"count,omitempty"`

	text   *rendered
	number uint64 // Grows with each backlog of one life of a task.
}

// tableBacklog is how far one table has been read. Key values are in the text form
// of the server.
type tableBacklog struct {
	Number  uint64 `json:"number"`
	Schema  string `json:"schema"`
	Name    string `json:"name"`
	Request string `json:"request,omitempty"` // The ID of what asked for it.
	Initial bool   `json:"initial,omitempty"`
	Filter  string `json:"filter,omitempty"`
	// Surrogate is the column asked for, if any.
	Surrogate string `json:"surrogate,omitempty"`
	OID       uint32 `json:"oid,omitempty"` // 0: not looked at yet.
	// Key names the columns that give the order of reading; none: by pages. Match
	// names those by which rows are found in the stream.
	Key   []string `json:"key,omitempty"`
	Match []string `json:"match,omitempty"`
	// Last is the key of the last row that was sent, End that of the last row to read.
	Last []string `json:"last,omitempty"`
	End  []string `json:"end,omitempty"`
	// Heaps are what is still to be read page by page, the first of them from Page on.
	Heaps []heapBacklog `json:"heaps,omitempty"`
	Page  int64         `json:"page,omitempty"`
	// Again are the keys of rows to be read once more.
	Again [][]string `json:"again,omitempty"`
	Rows  int64      `json:"rows,omitempty"` // Sent so far.
	// Estimate is how many rows the statistics promise.
	Estimate int64 `json:"estimate,omitempty"`
}

// heapBacklog is a table as it lies on disk. File changes when it is written anew.
type heapBacklog struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Pages  int64  `json:"pages"`
	File   int64  `json:"file"`
}

func (t *tableBacklog) table() tableName { return tableName{t.Schema, t.Name} }

// loose tells whether a row may move in the order of reading without the log telling
// its former place.
func (t *tableBacklog) loose() bool {
	return slices.ContainsFunc(t.Key, func(c string) bool { return !slices.Contains(t.Match, c) })
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
	next.text = &rendered{}
	return &next
}

// rendered is the text of a backlog, made when it is first asked for: few of them are
// ever stored. Any goroutine may ask.
type rendered struct {
	once sync.Once
	text []byte
}

// appendJSON appends the backlog as a JSON string that holds JSON, since offsets are
// flat.
func (p *backlog) appendJSON(dst []byte) []byte {
	p.text.once.Do(func() {
		if text, err := json.Marshal(p); err == nil {
			p.text.text, _ = json.Marshal(string(text)) // A string always has a JSON form.
		}
	})
	return append(dst, p.text.text...)
}

// version grows with each backlog of one life of a task.
func (p *backlog) version() uint64 {
	if p == nil {
		return 0
	}
	return p.number
}

// table returns the table with a number, nil when it is done.
func (p *backlog) table(number uint64) *tableBacklog {
	if p == nil {
		return nil
	}
	for i := range p.Tables {
		if p.Tables[i].Number == number {
			return &p.Tables[i]
		}
	}
	return nil
}

// setTable returns a copy with another state of a table.
func (p *backlog) setTable(t tableBacklog) *backlog {
	return p.with(func(b *backlog) {
		b.Tables = slices.Clone(b.Tables)
		for i := range b.Tables {
			if b.Tables[i].Number == t.Number {
				b.Tables[i] = t
			}
		}
	})
}

// dropTable returns a copy without a table.
func (p *backlog) dropTable(number uint64) *backlog {
	return p.with(func(b *backlog) {
		b.Tables = slices.DeleteFunc(slices.Clone(b.Tables), func(t tableBacklog) bool { return t.Number == number })
	})
}

// empty tells that there is nothing to do.
func (p *backlog) empty() bool { return p == nil || !p.busy() && !p.Paused }

// requests returns those that wait, or are being served.
func (p *backlog) requests() []snapshotRequest {
	if p == nil {
		return nil
	}
	return p.Requests
}

// busy tells whether something is read, or waits to be.
func (p *backlog) busy() bool { return p != nil && len(p.Requests)+len(p.Tables) > 0 }

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
