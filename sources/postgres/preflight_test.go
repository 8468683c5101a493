package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// validate returns the errors of a validation by setting.
func validate(t *testing.T, config connect.Config) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := Plugin()
	values := p.Config.Validate(config)
	p.New().(connect.Validator).Validate(ctx, config, values)
	errs := map[string]string{}
	for name, v := range values {
		if len(v.Errors) > 0 {
			errs[name] = strings.Join(v.Errors, "\n")
		}
	}
	return errs
}

// failure starts a task and returns the error it ends with.
func failure(t *testing.T, config connect.Config, offsets *connecttest.Offsets) *connect.Error {
	t.Helper()
	connector := Plugin().New()
	task := connector.NewTask()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer func() {
		if err := task.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	err := task.Start(ctx, connect.SourceTaskEnv{Connector: "test", Config: config, StoredOffset: offsets.Get, StateDir: t.TempDir()})
	for err == nil || connect.AsError(err).Class == connect.ClassRetriable {
		if ctx.Err() != nil {
			t.Fatal("the task does not fail")
		}
		_, err = task.Poll(ctx)
	}
	return connect.AsError(err)
}

func TestPreflight(t *testing.T) {
	for name, c := range map[string]struct {
		setup   string // SQL; the role of the test is called as the slot.
		config  []string
		key     string
		code    string
		mend    string
		asPlain bool // Log in as a role without rights.
	}{
		"unreachable":     {config: []string{"database.port", "1"}, key: "database.hostname", code: "pg.unreachable", mend: "database.hostname"},
		"unknown user":    {config: []string{"database.user", "nobody_at_all"}, key: "database.user", code: "pg.auth", mend: "database.user"},
		"no database":     {config: []string{"database.dbname", "nowhere"}, key: "database.dbname", code: "pg.database.missing", mend: "database.dbname"},
		"nothing matches": {config: []string{"table.include.list", "public.custmers"}, key: "table.include.list", code: "pg.table.missing", mend: "public.customers"},
		"one is missing":  {config: []string{"table.include.list", "public.customers,public.custmers"}, key: "table.include.list", code: "pg.table.missing", mend: "did you mean public.customers?"},
		"no replication":  {asPlain: true, key: "database.user", code: "pg.role.replication", mend: "ALTER ROLE"},
		"no select": {asPlain: true, setup: "ALTER ROLE %role REPLICATION; CREATE PUBLICATION dbz_publication FOR TABLE customers",
			key: "database.user", code: "pg.role.select", mend: `GRANT SELECT ON "public"."customers" TO`},
		"no create": {asPlain: true, setup: "ALTER ROLE %role REPLICATION; GRANT SELECT ON customers TO %role; ALTER TABLE customers OWNER TO %role",
			key: "database.user", code: "pg.role.create", mend: "GRANT CREATE ON DATABASE"},
		"not the owner": {asPlain: true, setup: "ALTER ROLE %role REPLICATION; GRANT SELECT ON customers TO %role; GRANT CREATE ON DATABASE %db TO %role",
			key: "database.user", code: "pg.role.owner", mend: "CREATE PUBLICATION"},
		"row security": {asPlain: true, setup: `ALTER ROLE %role REPLICATION; GRANT SELECT ON customers TO %role; CREATE PUBLICATION dbz_publication FOR TABLE customers;
			ALTER TABLE customers ENABLE ROW LEVEL SECURITY`, key: "database.user", code: "pg.row_security", mend: "BYPASSRLS"},
		"no publication": {config: []string{"publication.autocreate.mode", "disabled"}, key: "publication.name", code: "pg.publication.missing", mend: `CREATE PUBLICATION "dbz_publication" FOR TABLE "public"."customers"`},
		"publication lacks": {setup: "CREATE TABLE o (id int PRIMARY KEY); CREATE PUBLICATION dbz_publication FOR TABLE o", config: []string{"publication.autocreate.mode", "disabled"},
			key: "publication.name", code: "pg.publication.tables", mend: "ALTER PUBLICATION"},
		"foreign slot": {setup: "SELECT pg_create_logical_replication_slot('%slot', 'test_decoding')", key: "slot.name", code: "pg.slot.plugin", mend: "pg_drop_replication_slot"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDB(t)
			d.exec(`CREATE TABLE customers (id int PRIMARY KEY)`)
			role := "role_" + d.slot
			fill := strings.NewReplacer("%role", role, "%slot", d.slot, "%db", d.get("SELECT current_database()")).Replace
			config := d.config(c.config...)
			if c.asPlain {
				d.exec("CREATE ROLE " + role + " LOGIN")
				t.Cleanup(func() { d.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
				config["database.user"] = role
			}
			if c.setup != "" {
				d.exec(fill(c.setup))
			}
			publications := d.get("SELECT count(*) FROM pg_publication")
			errs := validate(t, config)
			if !strings.Contains(errs[c.key], c.code) || !strings.Contains(errs[c.key], c.mend) || len(errs) != 1 {
				t.Errorf("validation says %v", errs)
			}
			if err := failure(t, config, &connecttest.Offsets{}); err.Code != c.code || !strings.Contains(err.Mend, c.mend) {
				t.Errorf("the task fails with %v", err)
			}
			if now := d.get("SELECT count(*) FROM pg_publication"); now != publications {
				t.Error("a publication was left behind")
			}
			if c.code != "pg.slot.plugin" && d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", d.slot) != "0" {
				t.Error("a slot was left behind")
			}
		})
	}
}

func TestWalLevelAndLimits(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "0"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	errs := validate(t, d.config())
	if !strings.Contains(errs["database.hostname"], "ALTER SYSTEM SET wal_level = logical") || !strings.Contains(errs["slot.name"], "pg.limit") {
		t.Error(errs)
	}
	if err := failure(t, d.config(), &connecttest.Offsets{}); err.Code != "pg.wal_level" {
		t.Error(err)
	}
}

func TestSlotTrouble(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	var offsets connecttest.Offsets
	run := d.start(&offsets)
	d.streaming()
	d.exec(`INSERT INTO a VALUES (1, 'x')`)
	run.Take(1)
	run.Commit()
	if errs := validate(t, d.config("name", "another")); !strings.Contains(errs["slot.name"], "pg.slot.in_use") {
		t.Error(errs)
	}
	if errs := validate(t, d.config("name", "conformance")); len(errs) != 0 {
		t.Error("a running connector does not pass its own validation:", errs)
	}
	second := failure(t, d.config("slot.max.retries", "1", "slot.retry.delay.ms", "300", "topic.prefix", "other"), &connecttest.Offsets{})
	if second.Code != "pg.slot.in_use" {
		t.Error(second)
	}
	run.Stop()
	eventually(t, "the slot is free", func() bool {
		return d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active", d.slot) == "0"
	})

	d.exec(`INSERT INTO a VALUES (2, 'lost')`)
	d.exec(`SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())`, d.slot)
	if err := failure(t, d.config(), &offsets); err.Code != "pg.slot.ahead" || !strings.Contains(err.Message, " bytes)") {
		t.Error(err)
	}
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	if err := failure(t, d.config(), &offsets); err.Code != "pg.slot.missing" || !strings.Contains(err.Mend, "POST /connectors/test/remedies/resnapshot ") {
		t.Error(err)
	}
	again := d.start(&offsets, "snapshot.mode", "when_needed")
	expectBrief(t, again.Take(2), `a r {"id":1} null {"id":1,"v":"x"}`, `a r {"id":2} null {"id":2,"v":"lost"}`)
	again.Stop()

	p, _ := partition("shop")
	offsets.Put(p, []byte(`{"lsn":999999999999999,"lsn_commit":999999999999999,"lsn_proc":999999999999999,"ts_usec":1}`))
	if err := failure(t, d.config(), &offsets); err.Code != "pg.history.ahead" {
		t.Error(err)
	}
	offsets.Put(p, []byte(`{"lsn":1,"lsn_commit":1,"ts_usec":1,"system_id":"1","timeline":1,"slot":"x"}`))
	if err := failure(t, d.config(), &offsets); err.Code != "pg.history.system" {
		t.Error(err)
	}
}

func TestLostSlot(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int, v text); CREATE TABLE busy (v text)`)
	var offsets connecttest.Offsets
	run := d.start(&offsets, "table.include.list", "public.a")
	d.streaming()
	d.exec(`INSERT INTO a VALUES (1, 'x')`)
	run.Take(1)
	run.Commit()
	run.Stop()
	for range 6 {
		d.exec(`INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 20000); SELECT pg_switch_wal(); CHECKPOINT`)
	}
	if got := d.get("SELECT wal_status FROM pg_replication_slots"); got != "lost" {
		t.Fatalf("the slot is %s", got)
	}
	if err := failure(t, d.config("table.include.list", "public.a"), &offsets); err.Code != "pg.slot.lost" || !strings.Contains(err.Mend, "/remedies/accept-gap ") {
		t.Error(err)
	}
	again := d.start(&offsets, "table.include.list", "public.a", "snapshot.mode", "when_needed")
	expectBrief(t, again.Take(1), `a r null null {"id":1,"v":"x"}`)
}

// TestStopWhileTheSlotWaits stops a task whose slot waits for a transaction: soon,
// and nothing is left on the server.
func TestStopWhileTheSlotWaits(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	open := d.session()
	if _, err := open.Exec(context.Background(), `BEGIN; INSERT INTO a VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	run := d.start(&connecttest.Offsets{})
	eventually(t, "the slot waits", func() bool {
		return d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", d.slot) == "1"
	})
	for told := false; !told; {
		_, err := run.Task.Poll(context.Background())
		if e := connect.AsError(err); e != nil {
			told = e.Code == "pg.slot.waiting" && strings.Contains(e.Message, "has not ended") && strings.Contains(e.Mend, "pg_terminate_backend(")
			if !told {
				t.Fatal(err)
			}
		}
	}
	run.Stop() // Which does not wait for the transaction.
	if _, err := open.Exec(context.Background(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() bool {
		return d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", d.slot) == "0" && d.get("SELECT count(*) FROM pg_publication") == "0"
	})
}

// TestPublicationMissingWhereTheLogIsRead drops the publication and makes it anew:
// what was written in between cannot be decoded, and trying again does not help.
func TestPublicationMissingWhereTheLogIsRead(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	var offsets connecttest.Offsets
	run := d.start(&offsets)
	d.streaming()
	d.exec(`INSERT INTO a VALUES (1)`)
	run.Take(1)
	run.Commit()
	run.Stop()
	d.exec(`DROP PUBLICATION dbz_publication`)
	d.exec(`INSERT INTO a VALUES (2)`)
	if err := failure(t, d.config("retriable.restart.connector.wait.ms", "500"), &offsets); err.Code != "pg.publication.missing_at_lsn" {
		t.Error(err)
	}
}

func TestRefusedSettingsAreNamed(t *testing.T) {
	for name, value := range map[string]string{
		"signal.data.collection": "signals", "signal.enabled.channels": "smoke", "notification.enabled.channels": "pigeon", "converters": "isbn", "plugin.name": "wal2json", "snapshot.mode": "custom",
		"topic.naming.strategy": "io.debezium.schema.DefaultRegexTopicNamingStrategy", "time.precision.mode": "seconds",
		"column.mask.hash.ROT13.with.salt.x": "public.a.b", "table.include.list": "(", "message.key.columns": "a", "skipped.operations": "x",
		"slot.name": "Not-Legal", "tabel.include.list": "x", "topic.prefix": "a b",
	} {
		config := testConfig(name, value)
		_, err := newSettings(config)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	unchanged := testConfig("connector.class", "io.debezium.connector.postgresql.PostgresConnector", "tasks.max", "1", "plugin.name", "pgoutput",
		"key.converter", "io.confluent.connect.avro.AvroConverter", "key.converter.schema.registry.url", "http://r", "transforms", "unwrap",
		"transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState", "snapshot.mode", "initial", "errors.tolerance", "all",
		"topic.creation.default.partitions", "3", "database.tcpKeepAlive", "true", "snapshot.fetch.size", "2000", "schema.refresh.mode", "columns_diff",
		"producer.override.linger.ms", "5", "publication.autocreate.mode", "filtered", "heartbeat.interval.ms", "10000", "driver.socketTimeout", "30", "signal.enabled.channels", "source")
	if _, err := newSettings(unchanged); err != nil {
		t.Error(err)
	}
}

func TestAlterOffsets(t *testing.T) {
	c := Plugin().New().(connect.OffsetAlterer)
	own, _ := partition("shop")
	other, _ := partition("other")
	for text, good := range map[string]bool{`{"lsn":5,"lsn_commit":5}`: true, `null`: true, `{}`: false, `{"lsn":"x"}`: false} {
		if _, err := c.AlterOffsets(context.Background(), testConfig(), map[connect.SourcePartition][]byte{own: []byte(text)}); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := c.AlterOffsets(context.Background(), testConfig(), map[connect.SourcePartition][]byte{other: []byte(`null`)}); err == nil {
		t.Error("the partition of another connector was accepted")
	}
}
