// Package meter measures what programs do. A [Window] has mean, extremes and rate of the last
// while, as Kafka's own metrics do; it costs a lock for each measurement, so batches are
// measured and not single records. A [Histogram] counts durations by their length, for good
// and without a lock.
package meter
