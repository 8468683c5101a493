package postgres

import (
	"context"
	"slices"
	"strings"
)

// checkPublication looks whether the publication is there and gives what is asked
// for.
func (p *preflight) checkPublication(ctx context.Context) error {
	info, err := p.db.publication(ctx, p.set.publication)
	if err != nil {
		return err
	}
	name := quoteIdent(p.set.publication)
	switch {
	case info == nil && p.set.publicationMode == "disabled":
		p.fault(Finding{Setting: "publication.name", Code: "pg.publication.missing", Place: p.set.publication,
			What: "the publication does not exist, and publication.autocreate.mode=disabled forbids to create it", SQL: []string{p.set.statement(p.wanted, p.viaRoot)}})
		return nil
	case info == nil || !p.set.when.stream:
		return nil
	}
	if lacks := info.lacks(p.wanted); len(lacks) > 0 && p.set.publicationMode != "filtered" {
		report := p.warn // In the other modes somebody else may add them at any time.
		if p.set.publicationMode == "disabled" {
			report = p.fault
		}
		report(Finding{Setting: "publication.name", Code: "pg.publication.tables", Place: p.set.publication,
			What: "the publication lacks captured tables, and publication.autocreate.mode=" + p.set.publicationMode + " forbids to add them",
			SQL:  []string{"ALTER PUBLICATION " + name + " ADD TABLE " + tableList(lacks)}})
	}
	return p.checkOptions(ctx, info)
}

// statement is what makes the publication by hand: for the captured tables, whatever
// publication.autocreate.mode says.
func (s *settings) statement(tables []catalogTable, viaRoot bool) string {
	by := *s
	by.publicationMode = "filtered"
	return by.createPublication(tables, viaRoot)
}

const queryPublication = `SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_catalog.pg_publication WHERE pubname = $1`

// checkOptions looks at what an existing publication leaves out.
func (p *preflight) checkOptions(ctx context.Context, info *publicationInfo) error {
	r, err := p.db.row(ctx, queryPublication, p.set.publication)
	if err != nil || r == nil {
		return explain(err, "reading about the publication")
	}
	name := quoteIdent(p.set.publication)
	var lacks, all []string
	for i, op := range []string{"insert", "update", "delete", "truncate"} {
		wanted := slices.Contains(p.set.publishedOperations(), op)
		if wanted && !truth(r[i]) {
			lacks = append(lacks, op)
		}
		if wanted || truth(r[i]) {
			all = append(all, op)
		}
	}
	if len(lacks) > 0 && !p.set.mayAlter(info) { // Otherwise the start adds them.
		p.warn(Finding{Setting: "publication.name", Code: "pg.publication.operations", Place: p.set.publication, What: "the publication does not publish " + joinNames(lacks),
			Why: "such changes never arrive, and nothing tells of them", SQL: []string{"ALTER PUBLICATION " + name + " SET (publish = '" + strings.Join(all, ", ") + "')"}, Mend: "or name them in skipped.operations"})
	}
	if p.set.viaRootGiven && info.viaRoot != p.set.viaRoot && !p.set.mayAlter(info) && p.partitioned() {
		word := map[bool]string{true: "true", false: "false"}
		p.warn(Finding{Setting: "publish.via.partition.root", Code: "pg.publication.via_root", Place: p.set.publication,
			What: "the publication has publish_via_partition_root=" + word[info.viaRoot] + ", which counts, and the user may not change it",
			Why:  "rows of partitioned tables come under other names than publish.via.partition.root=" + word[p.set.viaRoot] + " asks for",
			SQL:  []string{"ALTER PUBLICATION " + name + " SET (publish_via_partition_root = " + word[p.set.viaRoot] + ")"}})
	}
	return p.checkParts(ctx)
}

func (p *preflight) partitioned() bool {
	return slices.ContainsFunc(p.tables, func(t catalogTable) bool { return t.partition || t.kind == 'p' })
}

// Filters and column lists of a publication's tables came with PostgreSQL 15. A column
// list that lacks columns of the replica identity makes changes fail where they are
// made.
const queryParts = `SELECT pg_catalog.format('%s.%s', n.nspname, c.relname), pr.prqual IS NOT NULL, pr.prattrs IS NOT NULL,
	c.relreplident = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::int2[]) k(attnum)
		WHERE i.indrelid = c.oid AND (i.indisprimary AND c.relreplident = 'd' OR i.indisreplident AND c.relreplident = 'i') AND NOT k.attnum = ANY (pr.prattrs::int2[]))
	FROM pg_catalog.pg_publication_rel pr JOIN pg_catalog.pg_publication p ON p.oid = pr.prpubid JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid
	JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1 AND (pr.prqual IS NOT NULL OR pr.prattrs IS NOT NULL)`

// checkParts looks for row filters and column lists that do not go together with what
// else is asked for.
func (p *preflight) checkParts(ctx context.Context) error {
	if p.server.version < 150000 {
		return nil
	}
	rows, err := p.db.rows(ctx, queryParts, p.set.publication)
	if err != nil {
		return explain(err, "reading about the tables of the publication")
	}
	for _, r := range rows {
		table := string(r[0])
		if truth(r[2]) && truth(r[3]) && slices.Contains(p.set.publishedOperations(), "update") {
			p.warn(Finding{Setting: "publication.name", Code: "pg.publication.columns", Place: table, What: "the publication's column list lacks columns of the replica identity",
				Why: "PostgreSQL refuses UPDATE and DELETE on the table", Mend: "add the columns: ALTER PUBLICATION " + quoteIdent(p.set.publication) + " SET TABLE … (…)"})
		}
	}
	return nil
}
