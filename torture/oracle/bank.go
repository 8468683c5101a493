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
type bank struct{ accounts map[string]account }

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
	now := account{}
	for _, c := range r.row {
		switch c.Name {
		case "bal":
			now.balance, _ = strconv.ParseInt(c.Text, 10, 64)
		case "_v":
			now.version, _ = strconv.ParseInt(c.Text, 10, 64)
		}
	}
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
