// Package monitor gives Prometheus the figures of streams applications, under the names that
// they have in Kafka Streams: kafka_streams_<group>_<attribute>, with its groups
// (stream_metrics, stream_thread_metrics, stream_task_metrics, stream_processor_node_metrics,
// stream_state_metrics, stream_record_cache_metrics), its attributes and its labels, with
// underscores for dashes. A [Collector] is registered once for an Engine:
//
//	registry.MustRegister(&monitor.Collector{Source: engine})
//
// Times are in milliseconds where Kafka Streams has them so. A process runs one thread for
// each application. What has no match there begins with tidemill_streams_.
package monitor
