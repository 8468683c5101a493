package postgres

import (
	"slices"
	"strings"
)

// relation is the shape of a table as the log tells it, at the position where it
// was told. The columns are those that rows have, in their order.
type relation struct {
	oid          uint32
	schema, name string
	// identity is the replica identity: 'd' primary key, 'f' whole row, 'i' an index,
	// 'n' nothing.
	identity byte
	columns  []relationColumn
}

// relationColumn is one column; key tells whether it is part of the replica
// identity.
type relationColumn struct {
	name string
	typ  uint32
	mod  int32
	key  bool
}

func (r *relation) table() tableName { return tableName{r.schema, r.name} }

func (r *relation) index(column string) int {
	return slices.IndexFunc(r.columns, func(c relationColumn) bool { return c.name == column })
}

// twins returns the error for two captured columns whose names differ only in case.
// Most of what reads topics does not tell them apart.
func (r *relation) twins(f *filter) error {
	seen := make(map[string]string, len(r.columns))
	for _, c := range r.columns {
		if !f.column(r.table(), c.name) {
			continue
		}
		lower := strings.ToLower(c.name)
		if twin, found := seen[lower]; found {
			e := fatal("pg.table.columns", "two columns have names that differ only in case: "+twin+" and "+c.name, nil,
				"rename one of them, or leave one out with column.exclude.list (its patterns match in any case, so write it as (?-i:schema.table.column))")
			e.Place = r.table().String()
			return e
		}
		seen[lower] = c.name
	}
	return nil
}

// tableFacts is what the log does not tell about a table and the catalogue does.
type tableFacts struct {
	// root is the partitioned table above a partition, if there is one.
	root tableName
	// primary and unique are the columns of the primary key, and of a unique index
	// that can stand in for it, in their order.
	primary, unique []string
	columns         map[string]columnFacts
}

// columnFacts is what the catalogue says of a column.
type columnFacts struct {
	notNull    bool
	expression string // Of the default; empty for none.
	dims       int    // Of an array, as it was declared.
	comment    string
	number     uint16 // By which the server knows it, whatever its name; 0: not known.
}

// keyColumns returns the columns that a row's key has, in order. The flags of the
// log are believed over the catalogue, which may have moved on: with the default
// replica identity they are the primary key as it was.
func (r *relation) keyColumns(facts *tableFacts, own []string) []int {
	if own != nil {
		return r.indexes(own)
	}
	var flagged []int
	for i, c := range r.columns {
		if c.key {
			flagged = append(flagged, i)
		}
	}
	if (r.identity == 'd' || r.identity == 'i') && len(flagged) > 0 {
		// The catalogue knows the order, if it still speaks of the same columns.
		for _, order := range [][]string{facts.primary, facts.unique} {
			if idx := r.indexes(order); sameMembers(idx, flagged) {
				return idx
			}
		}
		return flagged
	}
	if idx := r.indexes(facts.primary); len(idx) > 0 {
		return idx
	}
	return r.indexes(facts.unique)
}

// indexes returns where the named columns stand; those that are not there any more
// are left out.
func (r *relation) indexes(names []string) []int {
	var list []int
	for _, name := range names {
		if i := r.index(name); i >= 0 {
			list = append(list, i)
		}
	}
	return list
}

func sameMembers(a, b []int) bool {
	a = slices.Sorted(slices.Values(a))
	return slices.Equal(a, b)
}
