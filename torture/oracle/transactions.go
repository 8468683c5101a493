package oracle

import (
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// manifest is what a transaction says of itself.
type manifest struct {
	txid          int64
	events        int
	values, shape string
	kind          string
	at            uint64 // Where the log was when it was written.
}

// manifestOf reads a row of the table of manifests.
func manifestOf(row []storm.Column) (m manifest, err error) {
	for _, c := range row {
		switch c.Name {
		case "txid":
			m.txid, err = strconv.ParseInt(c.Text, 10, 64)
		case "n":
			m.events, err = strconv.Atoi(c.Text)
		case "h":
			m.values = c.Text
		case "s":
			m.shape = c.Text
		case "kind":
			m.kind = c.Text
		case "at":
			m.at, err = parseLSN(c.Text)
		}
		if err != nil {
			return m, fmt.Errorf("a manifest: %w", err)
		}
	}
	return m, nil
}

// parseLSN reads a position as PostgreSQL writes it.
func parseLSN(text string) (uint64, error) {
	var high, low uint32
	_, err := fmt.Sscanf(text, "%X/%X", &high, &low)
	return uint64(high)<<32 | uint64(low), err
}

// pending is a transaction that has not come whole yet.
type pending struct {
	xid      int64
	digest   storm.Digest
	manifest *manifest
	ended    bool
	counted  int64 // What the record of its end says.
	bank     delta
	place    string // Of its first record.
}

// transactions are those that came.
type transactions struct {
	open  map[uint64]*pending // By commit position.
	whole map[uint64]int64    // Those all of whose events came, and their full number.
	// commits are the commit positions by full number, of those whose manifest came.
	commits map[int64]uint64
	// read are those whose manifest a snapshot has read, and after how many gaps that was.
	read map[int64]int
	// snapshot is the highest position of a snapshot's rows.
	snapshot uint64
	gaps     []*opened
}

func newTransactions() *transactions {
	return &transactions{open: map[uint64]*pending{}, whole: map[uint64]int64{}, commits: map[int64]uint64{}, read: map[int64]int{}}
}

// of returns the transaction of a record, nil when it had come whole before.
func (t *transactions) of(r *record) *pending {
	if _, done := t.whole[r.commit]; done {
		return nil
	}
	p := t.open[r.commit]
	if p == nil {
		p = &pending{xid: r.xid, place: r.at()}
		t.open[r.commit] = p
	}
	return p
}

// add takes in the first coming of an event, and says what it adds to.
func (t *transactions) add(r *record, report func(Anomaly)) *pending {
	p := t.of(r)
	switch {
	case p == nil:
		report(anomalyOf(AbortedRead, r, "an event that its transaction, which had come whole, does not have"))
	case p.xid != r.xid:
		report(anomalyOf(ValueDiff, r, "transactions %d and %d have one commit position", p.xid, r.xid))
	case r.op == opEnd:
		p.ended, p.counted = true, r.events
	case r.op == opBegin:
	case r.table == storm.TableManifest && r.op == connect.OpCreate:
		m, err := manifestOf(r.row)
		if err != nil || int64(uint32(m.txid)) != r.xid {
			report(anomalyOf(ValueDiff, r, "the manifest is not that of its transaction"))
			return p
		}
		if int(r.ordinal) != m.events+1 {
			report(anomalyOf(ValueDiff, r, "the manifest is event %d of a transaction of %d", r.ordinal, m.events+1))
		}
		if _, read := t.read[m.txid]; read {
			report(anomalyOf(SnapshotGhost, r, "a snapshot has had what comes in the stream now"))
		}
		p.manifest = &m
		t.commits[m.txid] = r.commit
	default:
		p.digest.Add(int(r.ordinal), r.event())
	}
	return p
}

// settle says what is wrong with a transaction all of whose events have come, and
// forgets it. It tells whether it came, and came as it was written.
func (t *transactions) settle(commit uint64, p *pending, report func(Anomaly)) bool {
	if p.manifest == nil || !p.ended || p.digest.N < p.manifest.events {
		return false
	}
	faults := p.judge(commit)
	for _, a := range faults {
		report(a)
	}
	t.whole[commit] = p.manifest.txid
	delete(t.open, commit)
	return len(faults) == 0
}

// judge says what is wrong with a transaction of which nothing more will come.
func (p *pending) judge(commit uint64) []Anomaly {
	say := func(name, format string, args ...any) []Anomaly {
		return []Anomaly{{Name: name, Text: fmt.Sprintf(format, args...), Place: p.place, LSN: commit, XID: p.xid}}
	}
	m := p.manifest
	switch {
	case m == nil:
		return say(AbortedRead, "%d events of a transaction without a manifest", p.digest.N)
	case p.digest.N < m.events:
		return say(Torn, "%d of %d events of a %s", p.digest.N, m.events, m.kind)
	case p.digest.N > m.events:
		return say(AbortedRead, "%d events where a %s has %d", p.digest.N, m.kind, m.events)
	case p.digest.Shape() != m.shape:
		return say(SchemaMismatch, "tables, operations or columns of a %s are not those that were written", m.kind)
	case p.digest.Values() != m.values:
		return say(ValueDiff, "values of a %s are not those that were written", m.kind)
	case p.ended && p.counted != int64(m.events)+1:
		return say(Torn, "the record of its end counts %d events where there are %d", p.counted, m.events+1)
	case !p.ended:
		return say(Lost, "the record of its end")
	case p.bank.known() && p.bank.sum != 0 && m.kind != storm.KindSetup:
		return say(ValueDiff, "a %s changes the sum of the accounts by %d", m.kind, p.bank.sum)
	}
	return nil
}
