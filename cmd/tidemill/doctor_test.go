package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// doctor runs the command and returns its exit code and what it printed.
func doctor(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"doctor"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// found is the diagnosis of one connector as JSON has it.
func found(t *testing.T, args ...string) (codes []string, d diagnosis, exit int) {
	t.Helper()
	exit, out, errs := doctor(t, append(args, "-o", "json")...)
	var answer struct{ Items []diagnosis }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Items) != 1 {
		t.Fatalf("doctor prints %q, and %q as an error", out, errs)
	}
	for _, f := range answer.Items[0].Findings {
		codes = append(codes, f.Code)
	}
	slices.Sort(codes)
	return codes, answer.Items[0], exit
}

func execAll(t *testing.T, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range strings.Split(sql, ";\n") {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// TestDoctorMendsWhatItFinds breaks more than a dozen things, runs the script that
// --sql prints as an administrator would, and finds nothing any more.
func TestDoctorMendsWhatItFinds(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Password: "Sesame-7", Settings: map[string]string{
		"wal_level": "replica", "wal_sender_timeout": "0", "logical_decoding_work_mem": "1MB", "max_replication_slots": "0", "max_wal_senders": "0",
	}})
	execAll(t, pg.DSN("postgres"), `CREATE DATABASE shop`)
	execAll(t, pg.DSN("shop"), `CREATE ROLE "The reader" LOGIN PASSWORD 'Canary-9' CONNECTION LIMIT 3;
CREATE SCHEMA hidden;
CREATE TABLE hidden.a (id int PRIMARY KEY, v text);
CREATE TABLE hidden.nokey (v text);
CREATE TABLE hidden.rules (id int PRIMARY KEY);
ALTER TABLE hidden.rules ENABLE ROW LEVEL SECURITY;
CREATE UNLOGGED TABLE hidden.scratch (id int PRIMARY KEY);
CREATE TABLE hidden."it's ""quoted"" -- really" (id int PRIMARY KEY, secret text);
GRANT SELECT (id) ON hidden."it's ""quoted"" -- really" TO "The reader";
CREATE TABLE hidden.split (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE hidden.split1 PARTITION OF hidden.split FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION shop FOR TABLE hidden.a, hidden.split WITH (publish = 'insert')`)
	t.Setenv("DOCTOR_TEST_PASSWORD", "Canary-9")
	file := filepath.Join(t.TempDir(), "shop.json")
	settings, err := json.Marshal(map[string]any{"name": "shop", "config": map[string]string{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "topic.prefix": "shop", "publication.name": "shop",
		"database.hostname": "127.0.0.1", "database.port": strconv.Itoa(pg.Port()), "database.dbname": "shop",
		"database.user": "The reader", "database.password": "${env:DOCTOR_TEST_PASSWORD}", "schema.include.list": "hidden",
		"table.include.list": `hidden\..*,hidden.scratch`,
	}})
	if err == nil {
		err = os.WriteFile(file, settings, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	codes, _, exit := found(t, file)
	want := []string{
		"pg.decoding_memory", "pg.limit", "pg.limit", "pg.limit.role", "pg.publication.operations", "pg.replica_identity",
		"pg.role.owner", "pg.role.replication", "pg.role.select", "pg.role.statistics", "pg.role.usage", "pg.row_security", "pg.slot_limit", "pg.table.unlogged",
		"pg.wal_level", "pg.wal_sender_timeout",
	}
	if !slices.Equal(codes, want) || exit != 4 {
		t.Errorf("with exit code %d doctor finds\n%v, want\n%v", exit, codes, want)
	}
	for _, args := range [][]string{{file}, {file, "--sql"}, {file, "-o", "json"}} {
		if _, out, errs := doctor(t, args...); strings.Contains(out+errs, "Canary-9") || !strings.Contains(out, "pg.role.select") {
			t.Errorf("doctor %v prints %s%s", args[1:], out, errs)
		}
	}
	_, script, _ := doctor(t, file, "--sql")
	psql := exec.CommandContext(t.Context(), filepath.Join(pg.BinDir(), "psql"), "-X", "-v", "ON_ERROR_STOP=1", pg.DSN("shop"))
	psql.Stdin = strings.NewReader(script)
	if said, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, said, script)
	}
	// As the script says of some of it: then restart the server.
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if codes, d, exit := found(t, file); len(codes) > 0 || exit != 0 {
		t.Errorf("after the script doctor still finds, with exit code %d, %+v", exit, d.Findings)
	}
	if code, out, errs := doctor(t, file); code != 0 || !strings.Contains(out, "0 errors, 0 warnings, 0 notes") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
}

// TestDoctorCannotLook gives it what is no connector, or none of PostgreSQL.
func TestDoctorCannotLook(t *testing.T) {
	t.Parallel()
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const class = `"connector.class":"PostgresSource","topic.prefix":"p","database.user":"u","database.dbname":"d"`
	for name, c := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"no argument":       {nil, 2, "usage"},
		"no file":           {[]string{"nowhere.json"}, 2, "nowhere.json"},
		"no JSON":           {[]string{file("a.json", "{")}, 2, "a.json"},
		"no worker":         {[]string{"shop", "--url", "http://127.0.0.1:1"}, 3, "rest.unreachable"},
		"secret is missing": {[]string{file("b.json", `{`+class+`,"database.hostname":"h","database.password":"${env:DOCTOR_NOT_SET}"}`)}, 2, "DOCTOR_NOT_SET"},
		"another plugin":    {[]string{file("c.json", `{"connector.class":"tidemill.Datagen"}`)}, 0, "nothing to check beyond validate"},
		"wrong settings":    {[]string{file("d.json", `{`+class+`,"publication.autocreate.mode":"filterd"}`)}, 4, "did you mean filtered?"},
		"no server":         {[]string{file("e.properties", "name=e\nconnector.class=PostgresSource\ntopic.prefix=p\ndatabase.user=u\ndatabase.dbname=d\ndatabase.hostname=127.0.0.1\ndatabase.port=1\ndatabase.password=Canary-8\n")}, 4, "pg.unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exit, out, errs := doctor(t, c.args...)
			if exit != c.exit || !strings.Contains(out+errs, c.says) || strings.Contains(out+errs, "Canary") {
				t.Errorf("exit code %d, want %d: %s%s", exit, c.exit, out, errs)
			}
			if c.exit == 4 && name == "no server" && !strings.Contains(out, "config.secret.plain") {
				t.Errorf("the password in the file is not noted: %s", out)
			}
		})
	}
}

// TestDoctorOfARunningConnector has the worker look, which alone knows the password,
// and shows the slot.
func TestDoctorOfARunningConnector(t *testing.T) {
	dsn := devstack.TestPostgres(t)
	execAll(t, dsn, `CREATE TABLE ledger (id bigint PRIMARY KEY);
CREATE TABLE nokey (v text)`)
	c := runDev(t)
	settings := debeziumConfig(t, dsn)
	settings["table.include.list"] = "public.ledger,public.nokey"
	settings["wal.guard.interval.ms"] = "100"
	settings["database.password"] = "Canary-6"
	if err := c.createConnector(t.Context(), "shop", settings); err != nil {
		t.Fatal(err)
	}
	if err := c.waitRunning(timeout(t, time.Minute), "shop"); err != nil {
		t.Fatal(err)
	}
	if err := until(timeout(t, time.Minute), "the slot is shown", func() (bool, error) {
		_, out, _ := doctor(t, "shop", "--url", c.base)
		return strings.Contains(out, "slot of task 0") && strings.Contains(out, "retained_bytes"), nil
	}); err != nil {
		t.Fatal(err)
	}
	codes, d, exit := found(t, "shop", "--url", c.base)
	if exit != 0 || d.State != "RUNNING" || !slices.Contains(codes, "pg.replica_identity") || d.Errors > 0 {
		t.Errorf("with exit code %d doctor finds %+v", exit, d)
	}
	_, script, _ := doctor(t, "shop", "--url", c.base, "--sql")
	if !strings.Contains(script, `ALTER TABLE "public"."nokey" REPLICA IDENTITY FULL;`) || strings.Contains(script, "Canary") {
		t.Error(script)
	}
	if code, _, errs := doctor(t, "nothing", "--url", c.base); code != 2 || !strings.Contains(errs, "doctor.unknown") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
