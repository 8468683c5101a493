package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
)

// proof is what `demo --once --json` prints.
type proof struct {
	OK       bool    `json:"ok"`
	Seconds  float64 `json:"seconds"`
	Snapshot int     `json:"snapshot_rows"`
	Streamed int     `json:"streamed_changes"`
	Derived  int     `json:"derived_rows"`
	Checks   []check `json:"checks"`
}

// check is one thing that was held against the source database.
type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Says string `json:"says"`
}

// prove makes the changes, waits until everything has them, and compares.
func (d *demo) prove(ctx context.Context) error {
	began := time.Now()
	for d.shop.changes < d.changes {
		if err := d.shop.trade(ctx); err != nil {
			return err
		}
	}
	p := proof{Snapshot: d.initial}
	err := d.state.wait(ctx, fmt.Sprintf("%d changes in the topics", d.shop.changes), func() bool {
		p.Streamed = 0
		for _, topic := range shopTopics() {
			p.Streamed += d.state.count(topic, connect.OpCreate, connect.OpUpdate, connect.OpDelete)
		}
		return p.Streamed >= d.shop.changes
	})
	if err != nil {
		return err
	}
	d.say(d.info, "stream", fmt.Sprintf("%d changes of 4 tables in Kafka", p.Streamed), time.Since(began))
	p.check("streamed changes", p.Streamed == d.shop.changes, fmt.Sprintf("%d made, %d arrived", d.shop.changes, p.Streamed))
	for _, part := range []func(context.Context, *proof) error{d.proveTopics, d.proveDerived, d.proveSink} {
		if err := part(ctx, &p); err != nil {
			return err
		}
	}
	return d.report(p)
}

func (p *proof) check(name string, ok bool, says string) {
	p.Checks = append(p.Checks, check{name, ok, says})
}

func (p *proof) compared(name string, d difference) { p.check(name, d.none(), d.String()) }

func (d *demo) proveTopics(ctx context.Context, p *proof) error {
	for _, t := range shopTables {
		diff, err := d.state.verifyTopic(ctx, d.shop.conn, shopTopic(t), pgx.Identifier{"inventory", t})
		if err != nil {
			return err
		}
		p.compared("topic "+shopTopic(t), diff)
	}
	return nil
}

// proveDerived asks the derived table until it equals the query it stands for, or
// time is up; then whatever it says last counts.
func (d *demo) proveDerived(ctx context.Context, p *proof) error {
	truth, err := queryRows(ctx, d.shop.conn, 1, derivedTruth)
	if err != nil {
		return err
	}
	diff, err := settle(ctx, func() (difference, error) {
		rows, err := d.client.query(ctx, "SELECT * FROM ORDERS_BY_CUSTOMER;")
		if err != nil {
			return difference{}, err
		}
		derived := make(map[string]string, len(rows))
		for _, r := range rows {
			if len(r) != 3 {
				return difference{}, fmt.Errorf("the pull query answered %v", r)
			}
			derived[number(r[0])] = number(r[1]) + "\x1f" + number(r[2])
		}
		p.Derived = len(derived)
		return compare(derived, truth), nil
	})
	if err != nil {
		return err
	}
	p.compared("derived table ORDERS_BY_CUSTOMER", diff)
	return nil
}

// number writes a JSON number as PostgreSQL writes integers.
func number(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprint(v)
}

func (d *demo) proveSink(ctx context.Context, p *proof) error {
	sink, err := pgx.Connect(ctx, d.dev.postgres.DSN("warehouse"))
	if err != nil {
		return err
	}
	defer sink.Close(context.WithoutCancel(ctx))
	for _, t := range shopTables {
		diff, err := settle(ctx, func() (difference, error) {
			return verifySink(ctx, d.shop.conn, sink, pgx.Identifier{"inventory", t}, pgx.Identifier{warehouseTable(t)})
		})
		if err != nil {
			return err
		}
		p.compared("sink warehouse."+warehouseTable(t), diff)
	}
	return nil
}

// settleTime is how long a part that follows the topics may take to catch up.
const settleTime = 20 * time.Second

// settle compares until nothing differs or the time is up, and returns the last
// result.
func settle(ctx context.Context, compare func() (difference, error)) (last difference, err error) {
	wait, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	err = until(wait, "the states to agree", func() (bool, error) {
		last, err = compare()
		return err == nil && last.none(), err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return last, nil
	}
	return last, err
}

// report prints the outcome; a failed check is exit code 4.
func (d *demo) report(p proof) error {
	p.OK = true
	for _, c := range p.Checks {
		p.OK = p.OK && c.OK
	}
	p.Seconds = float64(time.Since(d.began).Milliseconds()) / 1000
	if d.json {
		writeJSON(d.out, p)
	} else {
		for _, c := range p.Checks {
			g := map[bool]string{true: glyphOK, false: glyphFail}[c.OK]
			fmt.Fprintf(d.out, " %s %-46s %s\n", d.glyph(d.out, g), c.Name, c.Says)
		}
		fmt.Fprintf(d.out, "\n %d snapshot rows, %d streamed changes, %d derived rows, %d checks in %.2f s\n",
			p.Snapshot, p.Streamed, p.Derived, len(p.Checks), p.Seconds)
	}
	if p.OK {
		return nil
	}
	text, err := json.Marshal(p.Checks)
	if err != nil {
		return err
	}
	return no(&connect.Error{Code: "demo.differs", Message: "the states differ: " + string(text)})
}
