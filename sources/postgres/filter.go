package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// patterns is a list of regular expressions; a name matches when one of them
// matches all of it, in any case. The nil list matches nothing.
type patterns []*regexp.Regexp

func compilePatterns(list []string) (patterns, error) {
	var ps patterns
	for _, text := range list {
		if text == "" {
			continue
		}
		p, err := regexp.Compile("(?is)^(?:" + text + ")$")
		if err != nil {
			return nil, fmt.Errorf("%q is not a regular expression as it is understood here (look-around and back references are not): %w", text, err)
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func checkPatterns(text string) error {
	_, err := compilePatterns(splitTrimmed(text, ","))
	return err
}

func splitTrimmed(text, sep string) []string {
	parts := strings.Split(text, sep)
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func (ps patterns) match(name string) bool {
	for _, p := range ps {
		if p.MatchString(name) {
			return true
		}
	}
	return false
}

// choose is an include list and an exclude list, of which one is empty.
type choose struct {
	include, exclude patterns
}

func (c choose) match(name string) bool {
	if len(c.include) > 0 {
		return c.include.match(name)
	}
	return !c.exclude.match(name)
}

// filter tells what is captured.
type filter struct {
	schemas, tables, columns, prefixes choose
	snapshot                           patterns
	keys                               []keyColumns
	masks                              []columnMask
	propagation                        propagation
}

// keyColumns is one entry of message.key.columns.
type keyColumns struct {
	table   patterns
	columns []string
}

func newFilter(s connect.Settings) (*filter, error) {
	f := &filter{}
	var faults connect.Errors
	for name, to := range map[string]*choose{"schema": &f.schemas, "table": &f.tables, "column": &f.columns, "message.prefix": &f.prefixes} {
		include, exclude := name+".include.list", name+".exclude.list"
		if len(s.List(include)) > 0 && len(s.List(exclude)) > 0 {
			faults = append(faults, connect.ConfigError(exclude, "%s is given as well, and only one of the two may be", include))
		}
		// The patterns were checked with the settings.
		to.include, _ = compilePatterns(s.List(include))
		to.exclude, _ = compilePatterns(s.List(exclude))
	}
	f.snapshot, _ = compilePatterns(s.List("snapshot.include.collection.list"))
	f.keys, _ = parseKeyColumns(s.String("message.key.columns"))
	masks, maskFaults := parseMasks(s.Config())
	f.masks, f.propagation = masks, newPropagation(s)
	return f, append(faults, maskFaults...).OrNil()
}

// table tells whether a table is captured. PostGIS's list of reference systems is
// part of the extension, not of anyone's data.
func (f *filter) table(schema, name string) bool {
	if name == "spatial_ref_sys" || schema == "pg_catalog" || schema == "information_schema" || strings.HasPrefix(schema, "pg_toast") || strings.HasPrefix(schema, "pg_temp") {
		return false
	}
	return f.schemas.match(schema) && f.tables.match(schema+"."+name)
}

func (f *filter) column(table tableName, column string) bool {
	return f.columns.match(table.String() + "." + column)
}

// inSnapshot tells whether a captured table is read by the snapshot.
func (f *filter) inSnapshot(t tableName) bool {
	return len(f.snapshot) == 0 || f.snapshot.match(t.String())
}

// keyOf returns the columns message.key.columns names for a table, nil for none.
func (f *filter) keyOf(t tableName) []string {
	for _, k := range f.keys {
		if k.table.match(t.String()) {
			return k.columns
		}
	}
	return nil
}

func checkKeyColumns(text string) error {
	_, err := parseKeyColumns(text)
	return err
}

func parseKeyColumns(text string) ([]keyColumns, error) {
	var list []keyColumns
	for _, entry := range splitTrimmed(text, ";") {
		if entry == "" {
			continue
		}
		table, columns, ok := strings.Cut(entry, ":")
		if !ok || strings.TrimSpace(columns) == "" {
			return nil, errors.New("each entry is written as schema.table:column,column")
		}
		ps, err := compilePatterns([]string{strings.TrimSpace(table)})
		if err != nil {
			return nil, err
		}
		list = append(list, keyColumns{table: ps, columns: splitTrimmed(columns, ",")})
	}
	return list, nil
}

// tableName is a table's name with its schema.
type tableName struct{ schema, name string }

// String writes schema.table without quotes, as lists and messages have it.
func (t tableName) String() string { return t.schema + "." + t.name }

// quoted writes the name for SQL.
func (t tableName) quoted() string { return quoteIdent(t.schema) + "." + quoteIdent(t.name) }

// quoteIdent writes an identifier for SQL.
func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteLiteral writes a string for SQL.
func quoteLiteral(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }
