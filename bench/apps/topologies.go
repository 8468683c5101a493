package apps

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// Order is the record of every load: about 150 bytes of Avro.
type Order struct {
	ID       int64  `connect:"id"`
	Customer int64  `connect:"customer"`
	Product  string `connect:"product"`
	Cents    int64  `connect:"cents"`
	Quantity int32  `connect:"quantity"`
	Paid     bool   `connect:"paid"`
	Note     string `connect:"note"`
}

// Customer is a row of the table that orders are joined with.
type Customer struct {
	Name  string `connect:"name"`
	City  string `connect:"city"`
	Email string `connect:"email"`
}

// Delivery is an order with its customer, or with another order.
type Delivery struct {
	Order int64  `connect:"order"`
	Name  string `connect:"name"`
	City  string `connect:"city"`
	Cents int64  `connect:"cents"`
	Note  string `connect:"note"`
}

const (
	// CountStore is the store that can be asked.
	CountStore = "counts"
	// WideRowBytes is how long a row of the topology "rows" is.
	WideRowBytes = 180

	tumblingSize = 10 * time.Second
	slidingSize  = 5 * time.Second
	sessionGap   = 5 * time.Second
	joinReach    = 10 * time.Second
)

// Formats are the Serdes of the records.
type Formats struct {
	Order    serde.Serde[Order]
	Customer serde.Serde[Customer]
	Delivery serde.Serde[Delivery]
}

// NewFormats returns Avro with a registry, which answers at the URL.
func NewFormats(registry string) (f Formats, err error) {
	plugin := avro.Plugins()[0]
	converter := plugin.New()
	if err = converter.Configure(connect.Config{"schema.registry.url": registry}, false); err != nil {
		return f, err
	}
	if f.Order, err = serde.Struct[Order](converter); err != nil {
		return f, err
	}
	if f.Customer, err = serde.Struct[Customer](converter); err != nil {
		return f, err
	}
	f.Delivery, err = serde.Struct[Delivery](converter)
	return f, err
}

// plan is a topology while it is made.
type plan struct {
	*application
	*streams.Builder
	Formats
}

// topologies are what the application can run. Each has its counterpart in
// ../kstreams/Application.java but for rows.
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
	f, err := NewFormats(a.registry)
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

func (p plan) orders(input int) *streams.Stream[int64, Order] {
	return streams.From(p.Builder, p.topics()[input], serde.Int64{}, p.Order)
}

// stateless keeps nine of ten records, and changes a field of each.
func (p plan) stateless() {
	paid := p.orders(0).Filter(func(_ int64, o Order) bool { return o.Paid })
	streams.MapValues(paid, func(_ int64, o Order) Order {
		o.Cents *= int64(o.Quantity)
		return o
	}).To(p.output, serde.Int64{}, p.Order)
}

func (p plan) grouped() *streams.Grouped[int64, Order] {
	return p.orders(0).GroupByKey(serde.Int64{}, p.Order)
}

func (p plan) count() {
	p.grouped().Count(streams.With{Store: CountStore}).ToStream().To(p.output, serde.Int64{}, serde.Int64{})
}

func (p plan) tumbling() {
	counts := window.Count(p.grouped(), window.Tumbling(tumblingSize), streams.With{Store: CountStore})
	counts.ToStream().To(p.output, window.TimeKeys(serde.Int64{}, tumblingSize), serde.Int64{})
}

func (p plan) sliding() {
	counts := window.Count(p.grouped(), window.Sliding(slidingSize), streams.With{Store: CountStore})
	counts.ToStream().To(p.output, window.TimeKeys(serde.Int64{}, slidingSize), serde.Int64{})
}

func (p plan) session() {
	counts := window.Count(p.grouped(), window.Session(sessionGap), streams.With{Store: CountStore})
	counts.ToStream().To(p.output, window.SessionKeys(serde.Int64{}), serde.Int64{})
}

// joinTable looks up the customer of each order.
func (p plan) joinTable() {
	customers := streams.TableFrom(p.Builder, p.topics()[1], serde.Int64{}, p.Customer, streams.With{Store: "customers"})
	join.StreamTable(p.orders(0), customers, join.Inner(func(_ int64, in join.Pair[Order, Customer]) Delivery {
		return Delivery{Order: in.Left.ID, Name: in.Right.Name, City: in.Right.City, Cents: in.Left.Cents, Note: in.Left.Note}
	}), p.Order).To(p.output, serde.Int64{}, p.Delivery)
}

// joinStream brings the orders of two topics together.
func (p plan) joinStream() {
	join.Streams(p.orders(0), p.orders(1), join.Within[int64, Order, Order]{
		Before: joinReach, After: joinReach, Key: serde.Int64{}, Left: p.Order, Right: p.Order,
	}, join.Inner(func(_ int64, in join.Pair[Order, Order]) Delivery {
		return Delivery{Order: in.Left.ID, Name: in.Right.Product, City: in.Left.Product, Cents: in.Left.Cents + in.Right.Cents, Note: in.Right.Note}
	})).To(p.output, serde.Int64{}, p.Delivery)
}

// rows keeps a wide row of each customer, made of the last order, and writes nothing.
func (p plan) rows() {
	streams.MapValues(p.orders(0), func(key int64, o Order) []byte { return WideRow(key, o.ID) }).
		ToTable(serde.Int64{}, serde.Bytes{}, streams.With{Store: CountStore})
}

// WideRow is the row of a key as the order id has made it: of text that comes again, and of
// digits that do not, by halves, so that it can be compressed as rows usually can.
func WideRow(key, id int64) []byte {
	row := append(make([]byte, 0, 2*WideRowBytes), `{"order":`...)
	row = append(strconv.AppendInt(row, id, 10), `,"customer":`...)
	row = append(strconv.AppendInt(row, key, 10), `,"lines":[`...)
	random := rand.NewPCG(uint64(key), uint64(id))
	for len(row) < WideRowBytes {
		row = append(row, `{"article":"`...)
		row = strconv.AppendUint(strconv.AppendUint(row, random.Uint64(), 16), random.Uint64(), 16)
		row = append(row, `","currency":"EUR","place":"north"},`...)
	}
	return row[:WideRowBytes]
}

// latest keeps the last order of each customer, whole: a state of large rows.
func (p plan) latest() {
	p.grouped().Reduce(func(_, o Order) Order { return o }, p.Order, streams.With{Store: CountStore}).
		ToStream().To(p.output, serde.Int64{}, p.Order)
}
