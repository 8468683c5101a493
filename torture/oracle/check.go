package oracle

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/torture/storm"
)

// Truth is what the topics are compared with when the storm is over.
type Truth struct {
	// Source is a connection to the database of the storm. Nobody writes to it any more.
	Source *pgx.Conn
	// Decoded is what test_decoding says; nil to do without.
	Decoded *Decoding
	// Pairs are tables elsewhere that must have what a query of the source gives: that of a
	// sink, or a derived one.
	Pairs []Pair
}

// Pair is two queries that must give the same rows, in any order.
type Pair struct {
	Name       string
	Want, Have Query
}

// Query is a query on a connection.
type Query struct {
	Conn *pgx.Conn
	SQL  string
}

// check compares the ledger with the source.
func (l *ledger) check(ctx context.Context, t Truth) ([]Anomaly, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	final := found{}
	if _, err := t.Source.Exec(ctx, "SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET timezone = 'UTC'"); err != nil {
		return nil, fmt.Errorf("asking for values in one form: %w", err)
	}
	committed, err := sourceManifests(ctx, t.Source)
	if err != nil {
		return nil, fmt.Errorf("reading the manifests: %w", err)
	}
	ends := map[int64]uint64{}
	if t.Decoded != nil {
		if err := t.Decoded.Drain(ctx); err != nil {
			return nil, err
		}
		ends = t.Decoded.ends()
	}
	l.transactions.compare(committed, ends, final.add)
	for tp, p := range l.partitions {
		if p.buried != nil {
			final.add(Anomaly{Name: Lost, Text: "the tombstone of the last deletion", Place: tp.String()})
		}
	}
	if err := l.fold.compare(ctx, t.Source, final.add); err != nil {
		return nil, err
	}
	if t.Decoded != nil {
		t.Decoded.compare(committed, l.transactions, final.add)
	}
	for _, p := range t.Pairs {
		if err := p.compare(ctx, final.add); err != nil {
			return nil, fmt.Errorf("comparing %s: %w", p.Name, err)
		}
	}
	return append(l.found.all(), final.all()...), nil
}

// sourceManifests reads the manifests of all transactions that committed.
func sourceManifests(ctx context.Context, conn *pgx.Conn) (map[int64]manifest, error) {
	rows, err := conn.Query(ctx, "SELECT txid, n, h, s, kind, at FROM manifest")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := map[int64]manifest{}
	for rows.Next() {
		var m manifest
		var at string
		if err := rows.Scan(&m.txid, &m.events, &m.values, &m.shape, &m.kind, &at); err != nil {
			return nil, err
		}
		if m.at, err = parseLSN(at); err != nil {
			return nil, err
		}
		list[m.txid] = m
	}
	return list, rows.Err()
}

// compare holds the transactions that came against those that committed, which ended at
// the positions in ends, where these are known.
func (t *transactions) compare(committed map[int64]manifest, ends map[int64]uint64, report func(Anomaly)) {
	short := map[int64]bool{}
	for _, txid := range sorted(committed) {
		m := committed[txid]
		short[int64(uint32(txid))] = true
		_, streamed := t.commits[txid]
		after, read := t.read[txid]
		end, known := ends[int64(uint32(txid))]
		if !known {
			end = m.at
		}
		switch {
		case streamed, read && after == 0:
		case read && t.told(end, after):
		case read:
			report(Anomaly{Name: SilentGap, Text: fmt.Sprintf("a %s of %d events did not come and is in no gap that was told; its rows were read later", m.kind, m.events), LSN: end, XID: txid})
		case t.any(int64(uint32(txid))):
			// Said below: its events came without the manifest.
		case m.at <= t.snapshot:
			report(Anomaly{Name: SnapshotHole, Text: "a " + m.kind + " before the snapshot that it does not have", XID: txid})
		default:
			report(Anomaly{Name: Lost, Text: fmt.Sprintf("a %s of %d events", m.kind, m.events), XID: txid})
		}
	}
	for txid, commit := range t.commits {
		if _, ok := committed[txid]; !ok {
			report(Anomaly{Name: AbortedRead, Text: "the manifest of a transaction that was rolled back", LSN: commit, XID: txid})
		}
	}
	for _, txid := range sorted(t.read) {
		if _, ok := committed[txid]; !ok {
			report(Anomaly{Name: SnapshotGhost, Text: "the snapshot has a transaction that was rolled back", XID: txid})
		}
	}
	for _, commit := range sorted(t.open) {
		p := t.open[commit]
		for _, a := range p.judge(commit) {
			if p.manifest == nil && short[p.xid] {
				a.Name, a.Text = Torn, fmt.Sprintf("%d events without the manifest", p.digest.N)
			}
			report(a)
		}
	}
}

// any tells whether something of a transaction came that did not come whole.
func (t *transactions) any(xid int64) bool {
	for _, p := range t.open {
		if p.xid == xid {
			return true
		}
	}
	return false
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// compare runs both queries and compares the rows.
func (p Pair) compare(ctx context.Context, report func(Anomaly)) error {
	want, err := p.Want.rows(ctx)
	if err != nil {
		return err
	}
	have, err := p.Have.rows(ctx)
	if err != nil {
		return err
	}
	for row, n := range have {
		want[row] -= n
	}
	for row, n := range want {
		if n > 0 {
			report(Anomaly{Name: Lost, Text: fmt.Sprintf("%d rows %.200s", n, row), Place: p.Name})
		} else if n < 0 {
			report(Anomaly{Name: ValueDiff, Text: fmt.Sprintf("%d rows too many: %.200s", -n, row), Place: p.Name})
		}
	}
	return nil
}

// rows returns the rows as texts, and how often each is there.
func (q Query) rows(ctx context.Context) (map[string]int, error) {
	list := map[string]int{}
	results := q.Conn.PgConn().Exec(ctx, q.SQL)
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			columns := make([]storm.Column, len(r.Values()))
			for i, v := range r.Values() {
				columns[i] = storm.Column{Null: v == nil, Text: string(v)}
			}
			list[keyText(columns)]++
		}
	}
	return list, results.Close()
}
