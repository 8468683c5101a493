package sql

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// describe draws a plan as text: what is read, what becomes of a row, what is given.
func (p *plan) describe() string {
	var b strings.Builder
	for _, from := range p.sides() {
		fmt.Fprintf(&b, "read %s %s from topic %s (key %s, value %s", from.kind(), from.name, from.topic, from.keyFormat, from.format)
		if from.cdc {
			b.WriteString(", change events")
		}
		b.WriteString(")\n")
	}
	if j := p.from.joined; j != nil {
		for _, s := range j.steps {
			fmt.Fprintf(&b, "join %s, %s, on %s = %s\n", s.joinClause.right.alias.text, strings.ToLower(s.kind), canonical(s.left), canonical(s.right))
		}
	}
	if names := p.slotNames(); len(names) > 0 {
		b.WriteString("  columns " + listed(names) + "\n")
	}
	if p.where != nil {
		b.WriteString("filter\n")
	}
	if p.aggregates() {
		if p.rekeyed || p.from.table {
			b.WriteString("repartition by the group\n")
		}
		b.WriteString("aggregate")
		if p.windows != nil {
			b.WriteString(" in " + p.windowText)
		}
		b.WriteString("\n")
		for _, a := range p.aggs {
			b.WriteString("  " + a.text + "\n")
		}
	}
	if p.having != nil {
		b.WriteString("filter groups\n")
	}
	b.WriteString("give " + columnList(p.columns()) + "\n")
	if p.sink != nil {
		fmt.Fprintf(&b, "write %s %s to topic %s (key %s, value %s)\n", p.sink.kind(), p.sink.name, p.sink.topic, p.sink.keyFormat, p.sink.format)
	}
	return b.String()
}

func (p *plan) slotNames() []string {
	out := make([]string, len(p.scope.slots))
	for i, s := range p.scope.slots {
		out[i] = s.name
	}
	return out
}

// columnList writes columns as the header of ksqlDB's answers does.
func columnList(columns []column) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = functions.Quote(c.name) + " " + c.typ.String()
		if c.key {
			out[i] += " KEY"
		}
	}
	return strings.Join(out, ", ")
}
