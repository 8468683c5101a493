package postgres

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// How often the progress of a snapshot is shown, and told in the log.
const (
	showEvery = time.Second
	tellEvery = 10 * time.Second
)

// tally keeps count of a snapshot, for people: in the log, in metrics, and in the
// document "snapshot" beside the task's status.
type tally struct {
	log     *slog.Logger
	metrics connect.Metrics
	show    func(name string, document []byte) // Nil: nobody looks.
	kind    string
	at      uint64 // The position of the view.
	began   time.Time
	tables  []*snapshotTable

	tablesDone, rows, bytes, pagesDone, piecesDone atomic.Int64

	mu     sync.Mutex // Guards the following.
	status string
	fault  string
	ended  time.Time
}

// progressView is the document.
type progressView struct {
	Kind          string      `json:"kind"`
	Status        string      `json:"status"` // running, complete or failed.
	Error         string      `json:"error,omitempty"`
	LSN           string      `json:"lsn"`
	Started       time.Time   `json:"started"`
	DurationMs    int64       `json:"duration_ms"`
	Percent       float64     `json:"percent"`
	RemainingMs   int64       `json:"remaining_ms_estimated,omitempty"`
	Rows          int64       `json:"rows"`
	RowsEstimated int64       `json:"rows_estimated"`
	Bytes         int64       `json:"bytes"`
	TablesDone    int64       `json:"tables_done"`
	TablesTotal   int         `json:"tables_total"`
	ChunksDone    int64       `json:"chunks_done"`
	ChunksTotal   int64       `json:"chunks_total"`
	Tables        []tableView `json:"tables"`
	// Postponed is how many of the tables done were altered meanwhile and are read again.
	Postponed int `json:"tables_postponed,omitempty"`
	// Omitted is how many tables are not listed because there are too many.
	Omitted int `json:"tables_omitted,omitempty"`
}

// tableView is one table in it.
type tableView struct {
	Table         string  `json:"table"`
	State         string  `json:"state"` // waiting, reading, complete or postponed.
	Rows          int64   `json:"rows"`
	RowsEstimated int64   `json:"rows_estimated"`
	Bytes         int64   `json:"bytes"`
	ChunksDone    int64   `json:"chunks_done"`
	ChunksTotal   int64   `json:"chunks_total"`
	Percent       float64 `json:"percent"`
	DurationMs    int64   `json:"duration_ms,omitempty"`
}

// start begins to count; the document is there from now on.
func (p *tally) start() {
	p.began, p.status = time.Now(), "running"
	var estimate int64
	for _, t := range p.tables {
		estimate += t.estimate
	}
	p.metrics.Set("snapshot_running", 1)
	p.metrics.Set("snapshot_completed", 0)
	p.metrics.Set("snapshot_aborted", 0)
	p.metrics.Set("snapshot_tables", float64(len(p.tables)))
	p.metrics.Set("snapshot_rows_estimated", float64(estimate))
	p.publish(p.view(time.Now()))
}

// add counts rows of a table that were read, with their size as they came.
func (p *tally) add(t *snapshotTable, rows, bytes int64) {
	t.rows.Add(rows)
	t.bytes.Add(bytes)
	p.rows.Add(rows)
	p.bytes.Add(bytes)
	p.metrics.Set("last_read_timestamp_seconds", float64(time.Now().UnixMicro())/1e6)
	p.metrics.Add("snapshot_rows_total", rows)
	p.metrics.Add("snapshot_bytes_total", bytes)
}

// piece counts a piece that was read; done tells that its table was with it.
func (p *tally) piece(one *piece, done bool) {
	t := one.table
	pages := one.to - one.from
	if one.to < 0 {
		pages = one.heap.pages - one.from
	}
	t.pagesDone.Add(pages)
	t.piecesDone.Add(1)
	p.pagesDone.Add(pages)
	p.piecesDone.Add(1)
	if !done {
		return
	}
	took := time.Duration(time.Now().UnixMicro()-t.begun.Load()) * time.Microsecond
	t.took.Store(took.Microseconds())
	if p.tablesDone.Add(1); t.postponed.Load() {
		return
	}
	p.log.Info("A table has been read.", "table", t.name.String(), "rows", t.rows.Load(), "bytes", t.bytes.Load(), "took", took.Round(time.Millisecond))
}

// run tells the progress until ctx is done.
func (p *tally) run(ctx context.Context) error {
	show := time.NewTicker(showEvery)
	defer show.Stop()
	told := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-show.C:
			v := p.view(now)
			p.publish(v)
			if now.Sub(told) < tellEvery {
				continue
			}
			told = now
			p.log.Info("The snapshot goes on.", "percent", v.Percent, "rows", v.Rows, "tables", v.TablesDone, "of", v.TablesTotal,
				"reading", v.reading(), "remaining", (time.Duration(v.RemainingMs) * time.Millisecond).Round(time.Second))
		}
	}
}

// end tells how the snapshot ended.
func (p *tally) end(err error) {
	now := time.Now()
	p.mu.Lock()
	p.status, p.ended = "complete", now
	if err != nil {
		p.status, p.fault = "failed", err.Error()
	}
	p.mu.Unlock()
	p.metrics.Set("snapshot_running", 0)
	v := p.view(now)
	p.publish(v)
	if err != nil {
		p.metrics.Set("snapshot_aborted", 1)
	} else {
		p.metrics.Set("snapshot_completed", 1)
		p.log.Info("The snapshot is complete.", "tables", v.TablesTotal, "postponed", v.Postponed, "rows", v.Rows, "bytes", v.Bytes, "took", now.Sub(p.began).Round(time.Millisecond))
	}
}

func (p *tally) publish(v *progressView) {
	p.metrics.Set("snapshot_tables_remaining", float64(int64(v.TablesTotal)-v.TablesDone))
	p.metrics.Set("snapshot_chunks", float64(v.ChunksTotal))
	p.metrics.Set("snapshot_chunks_remaining", float64(v.ChunksTotal-v.ChunksDone))
	p.metrics.Set("snapshot_progress_ratio", v.Percent/100)
	p.metrics.Set("snapshot_remaining_seconds_estimated", float64(v.RemainingMs)/1000)
	p.metrics.Set("snapshot_duration_seconds", float64(v.DurationMs)/1000)
	for _, t := range p.tables {
		if t.begun.Load() > 0 {
			table := "{table=" + strconv.Quote(t.name.String()) + ",state="
			p.metrics.Set("snapshot_rows"+table+"\"done\"}", float64(t.rows.Load()))
			p.metrics.Set("snapshot_rows"+table+"\"estimated\"}", float64(t.estimate))
		}
	}
	if p.show == nil {
		return
	}
	if text, err := json.Marshal(v); err == nil {
		p.show("snapshot", text)
	}
}

// view is the progress now.
func (p *tally) view(now time.Time) *progressView {
	p.mu.Lock()
	v := &progressView{Kind: p.kind, Status: p.status, Error: p.fault}
	if !p.ended.IsZero() {
		now = p.ended
	}
	p.mu.Unlock()
	v.LSN, v.Started, v.DurationMs = lsnText(p.at), p.began.UTC(), now.Sub(p.began).Milliseconds()
	v.Rows, v.Bytes, v.TablesDone, v.TablesTotal = p.rows.Load(), p.bytes.Load(), p.tablesDone.Load(), len(p.tables)
	v.ChunksDone = p.piecesDone.Load()
	var weight, done float64
	for _, t := range p.tables {
		v.RowsEstimated += t.estimate
		v.ChunksTotal += t.pieces
		// A table costs at least as much as the statement for it.
		w := float64(t.pages + 1)
		weight += w
		done += w * t.share()
		v.list(t, now)
	}
	if weight > 0 {
		v.Percent = percent(done / weight)
	}
	if v.Status == "complete" {
		v.Percent = 100
	} else if ratio := done / max(weight, 1); v.Status == "running" && ratio > 0 {
		v.RemainingMs = int64(float64(v.DurationMs) * (1 - ratio) / ratio)
	}
	return v
}

// percent has one digit after the point.
func percent(ratio float64) float64 { return float64(int64(ratio*1000)) / 10 }

// share is how much of a table has been read, from 0 to 1: by its pieces, and within
// a table of one piece by its rows as the statistics estimate them.
func (t *snapshotTable) share() float64 {
	if t.took.Load() > 0 || t.piecesDone.Load() == t.pieces {
		return 1
	}
	if t.pieces == 1 && t.estimate > 0 {
		const unsure = 0.99
		return min(unsure, float64(t.rows.Load())/float64(t.estimate))
	}
	return float64(t.pagesDone.Load()) / float64(max(1, t.pages))
}

// list adds a table to the document: of many tables only those that are being read.
func (v *progressView) list(t *snapshotTable, now time.Time) {
	const most = 200
	state, took := "waiting", t.took.Load()
	switch begun := t.begun.Load(); {
	case t.postponed.Load():
		state = "postponed"
		v.Postponed++
	case took > 0 || begun > 0 && t.piecesDone.Load() == t.pieces:
		state = "complete"
	case begun > 0:
		state, took = "reading", now.UnixMicro()-begun
	}
	if v.TablesTotal > most && state != "reading" {
		v.Omitted++
		return
	}
	v.Tables = append(v.Tables, tableView{
		Table: t.name.String(), State: state, Rows: t.rows.Load(), RowsEstimated: t.estimate, Bytes: t.bytes.Load(),
		ChunksDone: t.piecesDone.Load(), ChunksTotal: t.pieces, Percent: percent(t.share()), DurationMs: took / 1000,
	})
}

// reading names the tables that are being read.
func (v *progressView) reading() string {
	var names []string
	for _, t := range v.Tables {
		if t.State == "reading" {
			names = append(names, t.Table)
		}
	}
	return joinNames(names)
}
