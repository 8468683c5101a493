package oracle

import (
	"strconv"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// account is what is known of one account.
type account struct {
	balance, version int64
	gone             bool
}

// delta is by how much a transaction changes the sum of the accounts.
type delta struct {
	sum     int64
	unknown bool // It changes an account that had not been met before.
}

func (d *delta) known() bool { return !d.unknown }

// bank keeps the accounts as the topic tells them.
type bank struct {
	accounts map[string]account
	// blind tells that there was a gap: accounts may be there that nothing was told of yet.
	blind bool
}

// take follows the first coming of a change of an account. Every change of a row raises
// its version by one, whatever it changes.
func (b *bank) take(r *record, d *delta, report func(Anomaly)) {
	if r.table != storm.TableAccounts || len(r.key) == 0 {
		return
	}
	id := r.key[0].Text
	before, met := b.accounts[id]
	if r.op == connect.OpDelete {
		if d.unknown = d.unknown || !met; met && before.gone {
			report(anomalyOf(Lost, r, "account %s is deleted and was not there", id))
		}
		d.sum -= before.balance
		b.accounts[id] = account{version: before.version, gone: true}
		return
	}
	now := accountOf(r)
	b.accounts[id] = now
	if r.op == connect.OpRead {
		return
	}
	d.sum += now.balance - before.balance
	switch {
	case r.op == connect.OpCreate && met && !before.gone:
		report(anomalyOf(Lost, r, "account %s is opened and was there", id))
	case r.op == connect.OpCreate:
	case !met:
		d.unknown = true
	case before.gone || now.version > before.version+1:
		report(anomalyOf(Lost, r, "account %s has version %d after %d", id, now.version, before.version))
	case now.version <= before.version:
		report(anomalyOf(Reorder, r, "account %s has version %d after %d", id, now.version, before.version))
	}
}

// look compares an account that was read beside the log with what its changes so far
// have come to. It changes nothing.
func (b *bank) look(r *record, report func(Anomaly)) {
	if r.table != storm.TableAccounts || len(r.key) == 0 {
		return
	}
	id, now := r.key[0].Text, accountOf(r)
	switch before, met := b.accounts[id]; {
	case !met && b.blind:
	case !met:
		report(anomalyOf(Lost, r, "account %s is read, and nothing was told of it", id))
	case before.gone:
		report(anomalyOf(SnapshotGhost, r, "account %s is read and was deleted", id))
	case now.version < before.version:
		report(anomalyOf(Reorder, r, "account %s is read with version %d after %d", id, now.version, before.version))
	case now != before:
		report(anomalyOf(Lost, r, "account %s is read with version %d and balance %d when version %d and balance %d were told",
			id, now.version, now.balance, before.version, before.balance))
	}
}

// accountOf returns what a record says of an account.
func accountOf(r *record) (a account) {
	for _, c := range r.row {
		switch c.Name {
		case "bal":
			a.balance, _ = strconv.ParseInt(c.Text, 10, 64)
		case "_v":
			a.version, _ = strconv.ParseInt(c.Text, 10, 64)
		}
	}
	return a
}
