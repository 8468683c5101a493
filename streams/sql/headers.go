package sql

import (
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// headerType is the type of a column over all headers of a record.
func headerType() functions.Type {
	return functions.ArrayOf(functions.Type{Kind: functions.Struct, Fields: []functions.Field{
		{Name: "KEY", Type: scalar(functions.String)}, {Name: "VALUE", Type: scalar(functions.Bytes)}}})
}

// headerSlot is a place of the row that headers fill.
type headerSlot struct {
	slot int
	of   func(headers []streams.Header) connect.Value
}

// headerSlots lists the columns over headers that the query names.
func (a *assembler) headerSlots() (out []headerSlot) {
	for i, s := range a.p.scope.slots {
		if s.column < 0 {
			continue
		}
		switch h := a.p.from.columns[s.column].header; h {
		case "":
		case "*":
			out = append(out, headerSlot{slot: i, of: allHeaderValues(s.typ)})
		default:
			out = append(out, headerSlot{slot: i, of: func(headers []streams.Header) connect.Value { return headerValue(headers, h) }})
		}
	}
	return out
}

// headerValue returns the newest header of a name.
func headerValue(headers []streams.Header, name string) connect.Value {
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Key == name {
			return connect.Bytes(headers[i].Value)
		}
	}
	return null
}

func allHeaderValues(t functions.Type) func(headers []streams.Header) connect.Value {
	schema, err := t.Elem.Schema()
	return func(headers []streams.Header) connect.Value {
		if err != nil {
			return null
		}
		out := make([]connect.Value, len(headers))
		for i, h := range headers {
			out[i] = connect.StructValue(schema.StructOf([]connect.Value{connect.String(h.Key), connect.Bytes(h.Value)}))
		}
		return connect.Array(out)
	}
}
