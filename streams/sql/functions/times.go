package functions

import (
	"time"

	"github.com/tidemill/tidemill/connect"
)

const dateTime = "DATE_TIME"

func timeFunctions() []Function {
	return []Function{
		{Name: "UNIX_TIMESTAMP", Category: dateTime, Doc: "Milliseconds since the epoch: of now, or of a timestamp.", Examples: []Example{{"UNIX_TIMESTAMP(CAST('1970-01-01T00:00:01' AS TIMESTAMP))", "1000"}},
			Variants: []Variant{
				{Returns: of(Bigint), Call: func([]connect.Value) (connect.Value, error) { return connect.Int64(time.Now().UnixMilli()), nil }},
				{Params: params(Timestamp), Returns: of(Bigint), Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }}}},
		{Name: "UNIX_DATE", Category: dateTime, Doc: "Days since the epoch: of today, or of a date.", Examples: []Example{{"UNIX_DATE(CAST('1970-02-01' AS DATE))", "31"}},
			Variants: []Variant{
				{Returns: of(Int), Call: func([]connect.Value) (connect.Value, error) {
					return connect.Int32(int32(time.Now().Unix() / 86400)), nil
				}},
				{Params: params(Date), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }}}},
		{Name: "FROM_UNIXTIME", Category: dateTime, Doc: "The timestamp so many milliseconds after the epoch.", Examples: []Example{{"FROM_UNIXTIME(1000)", `"1970-01-01T00:00:01.000"`}},
			Variants: []Variant{{Params: params(Bigint), Returns: of(Timestamp), Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }}}},
		{Name: "FROM_DAYS", Category: dateTime, Doc: "The date so many days after the epoch.", Examples: []Example{{"FROM_DAYS(31)", `"1970-02-01"`}},
			Variants: []Variant{{Params: params(Int), Returns: of(Date), Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }}}},
	}
}
