package storm

import "strings"

// Names of tables as events have them.
const (
	TableAccounts = "public.acct"
	TableManifest = "public.manifest"
	TableMessages = "message" // Logical messages are events of no table.
)

// Publication is the name of the publication that [Storm.Setup] makes, of all tables.
const Publication = "storm"

// CreatePublication is the statement that makes it.
const CreatePublication = "CREATE PUBLICATION " + Publication + " FOR ALL TABLES WITH (publish_via_partition_root = true)"

// Kinds of manifests that speak of more than a template.
const (
	KindSetup = "setup" // The first rows: the sum of the accounts begins with them.
	KindFinal = "final"
)

// table is one table of the storm: as events name it, quoted, and its key.
type table struct {
	event, sql string
	key        []string
}

// tables are those that are there from the beginning, under short names. Others,
// extra_N, come and go.
func tables() map[string]table {
	return map[string]table{
		"acct":     {TableAccounts, "acct", []string{"id"}},
		"xfer":     {"public.xfer", "xfer", []string{"id"}},
		"nokey":    {"public.nokey", "nokey", nil},
		"mix":      {`public.Mix é"d "T"`, `"Mix é""d ""T"""`, []string{"Key"}},
		"part":     {"public.part", "part", []string{"id"}},
		"side":     {"public.side", "side", []string{"id"}},
		"big":      {"public.big", "big", []string{"id"}},
		"manifest": {TableManifest, "manifest", []string{"txid"}},
		"ddl_log":  {"public.ddl_log", "ddl_log", []string{"seq"}},
	}
}

// tableOf returns a table by its short name.
func tableOf(name string) table {
	if t, ok := tables()[name]; ok {
		return t
	}
	return table{"public." + name, name, []string{"id"}}
}

// KeyOf returns the key columns of a table as events name it, none for one without a
// key.
func KeyOf(event string) []string {
	for _, t := range tables() {
		if t.event == event {
			return t.key
		}
	}
	return []string{"id"}
}

// RootOf returns the table as which events of a partition come: itself, for other tables.
func RootOf(event string) string {
	if strings.HasPrefix(event, "public.part_") {
		return "public.part"
	}
	return event
}

// schemaSQL makes the tables. Large values of accounts are always kept apart, so that the
// log repeats them only when they change.
const schemaSQL = `
CREATE TABLE acct (id int PRIMARY KEY, bal bigint NOT NULL, pad text, _v int NOT NULL DEFAULT 0);
ALTER TABLE acct ALTER pad SET STORAGE EXTERNAL;
CREATE SEQUENCE acct_ids START 1000000;
CREATE TABLE xfer (id bigserial PRIMARY KEY, txid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint, a int, b int, amt bigint, note text);
CREATE TABLE nokey (x int, y text);
ALTER TABLE nokey REPLICA IDENTITY FULL;
CREATE TYPE mood AS ENUM ('m0', 'm1');
CREATE TABLE "Mix é""d ""T""" ("Key" uuid PRIMARY KEY, "päy load" jsonb, arr int[], n numeric, ts timestamp, mood mood, ok boolean, raw bytea, f float8);
CREATE TABLE part (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES FROM (0) TO (1000);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1000) TO (2000);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (2000) TO (3000);
CREATE TABLE part_3 PARTITION OF part FOR VALUES FROM (3000) TO (4000);
CREATE TABLE side (id int PRIMARY KEY, v text);
CREATE SEQUENCE side_ids;
CREATE TABLE big (id bigserial PRIMARY KEY, v text);
CREATE TABLE manifest (txid bigint PRIMARY KEY, n int NOT NULL, h text NOT NULL, s text NOT NULL, kind text NOT NULL, at text NOT NULL);
CREATE TABLE ddl_log (seq bigserial PRIMARY KEY, txid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint, sql text NOT NULL, cols jsonb);
CREATE SEQUENCE ddl_names;
` + CreatePublication
