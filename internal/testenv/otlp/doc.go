// Package otlp is an OpenTelemetry collector for tests: it takes traces as OTLP over HTTP,
// and remembers their spans.
package otlp
