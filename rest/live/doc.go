// Package live gives many clients the rows of one query while they change: each gets the rows
// that are there, and then every change, as Server-Sent Events.
//
// A [Hub] runs a query once, however many follow it. The run folds the rows of a table and
// writes each change once, into pages that all clients read at their own pace:
//
//	query ──▶ rows of the table, as they are now          ──▶ client that comes
//	      └─▶ page ─▶ page ─▶ page being written (a ring) ──▶ clients that are here
//
// The ring has a bound in bytes. A client that is further behind than the ring reaches is cut
// off, and begins with all rows again when it comes back: nobody waits for it.
//
// The id of an event says how far the topics of the query had been read: the next offset of
// each partition. A client that comes back with the last id it has seen, to any worker, gets
// what came after it and no more, as long as the ring there reaches back to it.
//
//	h := live.New(live.Limits{})
//	err := h.Serve(ctx, live.Request{Key: text, Run: run, After: lastEventID}, write)
package live
