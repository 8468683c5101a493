// Package cogroup aggregates several grouped streams, of different types, into one
// table: one store for all of them, and no join.
//
//	baskets := cogroup.Together(
//		cogroup.Of(orders, func(_ string, o Order, b Basket) Basket { return b.WithOrder(o) }),
//		cogroup.Of(refunds, func(_ string, r Refund, b Basket) Basket { return b.WithRefund(r) }),
//	)
//	table := streams.Aggregate(baskets, cogroup.From(func() Basket { return Basket{} }), serde.JSON[Basket]{})
//
// What [Together] returns is a group like any other, of a kind of value that only an
// aggregate can use: how it changes the aggregate. [Windowed] aggregates it over windows:
//
//	perDay := cogroup.Windowed(baskets, window.Tumbling(24*time.Hour), cogroup.Windows[string, Basket]{
//		Init: func() Basket { return Basket{} },
//	}, serde.JSON[Basket]{})
//
// The topics of all inputs have the same number of partitions.
package cogroup
