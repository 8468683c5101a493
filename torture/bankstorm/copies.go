package bankstorm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
)

// What the worker makes of the topics while everything fails: a copy of two tables in
// another database, and tables derived by SQL.
const (
	vault = "vault" // The other database.
	sink  = "vault" // The connector that fills it.
)

// derived are the tables derived by SQL: what their columns are called, and what
// PostgreSQL says that they must hold, as two texts.
var derived = []struct {
	name, statement string
	columns         int
	truth           string
	// once says that the query must count every change once. One that keeps the last
	// value of each key may see changes again: in the end it has the last one. A sum
	// would be wrong, in Kafka Streams too.
	once bool
}{
	{"BALANCES", "CREATE TABLE BALANCES AS SELECT BAL, COUNT(*) AS N, SUM(ID) AS IDS FROM ACCOUNTS GROUP BY BAL EMIT CHANGES;", 3,
		"SELECT bal::text, count(*)::text || ' ' || sum(id)::text FROM acct GROUP BY bal", true},
	{"HOLDERS", "CREATE TABLE HOLDERS AS SELECT ID, BAL, _V FROM ACCOUNTS EMIT CHANGES;", 3,
		"SELECT id::text, bal::text || ' ' || _v::text FROM acct", false},
}

const derivedFrom = "CREATE TABLE ACCOUNTS WITH (CDC = '" + prefix + ".public.acct');"

// copied are the tables that the sink fills, and what of them is compared. The log does
// not repeat a large value that an update leaves alone, and when the key moves, a sink
// has no row to keep it in; so those of accounts, whose keys move, are not compared.
var copied = map[string]string{
	"acct": "SELECT id::text, concat_ws(' ', bal, _v) FROM %s",
	"part": "SELECT id::text, coalesce(v, '') FROM %s",
}

// copies starts the derived tables and the sink: that one last, because a worker may be
// made to die at what a sink does, and statements are not sent twice.
func (r *run) copies(ctx context.Context) error {
	if !r.o.Copies {
		return nil
	}
	if err := r.execute(ctx, "postgres", "CREATE DATABASE "+vault); err != nil {
		return err
	}
	statements := derivedFrom
	for _, d := range derived {
		properties := map[string]string{"auto.offset.reset": "earliest"}
		if d.once || r.o.Mode == ExactlyOnce {
			properties["processing.guarantee"] = "exactly_once_v2"
		}
		body := map[string]any{"ksql": statements + d.statement, "streamsProperties": properties}
		if err := r.world.Call(ctx, http.MethodPost, "/ksql", body, nil); err != nil {
			return err
		}
		statements = ""
	}
	return r.world.Create(ctx, sink, map[string]string{
		"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "tasks.max": "1", "topics": prefix + ".public.acct," + prefix + ".public.part",
		"connection.url": r.world.ProxiedDSN(vault), "insert.mode": "upsert", "delete.enabled": "true",
		"primary.key.mode": "record_key", "schema.evolution": "basic",
	})
}

// rebuilt takes the worker its local state, from which derived tables come back
// otherwise: they must be the same when they are rebuilt from Kafka.
func (r *run) rebuilt(ctx context.Context) error {
	if !r.o.Copies {
		return nil
	}
	r.journal.Say("phase", "rebuild the derived tables")
	starting, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	if err := r.world.ForgetState(starting); err != nil {
		return err
	}
	return r.verifyCopies(ctx)
}

// verifyCopies waits until the copies say what the source says.
func (r *run) verifyCopies(ctx context.Context) error {
	if !r.o.Copies {
		return nil
	}
	for table, query := range copied {
		name := "the sink's table " + table
		err := r.agree(ctx, name, func(ctx context.Context) (map[string]string, error) {
			return r.rows(ctx, database, fmt.Sprintf(query, table))
		}, func(ctx context.Context) (map[string]string, error) {
			return r.rows(ctx, vault, fmt.Sprintf(query, prefix+"_public_"+table))
		})
		if err != nil {
			return err
		}
	}
	for _, d := range derived {
		err := r.agree(ctx, "the derived table "+d.name, func(ctx context.Context) (map[string]string, error) {
			return r.rows(ctx, database, d.truth)
		}, func(ctx context.Context) (map[string]string, error) {
			return r.derived(ctx, d.name, d.columns)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rows runs a query of two texts.
func (r *run) rows(ctx context.Context, db, query string) (map[string]string, error) {
	conn, err := r.world.Connect(ctx, db)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := map[string]string{}
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			return nil, err
		}
		list[key] = value
	}
	return list, rows.Err()
}

// derived reads a derived table: its first column, and the others in one text.
func (r *run) derived(ctx context.Context, name string, columns int) (map[string]string, error) {
	var messages []struct {
		Row          *struct{ Columns []any }
		ErrorMessage *struct{ Message string } `json:"errorMessage"`
	}
	err := r.world.Call(ctx, http.MethodPost, "/query", map[string]any{"ksql": "SELECT * FROM " + name + ";"}, &messages)
	if err != nil {
		return nil, err
	}
	list := map[string]string{}
	for _, m := range messages {
		if m.ErrorMessage != nil {
			return nil, errors.New(m.ErrorMessage.Message)
		}
		if m.Row != nil && len(m.Row.Columns) == columns {
			texts := make([]string, columns)
			for i, v := range m.Row.Columns {
				texts[i] = number(v)
			}
			list[texts[0]] = strings.Join(texts[1:], " ")
		}
	}
	return list, nil
}

// number writes a JSON number as PostgreSQL writes integers.
func number(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return fmt.Sprint(v)
}

// copyPatience is the least that a copy has to come up to the source, as long as it moves. When
// it stands still, it has the time of a recovery.
const copyPatience = 2 * time.Minute

// agree waits until two sides say the same, and says what differs when they do not in
// the time there is.
func (r *run) agree(ctx context.Context, name string, want, have func(context.Context) (map[string]string, error)) error {
	began := time.Now()
	truth, err := want(ctx)
	if err != nil {
		return err
	}
	patience := max(r.o.Patience, copyPatience)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last map[string]string
	for moved := began; ; {
		now, err := have(waiting)
		differs := differences(truth, now)
		if err != nil || !maps.Equal(now, last) {
			last, moved = now, time.Now()
		}
		if err == nil && len(differs) == 0 {
			r.journal.Say("verified", "%s has its %d rows, after %v", name, len(truth), time.Since(began).Round(time.Millisecond))
			return nil
		}
		if time.Since(moved) > r.o.Patience || !sleep(waiting, 100*time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			status, _ := r.world.Status(ctx, sink)
			r.journal.Found(chaos.AnomalyDiffers, "%s differs in %d rows from the source %v after all has come to Kafka: %q (%v); the sink is %s",
				name, len(differs), time.Since(began).Round(time.Second), differs[:min(len(differs), 3)], err, status)
			return nil
		}
	}
}

// differences lists what is not the same on both sides.
func differences(want, have map[string]string) (list []string) {
	for key, value := range want {
		if got, ok := have[key]; !ok {
			list = append(list, key+" is missing")
		} else if got != value {
			list = append(list, fmt.Sprintf("%s is %q, not %q", key, got, value))
		}
	}
	for key := range have {
		if _, ok := want[key]; !ok {
			list = append(list, key+" is too many")
		}
	}
	return list
}
