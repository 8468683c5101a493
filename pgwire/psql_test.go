package pgwire_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// psql runs PostgreSQL's own client with its environment, and returns all it says.
func psql(t *testing.T, env []string, args ...string) string {
	t.Helper()
	dir, _, err := devstack.FindPostgres(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "psql"), append([]string{"-X", "-w"}, args...)...)
	cmd.Env = append(append(os.Environ(), "PGCONNECT_TIMEOUT=20", "PGUSER=ann", "PGDATABASE=shop", "LC_ALL=C.UTF-8"), env...)
	out, _ := cmd.CombinedOutput() // What it says is looked at, also when it fails.
	return string(out)
}

// orders are statements that derive a table.
const orders = `CREATE STREAM orders (id INT KEY, city STRING, price DOUBLE) WITH (KAFKA_TOPIC='pgwire_orders', FORMAT='JSON', PARTITIONS=1);
	CREATE TABLE cities AS SELECT city, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY city EMIT CHANGES;
	INSERT INTO orders VALUES (1, 'Basel', 2.5); INSERT INTO orders VALUES (2, 'Bern', 1); INSERT INTO orders VALUES (3, 'Basel', 1);`

// eventually asks until the answer is what it should be.
func eventually(t *testing.T, want string, ask func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := ask()
		if got == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		case <-tick.C:
		}
	}
}

// A table is derived and asked for with psql.
func TestPsql(t *testing.T) {
	host, port := serve(t, options(t, openEngine(t), nil))
	ask := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(psql(t, nil, append([]string{"-h", host, "-p", port}, args...)...))
	}
	if got := ask("-c", orders); !strings.HasPrefix(got, "NOTICE:  Stream created") || !strings.Contains(got, "CREATE TABLE") || !strings.HasSuffix(got, "INSERT 0 1") {
		t.Fatal(got)
	}
	eventually(t, "Basel|2|3.5\nBern|1|1", func() string { return ask("-At", "-c", "SELECT * FROM cities ORDER BY city LIMIT 10") })
	for _, c := range []struct{ statement, want string }{
		{"SELECT city, total FROM cities WHERE n > 1 ORDER BY total DESC LIMIT 1", "Basel|3.5"},
		{"SELECT COUNT(*) AS n FROM cities; SELECT city FROM cities WHERE city = 'Bern'", "2\nBern"},
		{"SHOW TABLES", "CITIES|CITIES|JSON|JSON"},
		{"SHOW server_encoding", "UTF8"},
		{"SELECT 1", "1"},
		{"SELECT version()", "PostgreSQL 15.0 (tidemill test)"},
		{"SELECT current_database(), 'it''s; so' AS x", "shop|it's; so"},
		{"BEGIN; SELECT n FROM cities WHERE city = 'Bern'; COMMIT", "BEGIN\n1\nCOMMIT"},
		{"SET search_path TO public", "SET"},
		{"SET 'auto.offset.reset' = 'earliest'; SELECT city FROM orders EMIT CHANGES LIMIT 2", "SET\nBasel\nBern"},
		{"COPY (SELECT city, CAST(NULL AS INT), 'a\t\\' FROM cities ORDER BY city) TO STDOUT", "Basel\t\\N\ta\\t\\\\\nBern\t\\N\ta\\t\\\\"},
		{"COPY (SELECT x FROM cities) TO STDOUT", "ERROR:  table CITIES has no column X\nLINE 1: COPY (SELECT x FROM cities) TO STDOUT\n                     ^\nDETAIL:  The code is sql.unknown_column.\nHINT:  DESCRIBE CITIES lists its columns"},
		{"COPY cities TO STDOUT", "ERROR:  of COPY there is only COPY (SELECT …) TO STDOUT, without options"},
		{";", ""},
		{"SELECT\n  nme FROM cities", "ERROR:  table CITIES has no column NME\nLINE 2:   nme FROM cities\n          ^\nDETAIL:  The code is sql.unknown_column.\nHINT:  did you mean N?"},
		{"SELECT 'ö' AS x; SELECT 1 FROM citis", "ö\nERROR:  there is no stream or table CITIS\nLINE 1: SELECT 'ö' AS x; SELECT 1 FROM citis\n                                       ^\nDETAIL:  The code is sql.unknown_source.\nHINT:  did you mean CITIES?"},
		{"BEGIN; DROP TABLE cities", "BEGIN\nERROR:  DROP TABLE takes effect at once and cannot run in a transaction block\nHINT:  send it outside of BEGIN and COMMIT"},
		{"SET client_encoding = 'LATIN1'", "ERROR:  there is no encoding but UTF8 here, and LATIN1 is asked for\nHINT:  SET client_encoding = 'UTF8'"},
	} {
		if got := ask("-At", "-c", c.statement); got != c.want {
			t.Errorf("%s gives\n%s\nand should\n%s", c.statement, got, c.want)
		}
	}
}
