package streams_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// A table with a history tells which row a key had at a time, also of rows that came out
// of order.
func ExampleView_versions() {
	b := streams.NewBuilder()
	rates := streams.TableFrom(b, "rates", serde.Text{}, serde.Text{}, streams.With{Store: "rates", History: time.Minute})
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
		rate   string
		second int64
	}{{"0.93", 1}, {"0.95", 5}, {"0.94", 3}} {
		if err := local.Put("rates", []byte("EUR"), []byte(r.rate), r.second*1000); err != nil {
			fmt.Println(err)
			return
		}
	}
	err = local.Commit()
	rows, rowsErr := local.Rows("rates")
	if err != nil || rowsErr != nil {
		fmt.Println(err, rowsErr)
		return
	}
	view, ctx := rates.View(rows), context.Background()
	now, _, err := view.Lookup(ctx, "EUR")
	fmt.Println("now", now.Value, err)
	then, _, err := view.LookupAsOf(ctx, "EUR", time.Unix(4, 0))
	fmt.Println("in second 4", then.Value, err)
	err = view.Versions(ctx, "EUR", time.Time{}, time.Unix(3, 0), func(r streams.Record[string, string], until time.Time) error {
		fmt.Printf("%s from second %d until %d\n", r.Value, r.Time/1000, until.Unix())
		return nil
	})
	fmt.Println(err)
	// Output:
	// now 0.95 <nil>
	// in second 4 0.94 <nil>
	// 0.93 from second 1 until 3
	// 0.94 from second 3 until 5
	// <nil>
}
