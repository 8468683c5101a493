package monitor

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/emit"
	"github.com/tidemill/tidemill/internal/meter"
	"github.com/tidemill/tidemill/streams/status"
)

// Collector is a prometheus.Collector of the applications of an Engine. Figures are read
// when somebody scrapes.
type Collector struct {
	Source status.Source
}

// Describe implements prometheus.Collector. Names follow from what runs, so none are
// declared beforehand.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// askWithin is how long brokers are asked for the ends of partitions.
const askWithin = 2 * time.Second

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	var disk *status.Disk
	for _, id := range c.Source.Apps() {
		a, err := c.Source.Status(ctx, id)
		if err != nil {
			continue // It was removed meanwhile.
		}
		if a.Disk != nil {
			disk = a.Disk
		}
		e := emit.Emitter{Out: out}.With("client_id", id+"-"+a.Instance)
		c.client(e, a)
		thread := e.With("thread_id", id+"-"+a.Instance+"-StreamThread-1")
		c.thread(thread, a)
		epochs(thread, a.Epochs)
		for i := range a.Tasks {
			task(thread, a, &a.Tasks[i])
		}
		standbys(thread, a)
	}
	if disk != nil {
		e := emit.Emitter{Out: out}
		e.Gauge("tidemill_streams_state_bytes", "Bytes of the state directory.", float64(disk.Bytes))
		e.Gauge("tidemill_streams_state_full", "Whether there is no room for the state.", truth(disk.Full))
		e.Gauge("tidemill_streams_state_failing", "Whether the disk with the state fails.", truth(disk.Failing))
		e.Count("tidemill_streams_state_repairs_total", "How often damaged state was set aside and restored.", disk.Repairs)
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// states are Kafka Streams' numbers of its states (KafkaStreams.State), as its metric
// client-state has them; a starting application is one that rebalances.
var states = map[string]float64{"STARTING": 1, "RESTORING": 1, "RUNNING": 2, "PAUSED": 2, "FAILED": 5, "STOPPED": 4}

// threadStates are those of StreamThread.State.
var threadStates = map[string]float64{"STARTING": 1, "RESTORING": 3, "RUNNING": 4, "PAUSED": 4, "FAILED": 6, "STOPPED": 6}

func (c *Collector) client(e emit.Emitter, a *status.Application) {
	const client = "kafka_streams_stream_metrics_"
	e.With("application_id", a.ID).Gauge(client+"application_id", "The application, as a label.", 1)
	e.With("state", a.State).Gauge(client+"state", "State of the application, as a label.", 1)
	e.Gauge(client+"client_state", "State of the application, as the number Kafka Streams has for it.", states[a.State])
	alive := a.State != "FAILED" && a.State != "STOPPED"
	e.Gauge(client+"alive_stream_threads", "Threads that are alive.", truth(alive))
	e.Count(client+"failed_stream_threads", "How often processing ended with an error.", a.Thread.Restarts+int64(truth(a.State == "FAILED")))
	e.Gauge(client+"recording_level", "The recording level: 1, DEBUG, where each operator counts, else 0, INFO.", truth(a.CountsOperators))
	if text, err := c.Source.Drawn(a.ID, false); err == nil {
		e.With("topology_description", text).Gauge(client+"topology_description", "The topology, as a label.", 1)
	}
}

// timed sends the figures of something that takes time: how often, how long and which share
// of the time.
func timed(e emit.Emitter, name, what string, total int64, f meter.Figures) {
	rate := 0.0
	if f.Avg > 0 {
		rate = f.Rate / f.Avg
	}
	e.Count(name+"_total", "Number of "+what+".", total)
	e.Gauge(name+"_rate", "Number of "+what+" in a second.", rate)
	e.Gauge(name+"_latency_avg", "Mean time of "+what+", in milliseconds.", f.Avg*1000)
	e.Gauge(name+"_latency_max", "Longest time of "+what+", in milliseconds.", f.Max*1000)
	e.Gauge(name+"_ratio", "Share of the time spent with "+what+".", f.Rate)
}

func (c *Collector) thread(e emit.Emitter, a *status.Application) {
	const thread = "kafka_streams_stream_thread_metrics_"
	t := &a.Thread
	timed(e, thread+"commit", "commits", t.Commits, t.Commit)
	timed(e, thread+"poll", "polls", t.Polls, t.Poll)
	timed(e, thread+"punctuate", "punctuations by the clock", t.Punctuations, t.Punctuate)
	e.Count(thread+"process_total", "Records processed.", t.Processed)
	e.Gauge(thread+"process_rate", "Records processed in a second.", t.ProcessRecords.Rate)
	e.Gauge(thread+"process_latency_avg", "Mean time of a step of processing, in milliseconds.", t.Process.Avg*1000)
	e.Gauge(thread+"process_latency_max", "Longest time of a step of processing, in milliseconds.", t.Process.Max*1000)
	e.Gauge(thread+"process_ratio", "Share of the time spent with processing.", t.Process.Rate)
	e.Gauge(thread+"process_records_avg", "Mean number of records of a step.", t.ProcessRecords.Avg)
	e.Gauge(thread+"process_records_max", "Highest number of records of a step.", t.ProcessRecords.Max)
	e.Gauge(thread+"poll_records_avg", "Mean number of records of a poll.", t.PollRecords.Avg)
	e.Gauge(thread+"poll_records_max", "Highest number of records of a poll.", t.PollRecords.Max)
	e.Count(thread+"task_created_total", "Tasks that were taken up.", t.Created)
	e.Count(thread+"task_closed_total", "Tasks that were given up.", t.Closed)
	e.With("state", a.State).Gauge(thread+"state", "State of the thread, as a label.", 1)
	e.Gauge(thread+"thread_state", "State of the thread, as the number Kafka Streams has for it.", threadStates[a.State])
	const own = "tidemill_streams_"
	e.Count(own+"produced_total", "Records written, changelogs included.", t.Produced)
	e.Count(own+"aborts_total", "Commits that were undone to be done again.", t.Aborts)
	e.Count(own+"restarts_total", "How often processing started anew after an error.", t.Restarts)
	for stage, n := range map[string]int64{"reading": t.Unreadable, "processing": t.Unprocessed, "writing": t.Unwritten} {
		e.With("stage", stage).Count(own+"faults_total", "Records at fault.", n)
	}
	e.Count(own+"dead_letters_total", "Records written to the dead letter topic.", t.DeadLetters)
}

// epochs sends the figures of transaction mode, if the application is in it.
func epochs(e emit.Emitter, f *status.Epochs) {
	if f == nil {
		return
	}
	const own = "tidemill_streams_transactions_"
	e.Count(own+"committed_total", "Transactions of the database that were taken in and committed.", f.Committed)
	e.Gauge(own+"waiting", "Transactions that have ended and of which not all has come.", float64(f.Waiting))
	e.Gauge(own+"held_records", "Records that wait until their transaction is there whole.", float64(f.HeldRecords))
	e.Gauge(own+"held_bytes", "Bytes of memory of the records that wait.", float64(f.HeldBytes))
	e.Gauge(own+"spilled_bytes", "Bytes of disk of the records that wait.", float64(f.SpilledBytes))
	e.Count(own+"spilled_records_total", "Records that went to the disk to wait there.", f.SpilledRecords)
	e.Count(own+"staged_bytes_total", "Bytes of changes that went to the disk before their commit.", f.StagedBytes)
	e.Gauge(own+"peak_bytes", "Highest number of bytes of memory of the changes of one commit.", float64(f.PeakBytes))
	e.Gauge(own+"lsn", "Position in the log of the database that the stores are true for.", float64(f.LSN))
	e.Gauge(own+"newest_lsn", "Position of the newest transaction that is known to have ended.", float64(f.NewestLSN))
}

func task(e emit.Emitter, a *status.Application, t *status.Task) {
	const task = "kafka_streams_stream_task_metrics_"
	e = e.With("task_id", t.ID)
	e.Count(task+"process_total", "Records processed.", t.Processed)
	e.Gauge(task+"process_rate", "Records processed in a second.", t.ProcessRecords.Rate)
	perRecord := 0.0
	if t.ProcessRecords.Sum > 0 {
		perRecord = t.Busy.Sum / t.ProcessRecords.Sum
	}
	e.Gauge(task+"process_latency_avg", "Mean time of a record, in nanoseconds.", perRecord*1e9)
	e.Count(task+"dropped_records_total", "Records that operators could not use.", t.Dropped)
	e.Count(task+"enforced_processing_total", "How often the task did not wait any longer for records of a partition.", t.Enforced)
	e.Gauge(task+"record_lateness_avg", "Mean time that records were behind the time of the stream, in milliseconds.", t.LateMean.Avg)
	e.Gauge(task+"record_lateness_max", "Longest time that a record was behind the time of the stream, in milliseconds.", t.LateMax.Max)
	e.Gauge(task+"active_process_ratio", "Share of the thread's processing that is this task's.", share(t.Busy.Sum, a.Tasks))
	e.Count(task+"restore_total", "Changelog records read to rebuild stores.", t.Restored)
	left, rate := int64(0), 0.0
	var buffered, cached int64
	for _, st := range t.Stores {
		cached += st.CacheBytes
		if st.Restore != nil && st.Restore.Left > 0 {
			left, rate = left+st.Restore.Left, rate+st.Restore.Rate
		}
		store(e, &st)
	}
	e.Gauge(task+"restore_remaining_records_total", "Changelog records left to be read.", float64(left))
	e.Gauge(task+"restore_rate", "Changelog records read in a second.", rate)
	e.Gauge(task+"cache_size_bytes_total", "Bytes of the task's caches.", float64(cached))
	for _, p := range t.Partitions {
		buffered += p.Buffered
		at := e.With("topic", p.Topic, "partition", strconv.Itoa(int(p.Partition)))
		at.Gauge("tidemill_streams_lag_records", "Records of the partition that are not processed yet.", float64(p.Lag))
		e.With("processor_node_id", p.Node, "topic", p.Topic).Count("kafka_streams_stream_processor_node_metrics_process_total", "Records that an operator has taken in.", p.Processed)
	}
	for _, o := range t.Operators {
		const node = "kafka_streams_stream_processor_node_metrics_"
		at := e.With("processor_node_id", o.Name)
		at.Count(node+"process_total", "Records that an operator has taken in.", o.Processed)
		at.Gauge(node+"process_rate", "Records taken in in a second.", o.Records.Rate)
	}
	e.Gauge(task+"active_buffer_count", "Records that wait to be processed.", float64(buffered))
}

// share is which part of the time of all tasks is one task's.
func share(busy float64, all []status.Task) float64 {
	sum := 0.0
	for _, t := range all {
		sum += t.Busy.Sum
	}
	if sum == 0 {
		return 0
	}
	return busy / sum
}

func store(e emit.Emitter, s *status.Store) {
	const state, cache = "kafka_streams_stream_state_metrics_", "kafka_streams_stream_record_cache_metrics_"
	in := e.With("persistent_state_id", s.Name)
	in.Gauge("tidemill_streams_store_bytes", "Bytes of the store on disk.", float64(s.DiskBytes))
	in.Gauge(state+"suppression_buffer_count_current", "Rows that are held back.", float64(s.Rows))
	in.Gauge(state+"suppression_buffer_size_current", "Bytes of the rows that are held back.", float64(s.RowBytes))
	hit := 0.0
	if s.CacheReads > 0 {
		hit = float64(s.CacheHits) / float64(s.CacheReads)
	}
	e.With("record_cache_id", s.Name).Gauge(cache+"hit_ratio_avg", "Share of the rows asked for that were cached.", hit)
}

// standbys sends the figures of copies.
func standbys(e emit.Emitter, a *status.Application) {
	for _, s := range a.Standbys {
		at := e.With("task_id", s.Task)
		at.Gauge("kafka_streams_stream_task_metrics_update_remaining_records_total", "Changelog records that a copy lacks.", float64(s.Lag))
		for _, st := range s.Stores {
			at.With("persistent_state_id", st.Name).Gauge("tidemill_streams_store_bytes", "Bytes of the store on disk.", float64(st.DiskBytes))
		}
	}
}
