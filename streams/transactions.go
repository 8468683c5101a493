package streams

import (
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// settling are the operators that transaction mode knows to give only what is true at the
// end of a transaction: those without memory, and those that keep rows of tables.
var settling = map[string]bool{
	"source": true, "sink": true, "filter": true, "map": true, "mapvalues": true, "selectkey": true, "flatmap": true,
	"merge": true, "peek": true, "foreach": true, "branch": true, "branched": true, "changes": true, "tostream": true,
	"groupby": true, "table": true, "keep": true, "aggregate": true, "tablejoin": true, "join": true,
	"subscribe": true, "publish": true, "foreignkey": true, "cogroup": true, "window": true, "suppress": true,
	"streamjoin": true, "globaljoin": true,
}

// single are those of them whose results are of one transaction alone, which is then a
// commit of its own: what of a table or of another stream a record meets is as of its
// transaction, and not of a later one that is there too.
var single = map[string]bool{"join": true, "globaljoin": true, "streamjoin": true}

// quiet are those of them whose stores nobody hears about: they are written to when
// everything that is read beside them is as of the transaction, or keep what is passed on
// at commits.
var quiet = map[string]bool{"publish": true, "suppress": true, "streamjoin": true}

// checkTransactions refuses what transaction mode cannot do.
func checkTransactions(a *App) error {
	if a.Transactions == nil {
		return checkRecords(a.Topology)
	}
	var faults connect.Errors
	fault := func(code, place, message, mend string) {
		faults = append(faults, &connect.Error{Code: code, Class: connect.ClassConfig, Place: place, Message: message, Mend: mend})
	}
	if a.Transactions.Topic == "" || a.Transactions.Value == nil {
		fault("streams.transaction.source", a.ID, "the transactions' Source has no Topic or no Value", "name the topic of transaction metadata and the Serde that reads it")
	}
	if !a.ExactlyOnce {
		fault("streams.transaction.guarantee", a.ID, "transaction mode takes exactly once", "set App.ExactlyOnce")
	}
	if a.Standbys > 0 {
		fault("streams.transaction.standbys", a.ID, "copies of stores follow their changelogs one by one, and not by transactions", "leave App.Standbys out: other processes of the application take over all the same")
	}
	if a.FromLatest {
		fault("streams.transaction.latest", a.ID, "transaction mode begins at the start of the topics: what comes later changes rows that it would not have", "leave App.FromLatest out")
	}
	if a.OnFault != nil {
		fault("streams.transaction.fault", a.ID, "a state of the database without a record that is at fault is one that it never had", "leave App.OnFault out")
	}
	for _, g := range a.Topology.globals {
		fault("streams.transaction.operator", g.name, "the global table follows its topic by itself, and not by transactions", "read a captured topic with CDC.Global, or join with a table")
	}
	for _, n := range a.Topology.nodes {
		checkSettling(n, fault)
	}
	if len(faults) == 0 {
		checkCaptured(a, fault)
	}
	return faults.OrNil()
}

// checkRecords refuses what can be done in transaction mode alone.
func checkRecords(t *Topology) error {
	for _, n := range t.nodes {
		for _, s := range n.stores {
			if s.global && s.owner == n {
				return recordsGlobal(s)
			}
		}
	}
	return nil
}

func recordsGlobal(s *storeSpec) error {
	return &connect.Error{
		Code: "streams.global.records", Class: connect.ClassConfig, Place: s.name,
		Message: "a global table of change events is read in transaction mode alone, where one process has all partitions",
		Mend:    "set App.Transactions, or read a topic of rows with GlobalFrom",
	}
}

// checkSettling refuses operators whose results may show the inside of a transaction.
func checkSettling(n *node, fault func(code, place, message, mend string)) {
	own := func(s *storeSpec) bool { return s.owner == n }
	switch {
	case !settling[n.op]:
		fault("streams.transaction.operator", n.name, "transaction mode does not know the operator "+n.op,
			"derive it in an application without Transactions, from what this one writes")
	case n.op == "table" && !slices.ContainsFunc(n.stores, own):
		fault("streams.transaction.unkept", n.name, "the table is not kept, and would pass on what rows are in the midst of a transaction",
			"keep it, with With{Store: …}")
	case n.pattern != nil:
		fault("streams.transaction.pattern", n.name, "topics by pattern come and go, and transactions need all of theirs", "name the topics, and bring streams of several together with Stream.Merge")
	case n.isSource && !n.internal && !n.envelopes:
		fault("streams.transaction.source", n.name, "topic "+n.topic+" is not read as change events", "read it with CDC")
	}
	for _, s := range n.stores {
		if own(s) && s.layout.History > 0 {
			fault("streams.transaction.history", n.name, "transaction mode keeps the rows of the database's last state, and no history of them", "leave With.History out")
		} else if own(s) && !s.cached && n.op == "window" {
			fault("streams.transaction.uncached", n.name, "the windows are passed on as they close, also in the midst of a transaction", "leave OnClose out, and hold the table back with window.UntilClosed")
		} else if own(s) && !s.cached && !quiet[n.op] {
			fault("streams.transaction.uncached", n.name, "the table passes on every change at once, also in the midst of a transaction", "leave With.Uncached, With.History and With.Grace out")
		}
	}
}

// checkCaptured refuses a topic of transaction metadata that is read as a table too.
func checkCaptured(a *App, fault func(code, place, message, mend string)) {
	if slices.Contains(a.Topology.Sources(), a.Transactions.Topic) {
		fault("streams.transaction.source", a.Transactions.Topic, "the topic of transaction metadata is read as a table", fmt.Sprintf("leave it to application %s to read it", a.ID))
	}
}
