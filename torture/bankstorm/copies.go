package bankstorm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
)

// What the worker makes of the topics while everything fails: a copy of two tables in
// another database, and a table derived by SQL.
const (
	vault     = "vault" // The other database.
	sink      = "vault" // The connector that fills it.
	derivedAs = `CREATE TABLE ACCOUNTS WITH (CDC = 'storm.public.acct');
		CREATE TABLE BALANCES AS SELECT BAL, COUNT(*) AS N, SUM(ID) AS IDS FROM ACCOUNTS GROUP BY BAL EMIT CHANGES;`
	derivedTruth = `SELECT bal::text, count(*)::text || ' ' || sum(id)::text FROM acct GROUP BY bal`
)

// copied are the tables that the sink fills, and what of them is compared. The log does
// not repeat a large value that an update leaves alone, and when the key moves, a sink
// has no row to keep it in; so those of accounts, whose keys move, are not compared.
var copied = map[string]string{
	"acct": "SELECT id::text, concat_ws(' ', bal, _v) FROM %s",
	"part": "SELECT id::text, coalesce(v, '') FROM %s",
}

// copies starts the sink and the derived table.
func (r *run) copies(ctx context.Context) error {
	if !r.o.Copies {
		return nil
	}
	if err := r.execute(ctx, "postgres", "CREATE DATABASE "+vault); err != nil {
		return err
	}
	err := r.world.Create(ctx, sink, map[string]string{
		"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "tasks.max": "1", "topics": prefix + ".public.acct," + prefix + ".public.part",
		"connection.url": r.world.ProxiedDSN(vault), "insert.mode": "upsert", "delete.enabled": "true",
		"primary.key.mode": "record_key", "schema.evolution": "basic",
	})
	if err != nil {
		return err
	}
	body := map[string]any{"ksql": derivedAs, "streamsProperties": map[string]string{
		"auto.offset.reset": "earliest", "processing.guarantee": "exactly_once_v2", // A sum that counts a change twice is wrong.
	}}
	return r.world.Call(ctx, http.MethodPost, "/ksql", body, nil)
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
	return r.agree(ctx, "the derived table", func(ctx context.Context) (map[string]string, error) {
		return r.rows(ctx, database, derivedTruth)
	}, r.derived)
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

// derived reads the derived table.
func (r *run) derived(ctx context.Context) (map[string]string, error) {
	var messages []struct {
		Row          *struct{ Columns []any }
		ErrorMessage *struct{ Message string } `json:"errorMessage"`
	}
	err := r.world.Call(ctx, http.MethodPost, "/query", map[string]any{"ksql": "SELECT * FROM BALANCES;"}, &messages)
	if err != nil {
		return nil, err
	}
	list := map[string]string{}
	for _, m := range messages {
		if m.ErrorMessage != nil {
			return nil, errors.New(m.ErrorMessage.Message)
		}
		if m.Row != nil && len(m.Row.Columns) == 3 {
			list[number(m.Row.Columns[0])] = number(m.Row.Columns[1]) + " " + number(m.Row.Columns[2])
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

// copyPatience is the least that a copy has to come up to the source. The brokers keep a
// consumer that was killed for its session's 45 seconds before another gets its share.
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
	for {
		now, err := have(waiting)
		differs := differences(truth, now)
		if err == nil && len(differs) == 0 {
			r.journal.Say("verified", "%s has its %d rows, after %v", name, len(truth), time.Since(began).Round(time.Millisecond))
			return nil
		}
		if !sleep(waiting, 100*time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			status, _ := r.world.Status(ctx, sink)
			r.journal.Found(chaos.AnomalyDiffers, "%s differs in %d rows from the source %v after all has come to Kafka: %q (%v); the sink is %s",
				name, len(differs), patience, differs[:min(len(differs), 3)], err, status)
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
