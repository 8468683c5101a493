package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// identityRule is one entry of replica.identity.autoset.values: tables, and the
// replica identity they are to have.
type identityRule struct {
	tables   patterns
	identity byte   // As in pg_class: d, f, n, i.
	index    string // Of identity i.
}

var identityWord = regexp.MustCompile(`(?is)^(.+):\s*(?:(DEFAULT|FULL|NOTHING)|INDEX\s+(\S+))$`)

// parseIdentities reads a list of <pattern>:<identity>, parted by commas.
func parseIdentities(text string) (rules []identityRule, err error) {
	for _, entry := range splitTrimmed(text, ",") {
		if entry == "" {
			continue
		}
		m := identityWord.FindStringSubmatch(entry)
		if m == nil {
			return nil, fmt.Errorf("%q is not written as schema.table:DEFAULT, :FULL, :NOTHING or :INDEX <index>", entry)
		}
		rule := identityRule{identity: 'i', index: m[3]}
		if m[2] != "" {
			rule.identity = strings.ToLower(m[2])[0]
		}
		if rule.tables, err = compilePatterns([]string{strings.TrimSpace(m[1])}); err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func checkIdentities(text string) error {
	_, err := parseIdentities(text)
	return err
}

// statement returns what gives a table the identity.
func (r *identityRule) statement(t tableName) string {
	sql := "ALTER TABLE " + t.quoted() + " REPLICA IDENTITY "
	switch r.identity {
	case 'f':
		return sql + "FULL"
	case 'n':
		return sql + "NOTHING"
	case 'i':
		return sql + "USING INDEX " + quoteIdent(r.index)
	}
	return sql + "DEFAULT"
}

// identityOf returns the rule for a table, nil for none. Two for one table are an
// error: which one is meant cannot be told.
func (s *settings) identityOf(t catalogTable) (*identityRule, error) {
	var found *identityRule
	for i, rule := range s.identities {
		if !rule.tables.match(t.name.String()) && (t.root == tableName{} || !rule.tables.match(t.root.String())) {
			continue
		}
		if found != nil {
			return nil, connect.ConfigError("replica.identity.autoset.values", "more than one of its patterns match the table %s", t.name)
		}
		found = &s.identities[i]
	}
	return found, nil
}

// identityWants is what replica.identity.autoset.values asks for and a table has not.
type identityWants struct {
	table     catalogTable
	statement string
}

// identityChanges returns the statements that replica.identity.autoset.values asks
// for, for the captured tables and the partitions below them.
func (s *settings) identityChanges(ctx context.Context, d *db, all []catalogTable) (list []identityWants, err error) {
	if len(s.identities) == 0 {
		return nil, nil
	}
	for _, t := range all {
		if !s.filter.table(t.name.schema, t.name.name) && (t.root == tableName{} || !s.filter.table(t.root.schema, t.root.name)) {
			continue
		}
		rule, err := s.identityOf(t)
		if err != nil {
			return nil, err
		}
		if rule == nil || rule.identity == t.identity && rule.identity != 'i' {
			continue
		}
		if t.identity == 'i' && rule.identity == 'i' {
			r, err := d.row(ctx, `SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
				WHERE i.indrelid = $1::oid AND i.indisreplident`, fmt.Sprint(t.oid))
			if err != nil {
				return nil, explain(err, "reading about a replica identity")
			}
			if r != nil && string(r[0]) == rule.index {
				continue
			}
		}
		list = append(list, identityWants{t, rule.statement(t.name)})
	}
	return list, nil
}

// setIdentities gives tables the replica identities that
// replica.identity.autoset.values asks for, and returns a warning for each that
// could not be changed. The lock is a hard one, so it is not waited for long.
func (s *settings) setIdentities(ctx context.Context, d *db, all []catalogTable) (warnings []string, err error) {
	wants, err := s.identityChanges(ctx, d, all)
	if err != nil || len(wants) == 0 {
		return nil, err
	}
	if err := d.exec(ctx, "SET lock_timeout = '5s'"); err != nil {
		return nil, explain(err, "setting replica identities")
	}
	for _, want := range wants {
		if !want.table.owned {
			continue // The preflight has said so.
		}
		if err := d.exec(ctx, want.statement); err != nil {
			if isRetriable(explain(err, "")) && sqlState(err) != "55P03" {
				return nil, explain(err, "setting the replica identity of "+want.table.name.String())
			}
			warnings = append(warnings, "The replica identity of "+want.table.name.String()+" cannot be set ("+err.Error()+"). Let its owner run: "+want.statement)
		}
	}
	return warnings, explain(d.exec(ctx, "SET lock_timeout = 0"), "setting replica identities")
}
