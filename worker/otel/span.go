package otel

import (
	"slices"
	"time"
)

// MaxLinks is how many links a span keeps: further ones are counted.
const MaxLinks = 32

// Kind says on which side of a topic a span stands, with OpenTelemetry's numbers.
type Kind int

// The kinds of spans.
const (
	Internal Kind = 1
	Producer Kind = 4
	Consumer Kind = 5
)

// Span is a stretch of work. It belongs to one goroutine at a time, and to the tracer once
// it has ended.
type Span struct {
	Context
	tracer       *Tracer
	parent       [8]byte
	name         string
	kind         Kind
	began, ended time.Time
	attributes   []Attribute
	links        []Context
	lost         int // Links that had no room.
	fault        string
}

// Attribute says something of a span: a string, bool, int64 or float64 under a name.
type Attribute struct {
	Name  string
	Value any
}

// Span begins a trace.
func (t *Tracer) Span(name string, kind Kind, began time.Time) *Span {
	return &Span{Context: newContext(Context{}), tracer: t, name: name, kind: kind, began: began}
}

// Under returns a new span within the one that parent names.
func (t *Tracer) Under(parent Context, name string, kind Kind, began time.Time) *Span {
	return &Span{Context: newContext(parent), tracer: t, parent: parent.Span, name: name, kind: kind, began: began}
}

// Child returns a new span within s.
func (s *Span) Child(name string, kind Kind, began time.Time) *Span {
	return s.tracer.Under(s.Context, name, kind, began)
}

// From moves the beginning of the span.
func (s *Span) From(began time.Time) { s.began = began }

// Set adds attributes.
func (s *Span) Set(attributes ...Attribute) { s.attributes = append(s.attributes, attributes...) }

// Link links the span to another, in most cases of another trace.
func (s *Span) Link(to Context) {
	switch {
	case slices.ContainsFunc(s.links, func(c Context) bool { return c.Span == to.Span && c.Trace == to.Trace }):
	case len(s.links) < MaxLinks:
		s.links = append(s.links, to)
	default:
		s.lost++
	}
}

// End ends the span and hands it to the tracer. A fault is the code of the error it ended
// with: what errors say may hold what is not for everybody.
func (s *Span) End(at time.Time, fault string) {
	s.ended, s.fault = at, fault
	s.tracer.take(s)
}
