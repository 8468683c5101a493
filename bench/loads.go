package main

import (
	"fmt"
	"strings"
)

// loadTable is the table of most measurements: ten columns of common types, about 220
// bytes a row as text.
const loadTable = `
CREATE TABLE load (
  id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, quantity int NOT NULL, paid boolean NOT NULL,
  created timestamp(6) NOT NULL, name varchar(40) NOT NULL, email text NOT NULL, city text, note text);
CREATE PUBLICATION bench FOR ALL TABLES;`

// load is something that is written to the log once, and then streamed again and again.
type load struct {
	name, what string
	tables     []string // Without their schema, which is public.
	changes    int
	// before runs before the first change counts, write makes the changes; or a program
	// of PostgreSQL's does, whose command line gets the server's address.
	before, write []string
	tool          []string
}

// included is the load's list of tables as a connector wants it.
func (l load) included() string {
	if len(l.tables) > 10 {
		return `public\.` + strings.TrimRight(l.tables[0], "0123456789") + `.*`
	}
	all := make([]string, len(l.tables))
	for i, t := range l.tables {
		all[i] = "public." + t
	}
	return strings.Join(all, ",")
}

// rounds is how often the load is measured: once when most of the time goes into making
// a thousand topics.
func (l load) rounds(o options) int {
	if len(l.tables) == manyTables {
		return 1
	}
	return o.rounds
}

// topics are those the load's records go to.
func (l load) topics(prefix string) []string {
	all := make([]string, len(l.tables))
	for i, t := range l.tables {
		all[i] = prefix + ".public." + t
	}
	return all
}

// inTransactions returns statements that run sql, which speaks of the rows from "at" to
// "upto", for all rows in transactions of so many.
func inTransactions(sql string, rows, size int) []string {
	return []string{fmt.Sprintf(`CREATE OR REPLACE PROCEDURE step(total bigint, size bigint) LANGUAGE plpgsql AS $$
DECLARE at bigint := 1; upto bigint;
BEGIN
  WHILE at <= total LOOP
    upto := least(at + size - 1, total);
    %s;
    COMMIT;
    at := upto + 1;
  END LOOP;
END $$`, sql), fmt.Sprintf("CALL step(%d, %d)", rows, size)}
}

const insertLoad = `INSERT INTO load SELECT g, g % 5000, (g % 100000) / 100.0, g % 7, g % 3 = 0, timestamp '2026-01-01' + g * interval '1 s',
      'customer ' || g, 'customer' || g || '@example.com', CASE WHEN g % 5 = 0 THEN NULL ELSE 'city ' || g % 100 END,
      CASE WHEN g = total THEN '` + lastRow + `' ELSE repeat('n', 90) END
      FROM generate_series(at, upto) g`

// fill returns statements that fill the table with rows, for loads that change them.
func fill(rows int) []string {
	return append([]string{"TRUNCATE load"}, inTransactions(insertLoad, rows, 50_000)...)
}

// inserts is rows of ten columns in transactions of the given size.
func inserts(rows, size int) load {
	return load{
		name: "tx" + fmt.Sprint(size), what: fmt.Sprintf("inserts of about 220 bytes, transactions of %s", plural(size, "row")),
		tables: []string{"load"}, changes: rows, before: []string{"TRUNCATE load"}, write: inTransactions(insertLoad, rows, size),
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(fmt.Sprint(n)) + " " + what + "s"
}

// updates changes one column of each row; the key is the replica identity.
func updates(rows int) load {
	return load{
		name: "update", what: "updates of one column of ten, transactions of 1,000 rows",
		tables: []string{"load"}, changes: rows, before: fill(rows),
		write: inTransactions("UPDATE load SET quantity = quantity + 1 WHERE id BETWEEN at AND upto", rows, 1000),
	}
}

// pgbench is PostgreSQL's own benchmark: four changes of four tables in a transaction,
// from two clients at a time.
func pgbench(transactions int) load {
	const clients = 2
	each := max(1, transactions/clients)
	return load{
		name: "pgbench", what: "pgbench's own script, transactions of 4 changes in 4 tables",
		tables:  []string{"pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"},
		changes: each * clients * 4,
		before: []string{
			"CREATE TABLE IF NOT EXISTS pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88))",
			"CREATE TABLE IF NOT EXISTS pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84))",
			"CREATE TABLE IF NOT EXISTS pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84))",
			"CREATE TABLE IF NOT EXISTS pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
			"TRUNCATE pgbench_branches, pgbench_tellers, pgbench_accounts, pgbench_history",
			"INSERT INTO pgbench_branches SELECT g, 0 FROM generate_series(1, 10) g",
			"INSERT INTO pgbench_tellers SELECT g, (g - 1) / 10 + 1, 0 FROM generate_series(1, 100) g",
			"INSERT INTO pgbench_accounts SELECT g, (g - 1) / 100000 + 1, 0, '' FROM generate_series(1, 1000000) g",
			"VACUUM ANALYZE pgbench_accounts",
		},
		tool: []string{"pgbench", "-n", "-M", "prepared", "-s", "10", "-c", fmt.Sprint(clients), "-j", "1", "-t", fmt.Sprint(each)},
	}
}

// wide is rows of a hundred columns.
func wide(rows int) load {
	var columns, values []string
	for i := range 99 {
		kind := []struct{ typ, value string }{
			{"int", "g %% 1000 + %d"}, {"text", "'value ' || g + %d"}, {"numeric(12,2)", "(g %% 1000) / 100.0 + %d"},
			{"timestamp", "timestamp '2026-01-01' + (g + %d) * interval '1 s'"}, {"boolean", "(g + %d) %% 2 = 0"},
		}[i%5]
		columns = append(columns, fmt.Sprintf("c%d %s", i+1, kind.typ))
		values = append(values, fmt.Sprintf(kind.value, i))
	}
	return load{
		name: "wide", what: "inserts of 100 columns, about 1 kB, transactions of 1,000 rows",
		tables: []string{"wide"}, changes: rows,
		before: []string{"CREATE TABLE IF NOT EXISTS wide (id bigint PRIMARY KEY, " + strings.Join(columns, ", ") + ")", "TRUNCATE wide"},
		write:  inTransactions("INSERT INTO wide SELECT g, "+strings.Join(values, ", ")+" FROM generate_series(at, upto) g", rows, 1000),
	}
}

// toastTable has a column whose values are kept outside the row, uncompressed.
var toastTable = []string{
	"CREATE TABLE IF NOT EXISTS toasted (id bigint PRIMARY KEY, n int NOT NULL, body text NOT NULL)",
	"ALTER TABLE toasted ALTER body SET STORAGE EXTERNAL", "TRUNCATE toasted",
}

const insertToast = "INSERT INTO toasted SELECT g, 0, repeat(md5(g::text), 256) FROM generate_series(at, upto) g"

// large is rows with a value of 8 KiB.
func large(rows int) load {
	return load{
		name: "toast", what: "inserts with a value of 8 KiB, transactions of 100 rows",
		tables: []string{"toasted"}, changes: rows, before: toastTable, write: inTransactions(insertToast, rows, 100),
	}
}

// untouched changes rows whose large value stays, which the log then leaves out.
func untouched(rows int) load {
	return load{
		name: "toast_unchanged", what: "updates of rows whose 8 KiB value stays as it is, transactions of 100 rows",
		tables: []string{"toasted"}, changes: rows, before: append(append([]string{}, toastTable...), inTransactions(insertToast, rows, 1000)...),
		write: inTransactions("UPDATE toasted SET n = n + 1 WHERE id BETWEEN at AND upto", rows, 100),
	}
}

// manyTables is how many tables the measurements of many tables have.
const manyTables = 1000

// createMany makes the tables, with rows in each.
func createMany(rows int) []string {
	return []string{fmt.Sprintf(`DO $$ BEGIN
  FOR i IN 0..%d LOOP
    EXECUTE format('DROP TABLE IF EXISTS many%%s', i);
    EXECUTE format('CREATE TABLE many%%s (id bigint PRIMARY KEY, n int, name text, at timestamp)', i);
    EXECUTE format('INSERT INTO many%%s SELECT g, g, ''row '' || g, now() FROM generate_series(1, %d) g', i);
  END LOOP;
END $$`, manyTables-1, rows)}
}

func manyNames() []string {
	all := make([]string, manyTables)
	for i := range all {
		all[i] = fmt.Sprintf("many%d", i)
	}
	return all
}

// across changes 1,000 tables in turn.
func across(rows int) load {
	passes := max(1, rows/manyTables/10)
	return load{
		name: "tables1000", what: "inserts into 1,000 tables in turn, transactions of 10 rows of one table; the making of topics and schemas included",
		tables: manyNames(), changes: passes * manyTables * 10, before: createMany(0),
		write: []string{fmt.Sprintf(`DO $$ BEGIN
  FOR pass IN 0..%d LOOP
    FOR i IN 0..%d LOOP
      EXECUTE format('INSERT INTO many%%s SELECT g, g, ''row '' || g, now() FROM generate_series(%%s, %%s) g', i, pass * 10 + 1, pass * 10 + 10);
      COMMIT;
    END LOOP;
  END LOOP;
END $$`, passes-1, manyTables-1)},
	}
}
