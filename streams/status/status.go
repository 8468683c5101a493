package status

import (
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/meter"
)

// Application is what one process knows of an application.
type Application struct {
	ID       string `json:"id"`
	Instance string `json:"instance"`
	State    string `json:"state"`
	// Error is what stopped the application, made it start anew last or holds it up.
	Error *Error `json:"error,omitempty"`
	// Guarantee is at_least_once or exactly_once_v2, and Transactions tells that the
	// transactions of the source are kept together.
	Guarantee    string `json:"processingGuarantee"`
	Transactions bool   `json:"transactions,omitempty"`
	// Epochs are the figures of transaction mode; nil outside of it.
	Epochs *Epochs `json:"epochs,omitempty"`
	// CountsOperators tells that tasks have Operators.
	CountsOperators bool      `json:"countsOperators,omitempty"`
	Tasks           []Task    `json:"tasks"`
	Standbys        []Standby `json:"standbys"`
	Thread          Thread    `json:"thread"`
	// Disk is the state directory, which the applications of a process share; nil when
	// state is kept in memory.
	Disk *Disk `json:"disk,omitempty"`
}

// Epochs are the figures of an application in transaction mode. In a process that stands by
// they stand still.
type Epochs struct {
	// Committed is how many transactions of the database were taken in and committed.
	Committed int64 `json:"committed"`
	// HeldRecords wait until their transaction is there whole, in HeldBytes of memory and
	// SpilledBytes of disk; SpilledRecords is how many have ever gone to the disk.
	HeldRecords    int64 `json:"heldRecords"`
	HeldBytes      int64 `json:"heldBytes"`
	SpilledBytes   int64 `json:"spilledBytes"`
	SpilledRecords int64 `json:"spilledRecords"`
	// StagedBytes is how many bytes of changes have ever gone to the disk before their
	// commit, and PeakBytes the most that those of one commit took in memory.
	StagedBytes int64 `json:"stagedBytes"`
	PeakBytes   int64 `json:"peakBytes"`
	// LSN is the position that the stores are true for, and NewestLSN that of the newest
	// transaction that has ended. Of Waiting transactions that have, not all has come.
	LSN       uint64 `json:"lsn"`
	NewestLSN uint64 `json:"newestLsn"`
	Waiting   int64  `json:"waiting"`
}

// Lag is how many records all tasks here have not processed yet.
func (a *Application) Lag() (n int64) {
	for _, t := range a.Tasks {
		n += t.Lag()
	}
	return n
}

// Error is an error for people and programs.
type Error struct {
	Code    string `json:"code"`
	Place   string `json:"place,omitempty"`
	Message string `json:"message"`
	Mend    string `json:"mend,omitempty"`
}

// NewError describes err, nil for nil.
func NewError(err error) *Error {
	if err == nil {
		return nil
	}
	e := connect.AsError(err)
	message := e.Message
	if e.Cause != nil {
		if message != "" {
			message += ": "
		}
		message += e.Cause.Error()
	}
	return &Error{Code: e.Code, Place: e.Place, Message: message, Mend: e.Mend}
}

// Disk is a state directory.
type Disk struct {
	Dir   string `json:"dir"`
	Bytes uint64 `json:"bytes"`
	// Full tells that there is no room, and Repairs how often the database was damaged and
	// replaced since the process started.
	Full    bool  `json:"full"`
	Repairs int64 `json:"repairs"`
	// Failing tells that the disk fails and is not used any more.
	Failing bool `json:"failing"`
}

// Thread counts what all tasks of an application do, which take turns in one thread, and
// how long that takes: seconds where nothing else is said.
type Thread struct {
	Processed    int64 `json:"processed"`
	Produced     int64 `json:"produced"`
	Dropped      int64 `json:"dropped"`
	Unreadable   int64 `json:"unreadable"`
	Unprocessed  int64 `json:"unprocessed"`
	Unwritten    int64 `json:"unwritten"`
	DeadLetters  int64 `json:"deadLetters"`
	Commits      int64 `json:"commits"`
	Aborts       int64 `json:"aborts"`
	Polls        int64 `json:"polls"`
	Punctuations int64 `json:"punctuations"`
	Restarts     int64 `json:"restarts"`
	Created      int64 `json:"tasksCreated"`
	Closed       int64 `json:"tasksClosed"`
	Restored     int64 `json:"restored"`

	Poll, Process, Punctuate, Commit meter.Figures `json:"-"`
	PollRecords, ProcessRecords      meter.Figures `json:"-"`
}

// Task is a sub-topology and a partition.
type Task struct {
	ID         string      `json:"id"`
	State      string      `json:"state"` // RUNNING or RESTORING
	Partitions []Partition `json:"partitions"`
	Stores     []Store     `json:"stores"`
	// Operators count what each operator but the sources has taken in, where that is asked
	// for.
	Operators []Operator `json:"operators,omitempty"`

	Processed int64 `json:"processed"`
	Dropped   int64 `json:"dropped"`
	Enforced  int64 `json:"enforced"`
	Restored  int64 `json:"restored"`

	// Busy has the seconds of each step, ProcessRecords its records, Lateness how far
	// records were behind the time of the stream, in milliseconds: mean and highest of
	// each step.
	Busy, ProcessRecords, LateMean, LateMax meter.Figures `json:"-"`
}

// Lag is how many records the task has not processed yet.
func (t *Task) Lag() (n int64) {
	for _, p := range t.Partitions {
		n += p.Lag
	}
	return n
}

// Operator counts the records of one operator of a task.
type Operator struct {
	Name      string `json:"name"`
	Processed int64  `json:"processed"`

	Records meter.Figures `json:"-"`
}

// Partition is one that a task reads.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Node is the name of the operator that reads it.
	Node string `json:"node"`
	// Offset is that of the next record to be processed, -1 before the first commit, and
	// End that of the next one to be written.
	Offset int64 `json:"offset"`
	End    int64 `json:"end"`
	Lag    int64 `json:"lag"`
	// Buffered is how many records wait here.
	Buffered  int64 `json:"buffered"`
	Processed int64 `json:"processed"`
}

// Store is a store of one task.
type Store struct {
	Name string `json:"name"`
	// DiskBytes is about what it takes on disk, CacheBytes what its write-back cache does.
	DiskBytes  uint64 `json:"diskBytes"`
	CacheBytes int64  `json:"cacheBytes"`
	CacheHits  int64  `json:"cacheHits"`
	CacheReads int64  `json:"cacheReads"`
	// Rows and RowBytes are what a suppression holds back.
	Rows     int64 `json:"suppressedRows,omitempty"`
	RowBytes int64 `json:"suppressedBytes,omitempty"`
	// Restore is how far the restoration has come that goes on or was the last.
	Restore *Restore `json:"restore,omitempty"`
}

// Restore is how far a store has been rebuilt from its changelog.
type Restore struct {
	Done int64 `json:"done"` // in records
	Left int64 `json:"left"`
	// Rate is how many records a second have been read, and ETA the seconds until nothing
	// is left, at that rate; nil while that is not known.
	Rate float64  `json:"rate"`
	ETA  *float64 `json:"etaSeconds,omitempty"`
}

// NewRestore tells of a restoration that began at some time: it has read done of about
// total records.
func NewRestore(done, total int64, took time.Duration) *Restore {
	r := &Restore{Done: done, Left: max(total-done, 0)}
	if s := took.Seconds(); s > 0 {
		r.Rate = float64(done) / s
	}
	if r.Left == 0 || r.Rate > 0 {
		eta := 0.0
		if r.Left > 0 {
			eta = float64(r.Left) / r.Rate
		}
		r.ETA = &eta
	}
	return r
}

// Standby is a copy of the stores of a task that runs elsewhere.
type Standby struct {
	Task string `json:"task"`
	// Lag is how many changelog records it lacks.
	Lag    int64   `json:"lag"`
	Stores []Store `json:"stores"`
}
