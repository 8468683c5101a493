package storm

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// schemaChange is one change of the schema: the statement, and the table whose columns
// the log of such changes is to have.
type schemaChange struct {
	table, sql string
}

// changeSchema changes the schema between rows of the table that changes, in one
// transaction. Columns that come are optional, and no name is ever used twice, so that
// what a reader has folded of older rows is either true or known to be unknown.
func changeSchema(ctx context.Context, c *client, t *transaction) error {
	number, err := t.text(ctx, "SELECT nextval('ddl_names')")
	if err != nil {
		return err
	}
	kinds := []func(context.Context, *client, *transaction, string) (schemaChange, error){
		addColumn, addColumn, dropColumn, renameColumn, widenColumn, addLabel, changeIdentity, createTable, dropTable, renameAndBack,
	}
	d, err := kinds[c.rng.IntN(len(kinds))](ctx, c, t, number)
	if err != nil {
		return err
	}
	if err := d.rows(ctx, t, number); err != nil {
		return err
	}
	if err := t.exec(ctx, d.sql); err != nil {
		return err
	}
	if err := d.rows(ctx, t, number); err != nil {
		return err
	}
	return t.all(ctx, change{"c", "ddl_log", fmt.Sprintf(`INSERT INTO ddl_log (sql, cols) VALUES ('%s',
		(SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = to_regclass(nullif('%s', '')) AND attnum > 0 AND NOT attisdropped))`,
		strings.ReplaceAll(d.sql, "'", "''"), d.table)})
}

// rows writes rows of the table, if it is there.
func (d schemaChange) rows(ctx context.Context, t *transaction, number string) error {
	switch d.table {
	case "xfer":
		if err := t.all(ctx, change{"c", "xfer", "INSERT INTO xfer (note) VALUES ('schema " + number + "')"}); err != nil {
			return err
		}
		return t.all(ctx, change{"u", "xfer", "UPDATE xfer SET amt = 1 WHERE id = (SELECT max(id) FROM xfer WHERE note = 'schema " + number + "')"})
	case "":
		return nil
	}
	there, err := t.text(ctx, "SELECT to_regclass('"+d.table+"')")
	if errors.Is(err, errNothing) {
		return nil
	} else if err != nil {
		return err
	}
	return t.all(ctx, change{"c", there, "INSERT INTO " + there + " SELECT coalesce(max(id), 0) + 1, 'extra " + number + "' FROM " + there})
}

func addColumn(_ context.Context, c *client, _ *transaction, number string) (schemaChange, error) {
	types := []string{"int", "int DEFAULT 7", "varchar(40)", "text DEFAULT 'd'", "numeric", "boolean"}
	return schemaChange{"xfer", fmt.Sprintf("ALTER TABLE xfer ADD COLUMN c%s %s", number, types[c.rng.IntN(len(types))])}, nil
}

// column draws a column that an earlier change added.
func (c *client) column(ctx context.Context, t *transaction, where string) (string, error) {
	return t.text(ctx, fmt.Sprintf("SELECT attname FROM pg_attribute WHERE attrelid = 'xfer'::regclass AND attname ~ '^c[0-9]+$' AND NOT attisdropped %s ORDER BY md5(attname || '%d') LIMIT 1", where, c.rng.Int64()))
}

func dropColumn(ctx context.Context, c *client, t *transaction, _ string) (schemaChange, error) {
	name, err := c.column(ctx, t, "")
	return schemaChange{"xfer", "ALTER TABLE xfer DROP COLUMN " + name}, err
}

func renameColumn(ctx context.Context, c *client, t *transaction, number string) (schemaChange, error) {
	name, err := c.column(ctx, t, "")
	return schemaChange{"xfer", "ALTER TABLE xfer RENAME COLUMN " + name + " TO c" + number}, err
}

// widenColumn makes int bigint, which writes the whole table anew.
func widenColumn(ctx context.Context, c *client, t *transaction, _ string) (schemaChange, error) {
	name, err := c.column(ctx, t, "AND atttypid = 'int'::regtype")
	if errors.Is(err, errNothing) {
		name, err = c.column(ctx, t, "AND atttypid = 'varchar'::regtype")
		return schemaChange{"xfer", "ALTER TABLE xfer ALTER COLUMN " + name + " TYPE text"}, err
	}
	return schemaChange{"xfer", "ALTER TABLE xfer ALTER COLUMN " + name + " TYPE bigint"}, err
}

func addLabel(_ context.Context, _ *client, _ *transaction, number string) (schemaChange, error) {
	return schemaChange{"", "ALTER TYPE mood ADD VALUE 'm" + number + "x'"}, nil
}

func changeIdentity(_ context.Context, c *client, _ *transaction, _ string) (schemaChange, error) {
	kinds := []string{"FULL", "DEFAULT", "USING INDEX xfer_pkey"}
	return schemaChange{"xfer", "ALTER TABLE xfer REPLICA IDENTITY " + kinds[c.rng.IntN(len(kinds))]}, nil
}

func createTable(_ context.Context, _ *client, _ *transaction, number string) (schemaChange, error) {
	return schemaChange{"extra_" + number, "CREATE TABLE extra_" + number + " (id int PRIMARY KEY, v text)"}, nil
}

func dropTable(ctx context.Context, c *client, t *transaction, _ string) (schemaChange, error) {
	name, err := t.text(ctx, fmt.Sprintf("SELECT relname FROM pg_class WHERE relname ~ '^extra_[0-9]+$' AND relkind = 'r' ORDER BY md5(relname || '%d') LIMIT 1", c.rng.Int64()))
	return schemaChange{name, "DROP TABLE " + name}, err
}

// renameAndBack gives a table another name for one row, which is gone at the end: its
// events are in another topic than those of the table.
func renameAndBack(ctx context.Context, _ *client, t *transaction, number string) (schemaChange, error) {
	if err := t.exec(ctx, "ALTER TABLE side RENAME TO extra_a"+number); err != nil {
		return schemaChange{}, err
	}
	name := "extra_a" + number
	if err := t.all(ctx, change{"c", name, "INSERT INTO " + name + " SELECT -1, 'elsewhere'"}, change{"d", name, "DELETE FROM " + name + " WHERE id = -1"}); err != nil {
		return schemaChange{}, err
	}
	return schemaChange{"", "ALTER TABLE extra_a" + number + " RENAME TO side"}, nil
}
