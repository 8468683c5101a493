package devstack_test

import (
	"context"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestStandby follows a primary, and goes on by itself after it is promoted.
func TestStandby(t *testing.T) {
	primary := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	query(t, primary.DSN("postgres"), "CREATE TABLE a AS SELECT 1 AS x")
	standby := devstack.NewTestStandby(t, primary, devstack.PostgresOptions{})
	query(t, primary.DSN("postgres"), "INSERT INTO a VALUES (2)")
	eventually(t, "the row", func() bool { return query(t, standby.DSN("postgres"), "SELECT count(*) FROM a") == "2" })
	if got := query(t, standby.DSN("postgres"), "SELECT pg_is_in_recovery()"); got != "t" {
		t.Fatal("it is no standby")
	}
	if err := standby.Promote(context.Background()); err != nil {
		t.Fatal(err)
	}
	query(t, standby.DSN("postgres"), "INSERT INTO a VALUES (3)")
	if got := query(t, standby.DSN("postgres"), "SELECT count(*) FROM a"); got != "3" {
		t.Error(got, "rows")
	}
}
