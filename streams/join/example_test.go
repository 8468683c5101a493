package join_test

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
)

// The row that counts is that of the order's time, though it came after the order.
func ExampleStreamTable_grace() {
	b := streams.NewBuilder()
	rates := streams.TableFrom(b, "rates", text{}, text{}, streams.With{History: time.Minute})
	join.StreamTable(streams.From(b, "orders", text{}, text{}), rates, join.Inner(func(_ string, p join.Pair[string, string]) string {
		return p.Left + " at " + p.Right
	}), text{}, streams.With{Grace: 3 * time.Second}).To("out", text{}, text{})
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	local, err := streams.NewLocal(topology, "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range []struct {
		topic, value string
		second       int64
	}{
		{"rates", "0.93", 1}, {"rates", "0.95", 5}, {"orders", "pen", 4}, {"rates", "0.94", 3}, {"orders", "ink", 6}, {"orders", "pad", 9},
	} {
		err := local.Put(r.topic, []byte("EUR"), []byte(r.value), r.second*1000)
		if err == nil {
			err = local.Commit()
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	for _, r := range local.Take("out") {
		fmt.Printf("%s, of second %d\n", r.Value, r.Timestamp.Unix())
	}
	// Output:
	// pen at 0.94, of second 4
	// ink at 0.95, of second 6
}

// run puts records into topics, as "topic key value" in steps of a second, and prints
// what comes out.
func run(b *streams.Builder, records ...[3]string) {
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	local, err := streams.NewLocal(topology, "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, r := range records {
		if r[0] == "" {
			continue // A second in which nothing happens.
		}
		err := local.Put(r[0], []byte(r[1]), []byte(r[2]), int64(i)*1000)
		if err == nil {
			err = local.Commit()
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	for _, r := range local.Take("out") {
		fmt.Printf("%s: %s\n", r.Key, r.Value)
	}
}

// Orders, by customer, are given the customer's city.
func ExampleStreamTable() {
	b := streams.NewBuilder()
	cities := streams.TableFrom(b, "cities", text{}, text{})
	orders := streams.From(b, "orders", text{}, text{})
	join.StreamTable(orders, cities, join.Left(func(_ string, p pair) string {
		if !p.HasRight {
			return p.Left + " to nowhere"
		}
		return p.Left + " to " + p.Right
	}), text{}).To("out", text{}, text{})
	run(b, [3]string{"orders", "ada", "tea"}, [3]string{"cities", "ada", "Basel"}, [3]string{"orders", "ada", "milk"})
	// Output:
	// ada: tea to nowhere
	// ada: milk to Basel
}

// Each order is given the name of its product, from a table that every process has.
func ExampleGlobal() {
	b := streams.NewBuilder()
	products := streams.GlobalFrom(b, "products", text{}, text{})
	orders := streams.From(b, "orders", text{}, text{})
	product := func(_, number string) (string, bool) { return number, number != "" }
	join.Global(orders, products, product, join.Inner(func(_ string, p pair) string { return p.Right })).To("out", text{}, text{})
	run(b, [3]string{"products", "7", "tea"}, [3]string{"orders", "ada", "7"}, [3]string{"orders", "bob", "8"})
	// Output:
	// ada: tea
}

// A payment belongs to an order of the same key that is at most five seconds older.
func ExampleStreams() {
	b := streams.NewBuilder()
	orders, payments := streams.From(b, "orders", text{}, text{}), streams.From(b, "payments", text{}, text{})
	soon := join.Within[string, string, string]{After: 5 * time.Second, Key: text{}, Left: text{}, Right: text{}}
	join.Streams(orders, payments, soon, join.Left(func(_ string, p pair) string {
		if !p.HasRight {
			return p.Left + " is not paid"
		}
		return p.Left + " is paid by " + p.Right
	})).To("out", text{}, text{})
	run(b, [3]string{"orders", "1", "tea"}, [3]string{"orders", "2", "milk"}, [3]string{"payments", "1", "card"},
		[3]string{}, [3]string{}, [3]string{}, [3]string{}, [3]string{"orders", "3", "rice"})
	// Output:
	// 1: tea is paid by card
	// 2: milk is not paid
}

// A shop has a city's name as long as the city has it.
func ExampleForeignKey() {
	b := streams.NewBuilder()
	shops, cities := streams.TableFrom(b, "shops", text{}, text{}), streams.TableFrom(b, "cities", text{}, text{})
	city := func(_, row string) (string, bool) { return row, row != "" }
	join.ForeignKey(shops, join.On(cities, city), join.Inner(func(_ string, p pair) string { return "in " + p.Right }), text{}).
		ToStream().To("out", text{}, text{})
	run(b, [3]string{"shops", "Globe", "LDN"}, [3]string{"cities", "LDN", "Londinium"}, [3]string{"cities", "LDN", "London"})
	// Output:
	// Globe: in Londinium
	// Globe: in London
}
