// Package otel makes spans and sends them to an OpenTelemetry collector, as OTLP over HTTP.
//
// It has what a worker needs, and is small: a [Span] for a batch of records and each step it
// goes through, the [Context] that its records carry to others, and a [Tracer], which sends
// spans in batches from a bounded queue and counts those that do not arrive. Nobody waits for
// it.
package otel
