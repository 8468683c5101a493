// Package emit writes figures for Prometheus: an [Emitter] sends them, with their labels, when
// somebody scrapes, and nothing is kept for it in between.
package emit
