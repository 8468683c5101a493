package postgres

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
)

// watchMark is what a cheap look tells: whether a closer one is worth while, and
// which transactions are under way.
type watchMark struct {
	print        string
	oldest, next int64 // The oldest transaction under way, and the next to come.
}

// The sums of hashes need no order and little work, also with many tables. They have who
// wrote a row last (xmin) in them: what is changed and changed back is another print, so
// that it is seen when the closer look fell in between.
const queryMark = `SELECT
	(SELECT pg_catalog.md5(pg_catalog.to_jsonb(p)::text || p.oid || p.xmin) FROM pg_catalog.pg_publication p WHERE p.pubname = $1),
	(SELECT pg_catalog.concat(pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(r.oid, r.xmin), 0)))
		FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1),
	(SELECT pg_catalog.concat(pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended(
			pg_catalog.concat(c.oid, ' ', c.xmin, ' ', c.relname, ' ', c.relnamespace, c.relkind, c.relfilenode, c.relreplident, c.relispartition, c.relpersistence), 0)))
		FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384),
	(SELECT pg_catalog.concat(pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(i.inhrelid, ' ', i.inhparent), 0))) FROM pg_catalog.pg_inherits i),
	(SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(n.oid, n.nspname), 0)) FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_'),
	pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()), pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())`

func (d *db) watchMark(ctx context.Context, publication string) (watchMark, error) {
	r, err := d.row(ctx, queryMark, publication)
	if err != nil || r == nil {
		return watchMark{}, explain(err, "watching the catalogue")
	}
	m := watchMark{oldest: number(r[5]), next: number(r[6])}
	for _, part := range r[:5] {
		m.print += string(part) + " "
	}
	return m, nil
}

// standing is how the publication and the tables stand.
type standing struct {
	Print       string                   `json:"print"`
	Server      string                   `json:"server"` // And the database.
	Publication publicationStanding      `json:"publication"`
	Tables      map[uint32]tableStanding `json:"tables"` // All of the database, by their oid.
	// Gone are the names of captured tables that were dropped, schema.table: one that
	// comes under such a name is another table.
	Gone []string `json:"gone,omitempty"`
	// Waiting are tables whose rows are still to be asked for.
	Waiting []waitingTable `json:"waiting,omitempty"`
	tables  []catalogTable // Those that are captured.
}

// waitingTable is a table whose rows are to be read, and why.
type waitingTable struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Why    string `json:"why"`
}

type publicationStanding struct {
	Name       string   `json:"name"`
	OID        uint32   `json:"oid"` // 0: there is none.
	AllTables  bool     `json:"all_tables"`
	ViaRoot    bool     `json:"via_root"`
	Operations []string `json:"operations"`
}

// tableStanding is how one table stands.
type tableStanding struct {
	Schema   string `json:"schema"`
	Name     string `json:"name"`
	Captured bool   `json:"captured,omitempty"` // Itself, or through its root.
	// Published tells that the publication has it, Entry which row of
	// pg_publication_rel does so, if one does, and Parts its row filter and columns.
	Published bool   `json:"published,omitempty"`
	Entry     uint32 `json:"entry,omitempty"`
	Parts     string `json:"parts,omitempty"`
	Identity  string `json:"identity,omitempty"`
	Keyed     bool   `json:"keyed,omitempty"`
	// Of partitions: the topmost table, the file that holds the rows, whether it is
	// empty or was just made, and whether it was a table before it became a partition.
	RootSchema string `json:"root_schema,omitempty"`
	RootName   string `json:"root_name,omitempty"`
	File       uint32 `json:"file,omitempty"`
	Filled     bool   `json:"filled,omitempty"`
	Fresh      bool   `json:"fresh,omitempty"`
	Attached   bool   `json:"attached,omitempty"`
}

func (t tableStanding) name() tableName { return tableName{t.Schema, t.Name} }
func (t tableStanding) root() tableName { return tableName{t.RootSchema, t.RootName} }

const queryEntries = `SELECT r.prrelid, r.oid, pg_catalog.concat(pg_catalog.to_jsonb(r)->>'prqual', ' ', pg_catalog.to_jsonb(r)->>'prattrs')
	FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1`

// A table that was attached has system columns that are older than its being a
// partition. One that was emptied has a new file without statistics, as has one that
// was rewritten.
const queryLeaves = `SELECT c.oid, c.relfilenode, pg_catalog.pg_relation_size(c.oid) > 0, c.relpages = 0 AND c.reltuples <= 0, i.xmin <> a.xmin
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
	JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = -1 WHERE c.relispartition AND c.relkind = 'r'`

// standing reads how everything stands, as of one moment.
func (d *db) standing(ctx context.Context, set *settings) (*standing, error) {
	if err := d.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return nil, explain(err, "watching the catalogue")
	}
	s, err := d.readStanding(ctx, set)
	if err != nil {
		return nil, err // The connection is given up, and with it the transaction.
	}
	return s, explain(d.exec(ctx, "COMMIT"), "watching the catalogue")
}

// readStanding does so inside a transaction.
func (d *db) readStanding(ctx context.Context, set *settings) (*standing, error) {
	s := &standing{Publication: publicationStanding{Name: set.publication}, Tables: map[uint32]tableStanding{}}
	info, err := d.publication(ctx, set.publication)
	if err != nil {
		return nil, err
	}
	if info != nil {
		s.Publication.OID, s.Publication.AllTables, s.Publication.ViaRoot = info.oid, info.allTables, info.viaRoot
		wanted := set.publishedOperations()
		s.Publication.Operations = slices.DeleteFunc(info.operations, func(op string) bool { return !slices.Contains(wanted, op) })
	}
	all, err := d.tables(ctx)
	if err != nil {
		return nil, err
	}
	s.tables, _ = set.capture(all, info)
	for _, t := range all {
		captured := set.filter.table(t.name.schema, t.name.name) || t.partition && set.filter.table(t.root.schema, t.root.name)
		s.Tables[t.oid] = tableStanding{
			Schema: t.name.schema, Name: t.name.name, Captured: captured && t.logged, Identity: string(t.identity), Keyed: t.keyed,
			RootSchema: t.root.schema, RootName: t.root.name,
		}
	}
	if err := s.published(ctx, d, all, info); err != nil {
		return nil, err
	}
	return s, s.leaves(ctx, d)
}

// published fills in what the publication has.
func (s *standing) published(ctx context.Context, d *db, all []catalogTable, info *publicationInfo) error {
	rows, err := d.rows(ctx, queryEntries, s.Publication.Name)
	if err != nil {
		return explain(err, "watching the publication")
	}
	entries := make(map[uint32][][]byte, len(rows))
	for _, r := range rows {
		entries[uint32(number(r[0]))] = r
	}
	oids := make(map[tableName]uint32, len(all))
	for _, t := range all {
		oids[t.name] = t.oid
	}
	for _, t := range all {
		st := s.Tables[t.oid]
		st.Published = info != nil && (info.allTables || info.tables[t.name] || info.tables[t.root])
		entry, own := entries[t.oid]
		if !own && t.partition {
			entry, own = entries[oids[t.root]]
		}
		if own {
			st.Entry, st.Parts = uint32(number(entry[1])), string(entry[2])
		}
		s.Tables[t.oid] = st
	}
	return nil
}

// leaves fills in how partitions stand.
func (s *standing) leaves(ctx context.Context, d *db) error {
	rows, err := d.rows(ctx, queryLeaves)
	if err != nil {
		return explain(err, "watching partitions")
	}
	for _, r := range rows {
		oid := uint32(number(r[0]))
		if st, ok := s.Tables[oid]; ok {
			st.File, st.Filled, st.Fresh, st.Attached = uint32(number(r[1])), truth(r[2]), truth(r[3]), truth(r[4])
			s.Tables[oid] = st
		}
	}
	return nil
}

// missing returns the captured tables that the publication lacks.
func (s *standing) missing() (list []catalogTable) {
	for _, t := range s.tables {
		if !s.Tables[t.oid].Published {
			list = append(list, t)
		}
	}
	return list
}

// inherit takes over the names of tables that are gone.
func (s *standing) inherit(before *standing) {
	names := map[string]bool{}
	for _, t := range s.tables {
		names[t.name.String()] = true
	}
	list := before.Gone
	for _, oid := range before.oids() {
		if t := before.Tables[oid]; t.Captured && t.RootName == "" && s.Tables[oid].Name == "" {
			list = append(list, t.name().String())
		}
	}
	for _, name := range list {
		if !names[name] && !slices.Contains(s.Gone, name) {
			s.Gone = append(s.Gone, name)
		}
	}
	const most = 1000
	s.Gone = s.Gone[max(0, len(s.Gone)-most):]
}

// adopt takes over from a later standing how some tables stand.
func (s *standing) adopt(later *standing, tables []catalogTable) {
	for _, t := range tables {
		if st, ok := later.Tables[t.oid]; ok {
			s.Tables[t.oid] = st
		}
	}
}

// standingFile keeps how things stood, so that what happens while the connector is
// stopped is noticed when it starts: on the same server and in the same database, since
// numbers of tables mean nothing elsewhere. The empty name keeps nothing.
type standingFile string

func (f standingFile) load(publication, server string) *standing {
	text, err := os.ReadFile(string(f))
	if f == "" || err != nil {
		return nil
	}
	s := &standing{}
	if json.Unmarshal(text, s) != nil || s.Publication.Name != publication || s.Server != server {
		return nil
	}
	s.Print = "" // The captured tables are found anew.
	return s
}

// store replaces what is kept. What cannot be kept is not noticed after a restart,
// and nothing else suffers.
func (f standingFile) store(s *standing) {
	if f == "" {
		return
	}
	text, err := json.Marshal(s)
	if err != nil || os.MkdirAll(filepath.Dir(string(f)), 0o700) != nil {
		return
	}
	if next := string(f) + ".next"; os.WriteFile(next, text, 0o600) == nil {
		_ = os.Rename(next, string(f))
	}
}

// forget is for a start from a new snapshot, which makes up for all that was missed.
func (f standingFile) forget() {
	if f != "" {
		_ = os.Remove(string(f))
	}
}

// oids returns the tables' numbers in order.
func (s *standing) oids() []uint32 {
	list := make([]uint32, 0, len(s.Tables))
	for oid := range s.Tables {
		list = append(list, oid)
	}
	slices.Sort(list)
	return list
}
