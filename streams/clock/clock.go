package clock

// Clock is the time that a punctuation goes by.
type Clock int

// The clocks. StreamTime is the highest timestamp a task has met, also before it was
// started again: it moves with records only. WallClock is the time of day.
const (
	StreamTime Clock = iota
	WallClock
)

// Timestamps says which time the records of a source have.
type Timestamps int

// The choices, as Kafka Streams' timestamp extractors. A record's time is what Kafka
// has for it, or what Stream.TimedBy gets out of it, and a negative one is invalid.
// Then FailOnInvalid, the default, stops the application; SkipInvalid drops the record
// and counts it; PartitionTime takes the highest time met in the partition so far, and
// stops the application when there is none. WallClockTime takes the time of day at
// which the record's turn comes, whatever its own is.
const (
	FailOnInvalid Timestamps = iota
	SkipInvalid
	PartitionTime
	WallClockTime
)
