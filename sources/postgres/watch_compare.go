package postgres

import (
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const (
	codePublicationGap     = "pg.publication.gap"
	codePublicationDropped = "pg.publication.dropped"
	codeTablesLimit        = "pg.tables.limit"
)

// isGrave tells an error with which reading must not go on.
func isGrave(err error) bool {
	code := connect.AsError(err).Code
	return code == codePublicationGap || code == codePublicationDropped || code == codeTablesLimit
}

// watchChange is one difference between two looks.
type watchChange struct {
	table tableName // Empty: it is about the publication.
	what  string
	gap   bool // Changes are missing in the topic.
	heals bool // Reading the table again makes up for them.
	fresh bool // It is captured from now on; new.tables.snapshot asks for its rows.
	grave bool // Whatever publication.gap.action says.
}

// place names the table, or the publication.
func (c *watchChange) place(set *settings) string {
	if c.table == (tableName{}) {
		return set.publication
	}
	return c.table.String()
}

// err is the change as the end of a task.
func (c *watchChange) err(set *settings) *connect.Error {
	if c.grave {
		e := fatal(codePublicationDropped, "the publication was dropped while the log is read", nil,
			"restart the connector: with publication.autocreate.mode other than disabled it creates the publication again. Changes made while there was none cannot be read; if the restart meets some, it fails with pg.publication.missing_at_lsn and says how to go on")
		e.Place = set.publication
		return e
	}
	e := fatal(codePublicationGap, "changes are missing in the topic: "+c.what, nil,
		"restart the connector to go on from here, and read the table again with a snapshot asked for by a signal, or set publication.gap.action=backfill, which does so by itself")
	e.Place = c.place(set)
	return e
}

// compare returns what has changed from s to now, as far as topics are concerned.
func (s *standing) compare(now *standing, set *settings) (list []watchChange) {
	if now.Publication.OID == 0 {
		if s.Publication.OID == 0 {
			return nil
		}
		return []watchChange{{what: "the publication was dropped", gap: true, grave: true}}
	}
	anew := s.Publication.OID != 0 && s.Publication.OID != now.Publication.OID
	list = s.compareOptions(now, set.publishedOperations())
	for _, oid := range s.oids() {
		before, after := s.Tables[oid], now.Tables[oid]
		if !before.Captured {
			continue
		}
		if _, there := now.Tables[oid]; !there {
			list = append(list, s.gone(before, now))
			continue
		}
		if anew && before.Published && before.root() == (tableName{}) {
			list = append(list, watchChange{table: after.name(), what: "the publication was dropped and created again; changes made in between did not arrive", gap: true, heals: true})
			continue
		}
		list = append(list, before.compare(after, now.Publication.ViaRoot)...)
	}
	if now.Publication.ViaRoot {
		list = append(list, s.emptied(now, set.skipped["t"])...)
	}
	for _, oid := range now.oids() {
		if after := now.Tables[oid]; after.Captured && !s.Tables[oid].Captured {
			if slices.Contains(s.Gone, after.name().String()) {
				list = append(list, madeAgain(after.name()))
				continue
			}
			_, old := s.Tables[oid]
			list = append(list, after.came(s.Tables[oid], old)...)
		}
	}
	return list
}

func (s *standing) compareOptions(now *standing, wanted []string) (list []watchChange) {
	var lost []string
	for _, op := range s.Publication.Operations {
		if slices.Contains(wanted, op) && !slices.Contains(now.Publication.Operations, op) {
			lost = append(lost, op)
		}
	}
	if len(lost) > 0 {
		list = append(list, watchChange{what: "the publication no longer publishes " + strings.Join(lost, " and "), gap: true})
	}
	if s.Publication.ViaRoot != now.Publication.ViaRoot {
		list = append(list, watchChange{what: "the publication's publish_via_partition_root was changed: changes of partitions come under other names"})
	}
	return list
}

// gone is what a table's disappearance means.
func (s *standing) gone(before tableStanding, now *standing) watchChange {
	c := watchChange{table: before.name(), what: "the table was dropped; its rows are not deleted in the topic"}
	if before.root() != (tableName{}) && now.Publication.ViaRoot {
		c.what, c.gap = "the partition was dropped; its rows are not deleted in the topic of "+before.root().String(), true
		return c
	}
	for _, t := range now.tables {
		if t.name == before.name() {
			return madeAgain(t.name)
		}
	}
	return c
}

func madeAgain(t tableName) watchChange {
	return watchChange{table: t, gap: true, heals: true,
		what: "the table was dropped and created again: it is another table, and rows of the former are not deleted in the topic"}
}

// compare returns what has changed of one captured table.
func (t tableStanding) compare(now tableStanding, viaRoot bool) (list []watchChange) {
	add := func(c watchChange) { list = append(list, c) }
	if t.name() != now.name() {
		c := watchChange{table: t.name(), what: "the table was renamed to " + now.name().String() + "; its changes come under that name"}
		if !now.Captured {
			c.what, c.gap = "the table was renamed to "+now.name().String()+", which is not captured; its changes do not arrive any more", true
		}
		add(c)
	}
	switch {
	case t.root() != now.root() && t.RootName != "":
		c := watchChange{table: t.name(), gap: true, what: "the partition was detached from " + t.root().String() + "; its rows are not deleted in that topic"}
		if !viaRoot {
			c.what, c.gap = "the partition was detached from "+t.root().String(), !now.Captured || !now.Published
		}
		add(c)
	case t.Published && !now.Published && now.Captured:
		add(watchChange{table: now.name(), what: "the table left the publication", gap: true, heals: true})
	case t.Entry != 0 && now.Entry != 0 && t.Parts != now.Parts && now.RootName == "":
		add(watchChange{table: now.name(), what: "the row filter or column list of the table in the publication was changed", gap: true, heals: true})
	case t.Entry != 0 && now.Entry != 0 && t.Entry != now.Entry && now.RootName == "":
		add(watchChange{table: now.name(), what: "the table left the publication and joined it again; changes made in between did not arrive", gap: true, heals: true})
	}
	if t.RootName == "" && now.RootName != "" {
		list = append(list, now.came(t, true)...)
	}
	lost := now.Identity == "n" || now.Identity == "d" && !now.Keyed
	if had := t.Identity == "n" || t.Identity == "d" && !t.Keyed; lost && !had {
		add(watchChange{table: now.name(), what: "the table has no primary key and no other replica identity any more: PostgreSQL refuses UPDATE and DELETE on it while it is published"})
	}
	return list
}

// emptied returns the partitions that were emptied by themselves. When a partitioned
// table is emptied all of them are, and the log tells of that; of one that has a
// single partition it cannot be told which it was.
func (s *standing) emptied(now *standing, skipped bool) (list []watchChange) {
	leaves, renewed := map[tableName]int{}, map[tableName][]tableStanding{}
	for _, oid := range s.oids() {
		before, after := s.Tables[oid], now.Tables[oid]
		if before.RootName == "" || after.RootName == "" || !after.Captured || before.File == 0 {
			continue
		}
		leaves[after.root()]++
		if before.File != after.File && after.Fresh {
			renewed[after.root()] = append(renewed[after.root()], after)
		}
	}
	for root, tables := range renewed {
		if n := leaves[root]; n > 1 && len(tables) == n {
			continue
		}
		for _, t := range tables {
			c := watchChange{table: t.name(), gap: !skipped, what: "the partition was emptied by TRUNCATE; its rows are not deleted in the topic of " + root.String()}
			if t.Filled {
				c.what = "the partition was emptied by TRUNCATE or rewritten; if it was emptied, its former rows are not deleted in the topic of " + root.String()
			}
			list = append(list, c)
		}
	}
	return list
}

// came is what it means that a table is captured now which was not before; old tells
// that it was there.
func (t tableStanding) came(before tableStanding, old bool) []watchChange {
	switch {
	case t.RootName != "" && t.Filled && (t.Attached || old && before.RootName == ""):
		return []watchChange{{table: t.root(), what: "the partition " + t.name().String() + " was attached with rows in it, which did not arrive", gap: true, heals: true}}
	case old && before.Published && before.name() == t.name() && t.RootName == "":
		return []watchChange{{table: t.name(), what: "the table is captured now, which it was not before; rows that it has already did not arrive", fresh: true}}
	case old && before.name() != t.name() && t.RootName == "":
		return []watchChange{{table: t.name(), what: "the table " + before.name().String() + " was renamed and is captured now; rows it had before did not arrive", gap: true, heals: true}}
	}
	return nil
}
