package streams

import "sync/atomic"

// Metrics counts what one application does in this process. Every counter may be
// read at any time.
type Metrics struct {
	// Processed is how many records have been taken in; Produced how many went
	// out to topics, changelogs included.
	Processed, Produced atomic.Int64
	// Dropped is how many records were passed over because an operator cannot
	// use them, such as those without key at a table.
	Dropped atomic.Int64
	// Unreadable is how many records could not be decoded, Unprocessed how many an
	// operator of the user's refused, and Unwritten how many a Serde or the broker
	// did, whatever became of them.
	Unreadable, Unprocessed, Unwritten atomic.Int64
	// DeadLetters is how many records went to the dead letter topic.
	DeadLetters atomic.Int64
	// Commits and Aborts count commits, and what was undone to be done again.
	Commits, Aborts atomic.Int64
	// Restored is how many changelog records were read to rebuild stores.
	Restored atomic.Int64
	// Enforced is how often a task went on without waiting any longer for
	// records of a partition that had none.
	Enforced atomic.Int64
	// Tasks is how many tasks run now, Restoring how many are being restored.
	Tasks, Restoring atomic.Int64
	// Lag is how many offsets the inputs were known to go on behind what had been
	// processed at the last commit.
	Lag atomic.Int64
	// CacheBytes is the size of the write-back caches at the last commit.
	CacheBytes atomic.Int64
	// Standbys is of how many tasks copies are kept that run elsewhere, StandbyLag how
	// many changelog records these lacked when one last came, and Copied how many have
	// come.
	Standbys, StandbyLag, Copied atomic.Int64
	// Restarts is how often processing started anew after an error.
	Restarts atomic.Int64
	// Transactions are the figures of transaction mode.
	Transactions transactionMetrics
}
