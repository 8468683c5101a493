package mutants

// snapshots are bugs of the snapshot, and of where it meets the log.
func snapshots() []Mutant {
	return []Mutant{
		{
			Name:   "bug_snapshot_gap",
			Breaks: "The log is read from where it is when the snapshot has ended: what was committed meanwhile is lost.",
			Edits: []Edit{{
				"sources/postgres/snapshot_take.go",
				"	start.snapshot, start.forced = snapshotDone, false\n",
				"	if r, err := side.row(ctx, \"SELECT pg_catalog.pg_current_wal_lsn()::text\"); err == nil && len(r) > 0 {\n		start.lsn, start.end = parseLSN(r[0]), parseLSN(r[0])\n	}\n	start.snapshot, start.forced = snapshotDone, false\n",
			}},
			Hunt: Hunt{Templates: calm()},
		},
		{
			Name:   "bug_snapshot_view",
			Breaks: "The snapshot's connections each have a view of their own, which is not the one of the slot.",
			Edits: []Edit{{
				"sources/postgres/snapshot.go",
				"\"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT \" + quoteLiteral(s.slot.snapshot) + \"; SET LOCAL synchronize_seqscans = off\"",
				"\"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL synchronize_seqscans = off\"",
			}},
		},
		{
			Name:   "bug_snapshot_tail",
			Breaks: "The last row of a snapshot is left out; only its position is stored.",
			Edits: []Edit{{
				"sources/postgres/snapshot.go",
				"	if last.batch == nil {\n		if !told {\n",
				"	if last.batch == nil || done > 0 {\n		if !told {\n",
			}},
			Hunt: Hunt{Templates: calm()},
		},
		{
			Name:   "bug_snapshot_pieces",
			Breaks: "Between two pieces of a large table a page is left out.",
			Edits:  []Edit{{"sources/postgres/snapshot_pieces.go", "	s := span{i * step, (i + 1) * step}\n", "	s := span{i * step, (i+1)*step - 1}\n"}},
			Hunt:   Hunt{Templates: calm()},
		},
		{
			Name:   "bug_snapshot_done_early",
			Breaks: "Rows of a snapshot carry the position of a complete one: a crash in between leaves a part of the tables.",
			Edits: []Edit{{
				"sources/postgres/snapshot_table.go",
				"	at := r.em.pos\n",
				"	at := r.em.pos\n	at.snapshot = snapshotDone\n",
			}},
			Hunt: Hunt{Mode: "alo", Templates: calm(), Points: "source.snapshot.last=stop:2s;worker.offsets.stored=kill"},
		},
	}
}
