package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// diagnose returns the findings by code, and in their order.
func diagnose(t *testing.T, config connect.Config) (map[string]Finding, []Finding) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := Diagnose(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Finding{}
	for _, f := range list {
		if f.What == "" || f.Severity == "" || strings.Contains(f.What+f.Why+f.mend(), "%!") {
			t.Errorf("an empty finding: %+v", f)
		}
		found[f.Code] = f
	}
	return found, list
}

// codes are the sorted codes of one severity.
func codes(found map[string]Finding, severity string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(found)), func(code string) bool { return found[code].Severity != severity })
}

// mendAll runs the SQL of all findings, in their order.
func (d *testDB) mendAll(list []Finding) {
	d.tb.Helper()
	for _, f := range list {
		for _, sql := range f.SQL {
			d.exec(sql)
		}
	}
}

// TestEveryMissingGrantIsNamedAtOnce takes every subset of the grants away: what is
// found is exactly that subset, and the SQL of the findings gives it back.
func TestEveryMissingGrantIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	role := "grants_" + d.slot
	d.exec("CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY, v text); CREATE TABLE s.b (id int PRIMARY KEY, v text)")
	d.exec("CREATE ROLE " + role + " LOGIN; GRANT CONNECT ON DATABASE " + d.get("SELECT current_database()") + " TO " + role)
	t.Cleanup(func() { d.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
	database := d.get("SELECT current_database()")
	grants := []struct{ code, give, take string }{
		{"pg.role.replication", "ALTER ROLE %r REPLICATION", "ALTER ROLE %r NOREPLICATION"},
		{"pg.role.usage", "GRANT USAGE ON SCHEMA s TO %r", "REVOKE USAGE ON SCHEMA s FROM %r"},
		{"pg.role.select", "GRANT SELECT ON s.a, s.b TO %r", "REVOKE SELECT ON s.a, s.b FROM %r; REVOKE SELECT (id) ON s.b FROM %r"},
		{"pg.role.create", "GRANT CREATE ON DATABASE %d TO %r", "REVOKE CREATE ON DATABASE %d FROM %r"},
		{"pg.role.owner", "GRANT postgres TO %r; ALTER ROLE %r NOINHERIT; REVOKE postgres FROM %r; ALTER ROLE %r INHERIT", ""},
	}
	fill := strings.NewReplacer("%r", role, "%d", database).Replace
	config := d.config("database.user", role, "schema.include.list", "s")
	const owner = 4
	for missing := range 1 << len(grants) {
		d.exec("DROP PUBLICATION IF EXISTS dbz_publication; ALTER TABLE s.a OWNER TO postgres; ALTER TABLE s.b OWNER TO postgres")
		var want []string
		for i, g := range grants {
			switch gone := missing&(1<<i) != 0; {
			case gone:
				want = append(want, g.code)
				d.exec(fill(g.take))
			case i == owner:
				d.exec(fill("ALTER TABLE s.a OWNER TO %r; ALTER TABLE s.b OWNER TO %r"))
			default:
				d.exec(fill(g.give))
			}
		}
		if missing&(1<<owner) == 0 {
			// An owner may read his own tables, unless that was revoked.
			if missing&(1<<2) != 0 {
				d.exec(fill("REVOKE SELECT ON s.a, s.b FROM %r"))
			}
		}
		slices.Sort(want)
		found, list := diagnose(t, config)
		if got := codes(found, severityError); !slices.Equal(got, want) {
			t.Errorf("of %v are named %v", want, got)
		}
		d.mendAll(list)
		if left, _ := diagnose(t, config); len(codes(left, severityError)) > 0 {
			t.Errorf("after mending %v there is still %v", want, left)
		}
	}
}

// TestDiagnoseNamesWhatIsWrong breaks one thing after another in one database: all of
// them are found together, none is an artefact, and the SQL mends those it can.
func TestDiagnoseNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{
		"max_slot_wal_keep_size": "64MB", "wal_sender_timeout": "0", "logical_decoding_work_mem": "1MB", "max_prepared_transactions": "2",
	}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE keyless (v text); CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY); CREATE VIEW seen AS SELECT 1 AS one`)
	d.exec(`CREATE TABLE "Odd ""name" (id int PRIMARY KEY, secret text, open text, q tsquery)`)
	d.exec(`CREATE TABLE split (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE split1 PARTITION OF split FOR VALUES FROM (0) TO (10)`)
	d.exec(`CREATE ROLE reader LOGIN REPLICATION; GRANT SELECT (id, open, q) ON "Odd ""name" TO reader; GRANT SELECT ON keyless, split TO reader; ALTER ROLE reader CONNECTION LIMIT 2`)
	d.exec(`CREATE PUBLICATION dbz_publication FOR TABLE keyless, "Odd ""name", split WITH (publish = 'insert, delete', publish_via_partition_root = false)`)
	config := d.config("database.user", "reader", "table.include.list", `public.keyless,public.scratch,public.seen,public.split,public.Odd "name,public.nothing`,
		"slot.failover", "true", "max.queue.size", "10", "publish.via.partition.root", "true")
	found, list := diagnose(t, config)
	wantErrors := []string{"pg.role.owner", "pg.role.select", "pg.table.kind", "pg.table.missing", "pg.table.unlogged"}
	wantWarnings := []string{"pg.failover.version", "pg.limit.role", "pg.publication.operations", "pg.publication.via_root", "pg.replica_identity",
		"pg.slot_limit.small", "pg.wal_sender_timeout"}
	if got := codes(found, severityError); !slices.Equal(got, wantErrors) {
		t.Errorf("errors: %v", got)
	}
	if got := slices.DeleteFunc(codes(found, severityWarning), func(c string) bool { return c == "pg.type.unknown" }); !slices.Equal(got, wantWarnings) {
		t.Errorf("warnings: %v", got)
	}
	if got := codes(found, severityNote); !slices.Equal(got, []string{"pg.decoding_memory", "pg.role.statistics"}) {
		t.Errorf("notes: %v", got)
	}
	if got := found["pg.role.select"].SQL; !slices.Equal(got, []string{`GRANT SELECT ON "public"."scratch", "public"."split1" TO "reader"`, `GRANT SELECT ("secret") ON "public"."Odd ""name" TO "reader"`}) {
		t.Errorf("the grant is %q", got)
	}
	if got := found["pg.role.owner"].SQL; !slices.Equal(got, []string{`ALTER PUBLICATION "dbz_publication" ADD TABLE "public"."scratch"`}) {
		t.Errorf("what the owner is to run is %q", got)
	}
	d.mendAll(list)
	config["table.include.list"] = `public.keyless,public.scratch,public.split,public.Odd "name`
	config["slot.failover"] = "false"
	config["include.unknown.datatypes"] = "true"
	eventually(t, "the settings are taken up", func() bool { return d.get("SHOW wal_sender_timeout") != "0" })
	if left, _ := diagnose(t, config); len(left) > 0 {
		t.Errorf("after mending there is still %v", left)
	}
}

// TestLongTransactionIsNamed finds sessions and prepared transactions that hold the
// log, by what they are called.
func TestLongTransactionIsNamed(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_prepared_transactions": "2"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec("CREATE TABLE a (id int)")
	side, err := mustSettings(t, d.config()).open(context.Background(), "looker")
	if err != nil {
		t.Fatal(err)
	}
	defer side.close(context.Background())
	oldest := func() *longTransaction {
		found, err := side.oldestTransaction(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := oldest(); got != nil {
		t.Errorf("nobody writes, and %+v is found", got)
	}
	if _, err := d.session().Exec(context.Background(), "SET application_name = 'forgotten'; BEGIN; INSERT INTO a VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if got := oldest(); got == nil || got.Application != "forgotten" || got.PID == 0 || !strings.Contains(got.mend(), "pg_terminate_backend") {
		t.Errorf("found %+v", got)
	}
	d.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forgotten'")
	eventually(t, "it is gone", func() bool { return oldest() == nil })
	d.exec("BEGIN; INSERT INTO a VALUES (2); PREPARE TRANSACTION 'p''1'")
	if got := oldest(); got == nil || got.Prepared != "p'1" || !strings.Contains(got.mend(), "ROLLBACK PREPARED 'p''1'") {
		t.Errorf("found %+v", got)
	}
}

func mustSettings(t *testing.T, config connect.Config) *settings {
	t.Helper()
	set, err := newSettings(config)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestRevokedRightsDoNotStopTheStream takes away what only a snapshot needs, from a
// connector that runs and is started again: it goes on, and the rights are named.
func TestRevokedRightsDoNotStopTheStream(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	role := "revoked_" + d.slot
	d.exec("CREATE ROLE " + role + " LOGIN REPLICATION; CREATE TABLE a (id int PRIMARY KEY); GRANT SELECT ON a TO " + role + "; CREATE PUBLICATION dbz_publication FOR TABLE a")
	t.Cleanup(func() { d.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
	var offsets connecttest.Offsets
	run := d.start(&offsets, "database.user", role)
	d.streaming()
	d.exec("INSERT INTO a VALUES (1)")
	run.Take(1)
	run.Commit()
	d.exec("REVOKE SELECT ON a FROM " + role)
	d.exec("INSERT INTO a VALUES (2)")
	run.Take(1)
	run.Commit()
	run.Stop()
	d.exec("INSERT INTO a VALUES (3)")
	again := d.start(&offsets, "database.user", role)
	if got := after(&again.Take(1)[0], "id").Int(); got != 3 {
		t.Errorf("the row %d comes", got)
	}
	if found, _ := diagnose(t, d.config("database.user", role, "name", "conformance")); found["pg.role.select"].Code == "" {
		t.Errorf("it is not named: %v", found)
	}
	again.Stop()
	d.exec("REVOKE CONNECT ON DATABASE " + d.get("SELECT current_database()") + " FROM PUBLIC")
	found, list := diagnose(t, d.config("database.user", role))
	if f := found["pg.role.connect"]; len(f.SQL) != 1 || len(list) != 1 {
		t.Fatalf("found %v", found)
	}
	d.mendAll(list)
	d.exec("ALTER ROLE " + role + " NOLOGIN")
	found, list = diagnose(t, d.config("database.user", role))
	if f := found["pg.auth"]; len(f.SQL) != 1 {
		t.Fatalf("found %v", found)
	}
	d.mendAll(list)
	if found, _ = diagnose(t, d.config("database.user", role, "snapshot.mode", "no_data", "signal.data.collection", "public.signals")); len(codes(found, severityError)) > 0 || found["pg.signal.table"].Code == "" {
		t.Errorf("after mending there is %v", found)
	}
}
