package postgres

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// kind is what a change does to its table.
type kind uint8

const (
	kindUpsert kind = iota // Or insert, where the mode says so.
	kindDelete
	kindTruncate
)

// change is what one record means.
type change struct {
	plan   *plan
	record *connect.SinkRecord
	kind   kind
	values []connect.Value // One for each column; of a delete the key alone counts.
	// missing marks the columns that keep their value; nil: none.
	missing []bool
}

// reader turns records into changes.
type reader struct {
	planner *planner
	options options
	slab    []connect.Value
}

// read returns what a record means. Without an error, ok is false for a record that
// means nothing here.
func (rd *reader) read(ctx context.Context, r *connect.SinkRecord) (c change, ok bool, err error) {
	c.record = r
	if r.Value.IsNull() {
		if !rd.options.deletes {
			return c, false, nil
		}
		c.kind = kindDelete
		return rd.locate(ctx, c, connect.Value{})
	}
	if r.ValueSchema == nil {
		return c, false, badRecord("pgsink.no_schema", "the record has no schema to tell its columns by",
			"use a converter with schemas, such as Avro or JSON with schemas.enable=true")
	}
	env, ok := connect.EnvelopeOf(r.ValueSchema)
	if !ok {
		return rd.locate(ctx, c, r.Value)
	}
	if r.Value.Kind() != connect.KindStruct {
		return c, false, badRecord("pgsink.no_struct", "the value is no struct, although its schema is", "")
	}
	return rd.readChange(ctx, c, env.Change(r.Value))
}

// readChange reads an envelope by its operation.
func (rd *reader) readChange(ctx context.Context, c change, e connect.Change) (change, bool, error) {
	switch e.Op {
	case connect.OpCreate, connect.OpUpdate, connect.OpRead:
		if e.After.IsNull() {
			return c, false, badRecord("pgsink.no_after", fmt.Sprintf("the change has op %q and no row after it", e.Op), "")
		}
		return rd.locate(ctx, c, e.After)
	case connect.OpDelete:
		c.kind = kindDelete
		if !rd.options.deletes {
			return c, false, nil
		}
		return rd.locate(ctx, c, connect.Value{})
	case connect.OpTruncate:
		c.kind = kindTruncate
		if !rd.options.truncates {
			return c, false, nil
		}
		return rd.truncate(ctx, c)
	case connect.OpMessage:
		return c, false, nil
	}
	return c, false, badRecord("pgsink.op", fmt.Sprintf("the operation %q is not known", e.Op), "")
}

// truncate finds the table. A truncate has no key, so its plan is made as one
// without; a table that is not there is as empty as it should be.
func (rd *reader) truncate(ctx context.Context, c change) (change, bool, error) {
	env, _ := connect.EnvelopeOf(c.record.ValueSchema)
	name, err := rd.planner.naming.tableOf(c.record.Topic, env.Change(c.record.Value).Source)
	if err != nil {
		return c, false, err
	}
	t, err := rd.planner.tableFor(ctx, name, &plan{})
	if err != nil || t == nil {
		return c, false, err
	}
	c.plan = &plan{table: t}
	return c, true, nil
}

// locate finds the plan of a change and takes key and row apart.
func (rd *reader) locate(ctx context.Context, c change, row connect.Value) (change, bool, error) {
	pl, err := rd.planner.planFor(ctx, c.record)
	if err != nil || pl == nil {
		return c, false, err
	}
	c.plan = pl
	n := len(pl.columns)
	if c.kind == kindDelete {
		n = pl.keys
	}
	c.values = rd.cut(n)
	if err := c.takeKey(); err != nil {
		return c, false, err
	}
	if c.kind == kindDelete {
		return c, true, nil
	}
	return c, true, c.takeRow(row, rd.planner.unavailable)
}

// cut returns n values of the batch's slab.
func (rd *reader) cut(n int) []connect.Value {
	if len(rd.slab) < n {
		rd.slab = make([]connect.Value, max(n, 8192))
	}
	values := rd.slab[:n:n]
	rd.slab = rd.slab[n:]
	return values
}

// takeKey sets the columns that come from the record's key.
func (c *change) takeKey() error {
	for i := range c.plan.keys {
		col := &c.plan.columns[i]
		v := c.record.Key
		switch {
		case col.key == -1:
			continue // From the row.
		case col.key >= 0:
			if v.Kind() != connect.KindStruct || len(v.Struct().Values()) <= col.key {
				return badRecord("pgsink.no_key", "the record has no key", "give it one at its source or with the transform ValueToKey")
			}
			v = v.Struct().At(col.key)
		}
		if err := col.fits(v); err != nil {
			return err
		}
		if v.IsNull() {
			return badRecord("pgsink.null_key", fmt.Sprintf("the key's part %q is null", col.name), "")
		}
		c.values[i] = v
	}
	return nil
}

// takeRow sets the columns that come from the row.
func (c *change) takeRow(row connect.Value, placeholder *unavailable) error {
	if row.Kind() != connect.KindStruct {
		return badRecord("pgsink.no_struct", "the row is no struct, although its schema is", "")
	}
	st := row.Struct()
	if s := st.Schema(); s != c.plan.row && s != c.plan.optional {
		return badRecord("pgsink.schema_mismatch", "the row's schema is not the one the record names", "")
	}
	for i := range c.plan.columns {
		col := &c.plan.columns[i]
		if col.field < 0 {
			continue
		}
		v := st.At(col.field)
		if v.IsNull() && !col.schema.Optional() {
			v = col.schema.Default()
		}
		if err := col.fits(v); err != nil {
			return err
		}
		if col.mayMiss && placeholder.is(v) {
			if c.missing == nil {
				c.missing = make([]bool, len(c.plan.columns))
			}
			c.missing[i] = true
			continue
		}
		c.values[i] = v
	}
	return nil
}

// fits tells whether a value is what its schema says, so that encoders need not ask.
func (col *planColumn) fits(v connect.Value) error {
	switch {
	case v.IsNull():
		return nil
	case v.Kind() != col.schema.Kind():
		return badRecord("pgsink.kind", fmt.Sprintf("%q holds a %s, its schema says %s", col.name, v.Kind(), col.schema), "")
	case col.nested:
		if err := col.schema.Check(v); err != nil {
			return badRecord("pgsink.kind", fmt.Sprintf("%q does not fit its schema: %v", col.name, err), "")
		}
	}
	return nil
}
