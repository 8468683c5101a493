package postgres

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// The types of parameters: text, and arrays of it.
const (
	oidText      = 25
	oidTextArray = 1009
)

// formatBinary is the format of parameters sent in PostgreSQL's binary form.
const formatBinary = 1

// statements are the statements of a plan. Each takes a text array for each column
// it names; unnest makes rows of them, and the casts make values of the text. So one
// statement writes any number of rows, of any types.
type statements struct {
	upsert, delete string
	partial        map[string][2]string // By which columns are missing.
}

// maxPartial bounds the statements kept for rows with missing columns.
const maxPartial = 64

// write writes the statements of a plan that is bound to its table.
func (s *statements) write(pl *plan) {
	s.partial = map[string][2]string{}
	if pl.row != nil {
		s.upsert = insertSQL(pl, pl.present(nil)) + conflictSQL(pl)
	}
	if pl.keys > 0 {
		keys := pl.present(nil)[:pl.keys]
		s.delete = "DELETE FROM " + pl.table.name.String() + " AS t USING " + unnestSQL(keys) + " WHERE " + matchSQL(pl)
	}
}

// present returns the places of the columns that are not missing.
func (pl *plan) present(missing []bool) []int {
	var list []int
	for i := range pl.columns {
		if missing == nil || !missing[i] {
			list = append(list, i)
		}
	}
	return list
}

// without returns the statements for rows that lack columns: an update of the rows
// that are there, and an insert of those that are not. An INSERT … ON CONFLICT would
// not do, because NOT NULL is checked before the conflict is seen.
func (s *statements) without(pl *plan, missing []bool) [2]string {
	id := make([]byte, len(missing))
	for i, m := range missing {
		if m {
			id[i] = 1
		}
	}
	if known, ok := s.partial[string(id)]; ok {
		return known
	}
	columns := pl.present(missing)
	name, from := pl.table.name.String(), unnestSQL(columns)
	var sets []string
	for _, i := range columns[pl.keys:] {
		sets = append(sets, quote(pl.columns[i].name)+" = "+pl.cast(i))
	}
	made := [2]string{}
	if len(sets) > 0 {
		made[0] = "UPDATE " + name + " AS t SET " + strings.Join(sets, ", ") + " FROM " + from + " WHERE " + matchSQL(pl)
	}
	made[1] = insertSQL(pl, columns) + " WHERE NOT EXISTS (SELECT FROM " + name + " AS t WHERE " + matchSQL(pl) + ")"
	if len(s.partial) >= maxPartial {
		clear(s.partial)
	}
	s.partial[string(id)] = made
	return made
}

// cast is the expression of a column's value.
func (pl *plan) cast(i int) string {
	return "u.c" + strconv.Itoa(i) + "::" + pl.columns[i].target.typ.String()
}

// unnestSQL makes rows of the parameters, which are in the order of the columns.
func unnestSQL(columns []int) string {
	params, names := make([]string, len(columns)), make([]string, len(columns))
	for n, i := range columns {
		params[n] = "$" + strconv.Itoa(n+1) + "::text[]"
		names[n] = "c" + strconv.Itoa(i)
	}
	return "unnest(" + strings.Join(params, ", ") + ") AS u(" + strings.Join(names, ", ") + ")"
}

func insertSQL(pl *plan, columns []int) string {
	names, values := make([]string, len(columns)), make([]string, len(columns))
	for n, i := range columns {
		names[n], values[n] = quote(pl.columns[i].name), pl.cast(i)
	}
	return "INSERT INTO " + pl.table.name.String() + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " +
		strings.Join(values, ", ") + " FROM " + unnestSQL(columns)
}

func conflictSQL(pl *plan) string {
	if !pl.upsert {
		return ""
	}
	var keys, sets []string
	for i := range pl.columns {
		name := quote(pl.columns[i].name)
		if i < pl.keys {
			keys = append(keys, name)
		} else {
			sets = append(sets, name+" = EXCLUDED."+name)
		}
	}
	clause := " ON CONFLICT (" + strings.Join(keys, ", ") + ") DO "
	if len(sets) == 0 {
		return clause + "NOTHING"
	}
	return clause + "UPDATE SET " + strings.Join(sets, ", ")
}

// matchSQL compares the key of a row t of the table with that of a row u.
func matchSQL(pl *plan) string {
	var parts []string
	for i := range pl.keys {
		parts = append(parts, "t."+quote(pl.columns[i].name)+" = "+pl.cast(i))
	}
	return strings.Join(parts, " AND ")
}

// appendArray appends the values of one column as a text array in binary form: the
// number of dimensions, whether there are nulls, the element type, length and lower
// bound, and each element after its length (src/backend/utils/adt/arrayfuncs.c,
// array_recv).
func appendArray(dst []byte, rows []*change, column int, encode encoder) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, oidText)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(rows)))
	dst = binary.BigEndian.AppendUint32(dst, 1)
	for _, r := range rows {
		v := r.values[column]
		if v.IsNull() {
			dst = binary.BigEndian.AppendUint32(dst, 1<<32-1)
			continue
		}
		at := len(dst)
		dst = encode(append(dst, 0, 0, 0, 0), v)
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}

// keyText appends what tells a change's key from others.
func keyText(dst []byte, c *change) []byte {
	for i := range c.plan.keys {
		v := c.values[i]
		if v.IsNull() {
			dst = append(dst, 0)
			continue
		}
		at := len(dst)
		dst = c.plan.columns[i].encode(append(dst, 1, 0, 0, 0, 0), v)
		binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-5))
	}
	return dst
}

// canCollapse tells whether a later change of a key makes an earlier one needless.
func (pl *plan) canCollapse() bool { return pl.upsert && pl.keys > 0 }

// overlay fills what a later change of a row lacks from the earlier one.
func (c *change) overlay(earlier *change) {
	if c.missing == nil || earlier.kind != kindUpsert {
		return
	}
	left := false
	values := append([]connect.Value(nil), c.values...)
	missing := append([]bool(nil), c.missing...)
	for i, m := range missing {
		if m && (earlier.missing == nil || !earlier.missing[i]) {
			values[i], missing[i] = earlier.values[i], false
		}
		left = left || missing[i]
	}
	c.values, c.missing = values, missing
	if !left {
		c.missing = nil
	}
}
