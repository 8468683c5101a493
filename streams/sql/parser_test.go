package sql

import (
	"errors"
	"strings"
	"testing"
)

// TestParse runs the scripts of statements and what they print back as. Every
// printed statement must parse again to the same text.
func TestParse(t *testing.T) {
	runScripts(t, "testdata/parse/*.test", func(t *testing.T) func(step) string {
		return func(s step) string {
			stmts, err := Parse(s.input)
			if err != nil {
				return faultText(t, err)
			}
			var out []string
			for _, st := range stmts {
				printed := st.String()
				again, err := Parse(printed)
				if err != nil || len(again) != 1 || again[0].String() != printed {
					t.Errorf("line %d: %s does not read back: %v %v", s.line, printed, err, again)
				}
				out = append(out, printed)
			}
			return strings.Join(out, "\n")
		}
	})
}

// faultText gives what a user sees of an error, without empty lines.
func faultText(t *testing.T, err error) string {
	t.Helper()
	var fault *Error
	if !errors.As(err, &fault) {
		t.Errorf("%v is not an *Error", err)
		return err.Error()
	}
	return fault.Detail()
}

// TestSplit cuts scripts into statements, semicolons in strings and comments
// notwithstanding.
func TestSplit(t *testing.T) {
	script := "-- a; b\nSELECT ';' FROM `x;y`; ;\n /* ; */ SHOW STREAMS"
	stmts, complete, err := Split(script)
	if err != nil || complete || len(stmts) != 2 {
		t.Fatalf("got %v, %v, %v", stmts, complete, err)
	}
	if stmts[0].Text != "SELECT ';' FROM `x;y`;" || stmts[1].Text != "SHOW STREAMS" {
		t.Errorf("got %q and %q", stmts[0].Text, stmts[1].Text)
	}
	if !strings.HasPrefix(script[stmts[1].Offset:], "SHOW") {
		t.Errorf("offset %d is not where the second statement begins", stmts[1].Offset)
	}
	if _, complete, _ = Split("SHOW TABLES;"); !complete {
		t.Error("a closed statement is complete")
	}
}

// FuzzParse looks for texts that make the parser panic, or whose printed form
// does not parse to the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"SELECT a, b+1 AS c, s->f[1], `q``x`.* FROM t x LEFT JOIN u WITHIN (1 DAY, 2 HOURS) ON x.a=u.b WHERE NOT a LIKE 'x%' ESCAPE '!' GROUP BY (a,b) EMIT CHANGES LIMIT 3;",
		"CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, h BYTES HEADER('x'), m MAP<STRING, ARRAY<STRUCT<a DECIMAL(4,2)>>>) WITH (KAFKA_TOPIC='t', PARTITIONS=1);",
		"INSERT INTO s (a) VALUES (-1.5e3); SET 'a'='b'; DESCRIBE s EXTENDED; TERMINATE ALL; PRINT 'x' FROM BEGINNING LIMIT 1",
		"SELECT TRANSFORM(a, x => x + 1), REDUCE(m, 0, (s, k, v) => s + v), CASE a WHEN 1 THEN 2 ELSE 3 END, CAST(a AS STRING) FROM s EMIT FINAL",
		"SELECT - -1, -(-a), a - -b, 1e5, 2nd, 1.5.x FROM s", "SELECT a IS NOT DISTINCT FROM b AND c NOT IN (1,2) OR d IS NULL FROM s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		stmts, err := Parse(src)
		if err != nil {
			var fault *Error
			if !errors.As(err, &fault) || fault.Line < 1 || fault.Column < 1 {
				t.Fatalf("%q: %#v has no place", src, err)
			}
			fault.Detail()
			return
		}
		for _, s := range stmts {
			printed := s.String()
			again, err := Parse(printed)
			if err != nil {
				t.Fatalf("%q printed as %q: %v", src, printed, err)
			}
			if len(again) != 1 || again[0].String() != printed {
				t.Fatalf("%q printed as %q, then as %v", src, printed, again)
			}
		}
	})
}

// FuzzSplit looks for scripts whose fragments lose something.
func FuzzSplit(f *testing.F) {
	f.Add("SELECT 1; -- x\nSHOW STREAMS;")
	f.Fuzz(func(t *testing.T, src string) {
		stmts, _, err := Split(src)
		if err != nil {
			return
		}
		for _, s := range stmts {
			if !strings.HasPrefix(src[s.Offset:], s.Text) {
				t.Fatalf("%q at %d is not in %q", s.Text, s.Offset, src)
			}
		}
	})
}
