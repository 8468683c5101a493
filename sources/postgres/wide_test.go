package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestTableOfAllColumnsThereCanBe has as many columns as PostgreSQL allows, with long
// names: its rows come, and its shape costs no more than its size.
func TestTableOfAllColumnsThereCanBe(t *testing.T) {
	t.Parallel()
	const columns = 1600
	d := newTestDB(t)
	names := make([]string, columns)
	for i := range names {
		names[i] = fmt.Sprintf(`"Spalte ""%d"" é %s" int`, i, strings.Repeat("x", 30))
	}
	d.exec(`CREATE TABLE wide (` + strings.Join(names, ", ") + `, PRIMARY KEY ("Spalte ""0"" é ` + strings.Repeat("x", 30) + `"))`)
	d.exec(`INSERT INTO wide VALUES (1, 2)`)
	run := d.start(&connecttest.Offsets{})
	records := run.Take(1)
	d.streaming()
	for i := range 20 {
		d.exec(`INSERT INTO wide VALUES ($1, 3)`, 10+i)
		// Each change of shape, here of a default, makes the server tell it anew.
		d.exec(fmt.Sprintf(`ALTER TABLE wide ALTER %s SET DEFAULT %d`, strings.TrimSuffix(names[1], " int"), i))
	}
	records = append(records, run.Take(20)...)
	for i := range records {
		after := records[i].Value.Struct().Get("after").Struct()
		if n := len(after.Schema().Fields()); n != columns {
			t.Fatalf("record %d has %d fields", i, n)
		}
		if err := records[i].ValueSchema.Check(records[i].Value); err != nil {
			t.Error(err)
		}
	}
	if got := records[20].Value.Struct().Get("after").Struct().At(1).Int(); got != 3 {
		t.Error(got)
	}
}
