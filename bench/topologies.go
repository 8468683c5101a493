package main

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// order is the record of every load: about 150 bytes of Avro.
type order struct {
	ID       int64  `connect:"id"`
	Customer int64  `connect:"customer"`
	Product  string `connect:"product"`
	Cents    int64  `connect:"cents"`
	Quantity int32  `connect:"quantity"`
	Paid     bool   `connect:"paid"`
	Note     string `connect:"note"`
}

// customer is a row of the table that orders are joined with.
type customer struct {
	Name  string `connect:"name"`
	City  string `connect:"city"`
	Email string `connect:"email"`
}

// delivery is an order with its customer, or with another order.
type delivery struct {
	Order int64  `connect:"order"`
	Name  string `connect:"name"`
	City  string `connect:"city"`
	Cents int64  `connect:"cents"`
	Note  string `connect:"note"`
}

const (
	countStore = "counts"

	tumblingSize = 10 * time.Second
	slidingSize  = 5 * time.Second
	sessionGap   = 5 * time.Second
	joinReach    = 10 * time.Second
)

// formats are the Serdes of the records.
type formats struct {
	order    serde.Serde[order]
	customer serde.Serde[customer]
	delivery serde.Serde[delivery]
}

// newFormats returns Avro with a registry.
func newFormats(registry string) (f formats, err error) {
	plugin := avro.Plugins()[0]
	converter := plugin.New()
	if err = converter.Configure(connect.Config{"schema.registry.url": registry}, false); err != nil {
		return f, err
	}
	if f.order, err = serde.Struct[order](converter); err != nil {
		return f, err
	}
	if f.customer, err = serde.Struct[customer](converter); err != nil {
		return f, err
	}
	f.delivery, err = serde.Struct[delivery](converter)
	return f, err
}

// plan is a topology while it is made.
type plan struct {
	*application
	*streams.Builder
	formats
}

// topologies are what the application can run. Each has its counterpart in
// kstreams/Application.java but for rows.
var topologies = map[string]func(plan){
	"stateless":      plan.stateless,
	"count":          plan.count,
	"window":         plan.tumbling,
	"window.session": plan.session,
	"window.sliding": plan.sliding,
	"join.table":     plan.joinTable,
	"join.stream":    plan.joinStream,
	"latest":         plan.latest,
	"rows":           plan.rows,
}

func (a *application) build() (*streams.Topology, error) {
	f, err := newFormats(a.registry)
	if err != nil {
		return nil, err
	}
	make := topologies[a.topology]
	if make == nil {
		return nil, fmt.Errorf("there is no topology %q", a.topology)
	}
	p := plan{a, streams.NewBuilder(), f}
	make(p)
	return p.Build()
}

func (p plan) orders(input int) *streams.Stream[int64, order] {
	return streams.From(p.Builder, p.topics()[input], serde.Int64{}, p.order)
}

// stateless keeps nine of ten records, and changes a field of each.
func (p plan) stateless() {
	paid := p.orders(0).Filter(func(_ int64, o order) bool { return o.Paid })
	streams.MapValues(paid, func(_ int64, o order) order {
		o.Cents *= int64(o.Quantity)
		return o
	}).To(p.output, serde.Int64{}, p.order)
}

func (p plan) grouped() *streams.Grouped[int64, order] {
	return p.orders(0).GroupByKey(serde.Int64{}, p.order)
}

func (p plan) count() {
	p.grouped().Count(streams.With{Store: countStore}).ToStream().To(p.output, serde.Int64{}, serde.Int64{})
}

func (p plan) tumbling() {
	counts := window.Count(p.grouped(), window.Tumbling(tumblingSize), streams.With{Store: countStore})
	counts.ToStream().To(p.output, window.TimeKeys(serde.Int64{}, tumblingSize), serde.Int64{})
}

func (p plan) sliding() {
	counts := window.Count(p.grouped(), window.Sliding(slidingSize), streams.With{Store: countStore})
	counts.ToStream().To(p.output, window.TimeKeys(serde.Int64{}, slidingSize), serde.Int64{})
}

func (p plan) session() {
	counts := window.Count(p.grouped(), window.Session(sessionGap), streams.With{Store: countStore})
	counts.ToStream().To(p.output, window.SessionKeys(serde.Int64{}), serde.Int64{})
}

// joinTable looks up the customer of each order.
func (p plan) joinTable() {
	customers := streams.TableFrom(p.Builder, p.topics()[1], serde.Int64{}, p.customer, streams.With{Store: "customers"})
	join.StreamTable(p.orders(0), customers, join.Inner(func(_ int64, in join.Pair[order, customer]) delivery {
		return delivery{Order: in.Left.ID, Name: in.Right.Name, City: in.Right.City, Cents: in.Left.Cents, Note: in.Left.Note}
	}), p.order).To(p.output, serde.Int64{}, p.delivery)
}

// joinStream brings the orders of two topics together.
func (p plan) joinStream() {
	join.Streams(p.orders(0), p.orders(1), join.Within[int64, order, order]{
		Before: joinReach, After: joinReach, Key: serde.Int64{}, Left: p.order, Right: p.order,
	}, join.Inner(func(_ int64, in join.Pair[order, order]) delivery {
		return delivery{Order: in.Left.ID, Name: in.Right.Product, City: in.Left.Product, Cents: in.Left.Cents + in.Right.Cents, Note: in.Right.Note}
	})).To(p.output, serde.Int64{}, p.delivery)
}

// rows keeps a wide row of each customer, made of the last order, and writes nothing.
func (p plan) rows() {
	streams.MapValues(p.orders(0), func(customer int64, o order) []byte { return wideRow(customer, o.ID) }).
		ToTable(serde.Int64{}, serde.Bytes{}, streams.With{Store: countStore})
}

// latest keeps the last order of each customer, whole: a state of large rows.
func (p plan) latest() {
	p.grouped().Reduce(func(_, o order) order { return o }, p.order, streams.With{Store: countStore}).
		ToStream().To(p.output, serde.Int64{}, p.order)
}
