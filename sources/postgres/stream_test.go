package postgres

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func TestSnapshotThenStream(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, city text)`)
	d.exec(`INSERT INTO customers (name, city) VALUES ('Ada', 'Bern'), ('Bob', NULL), ('Cid', 'Basel')`)
	run := d.start(&connecttest.Offsets{}, "table.include.list", "public.customers")
	records := run.Take(3)
	expectBrief(t, records,
		`customers r {"id":1} null {"id":1,"name":"Ada","city":"Bern"}`,
		`customers r {"id":2} null {"id":2,"name":"Bob","city":null}`,
		`customers r {"id":3} null {"id":3,"name":"Cid","city":"Basel"}`)
	for i, want := range []string{"first", "true", "last"} {
		if got := source(&records[i], "snapshot").Str(); got != want {
			t.Errorf("record %d is marked %s, want %s", i, got, want)
		}
	}
	if records[0].Topic != "shop.public.customers" || records[0].ValueSchema.Name() != "shop.public.customers.Envelope" || records[0].KeySchema.Name() != "shop.public.customers.Key" {
		t.Errorf("%s %s %s", records[0].Topic, records[0].ValueSchema, records[0].KeySchema)
	}
	d.exec(`INSERT INTO customers (name) VALUES ('Dan')`)
	d.exec(`UPDATE customers SET city = 'Bonn' WHERE id = 4`)
	d.exec(`UPDATE customers SET id = 40 WHERE id = 4`)
	d.exec(`DELETE FROM customers WHERE id = 1`)
	records = run.Take(7)
	expectBrief(t, records,
		`customers c {"id":4} null {"id":4,"name":"Dan","city":null}`,
		`customers u {"id":4} null {"id":4,"name":"Dan","city":"Bonn"}`,
		`customers d {"id":4} {"id":4,"name":null,"city":null} null __debezium.newkey={"id":40}`,
		`customers  {"id":4}`,
		`customers c {"id":40} null {"id":40,"name":"Dan","city":"Bonn"} __debezium.oldkey={"id":4}`,
		`customers d {"id":1} {"id":1,"name":null,"city":null} null`,
		`customers  {"id":1}`)
	for i, want := range []connect.Boundary{1, 1, 0, 0, 1, 0, 1} {
		if records[i].Boundary != want {
			t.Errorf("record %d has the boundary %d, want %d", i, records[i].Boundary, want)
		}
	}
	if records[0].ValueSchema != records[1].ValueSchema {
		t.Error("two rows of one table have two schemas")
	}
}
