// Package meter measures what programs do, as Kafka's own metrics do: a [Window] has mean,
// maximum and rate of the last minute. It costs a lock for each measurement, so batches are
// measured and not single records.
package meter
