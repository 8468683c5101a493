package mutants

// positions are bugs of what is confirmed: invariant 1.
func positions() []Mutant {
	return []Mutant{
		{
			Name:   "bug_ack_early",
			Breaks: "What was received is confirmed to PostgreSQL, whether or not it is stored (invariant 1).",
			Edits: []Edit{{
				"sources/postgres/flow.go",
				"		return max(s.safe.Load(), s.floor)\n	}\n	return s.floor",
				"		return max(s.received, s.floor)\n	}\n	return s.floor",
			}},
		},
		{
			Name:   "bug_ack_keepalive",
			Breaks: "A keepalive's position is confirmed while records are in flight (invariant 1).",
			Edits: []Edit{{
				"sources/postgres/flow.go",
				"		s.em.pos.end, s.em.pos.lsn = end, end\n		s.pending = true\n",
				"		s.em.pos.end, s.em.pos.lsn = end, end\n		s.safe.Store(max(end, s.safe.Load()))\n",
			}},
		},
		{
			Name:   "bug_ack_heartbeat",
			Breaks: "A report that is due confirms everything handed over, though it is still in flight (invariant 1).",
			Edits: []Edit{{
				"sources/postgres/flow.go",
				"	if err := s.beats.beat(ctx, s, now); err != nil {\n		return err\n	}\n",
				"	if err := s.beats.beat(ctx, s, now); err != nil {\n		return err\n	}\n	if !s.open() {\n		s.safe.Store(max(s.em.pos.end, s.safe.Load()))\n	}\n",
			}},
		},
		{
			Name:   "bug_ack_before_stored",
			Breaks: "The source is told before its offset is stored (invariant 1).",
			Edits: []Edit{{
				"worker/source_commit.go",
				"	// In a transaction the offsets were stored with the records.\n",
				"	if c, ok := t.plugin.(connect.Committer); ok {\n		_ = c.Commit(life, maps.Clone(t.reached))\n	}\n",
			}},
			Hunt: Hunt{Mode: "alo", Faults: []string{"kf.kill", "px-kafka.slow", "px-kafka.hole"}},
		},
		{
			Name:   "bug_offsets_not_awaited",
			Breaks: "The storing of offsets is not waited for (invariant 1).",
			Edits: []Edit{{
				"worker/source_commit.go",
				"		err := t.rt.offsets.write(ctx, t.id.Connector, t.reached)\n		cancel()\n		if err != nil {\n			return err\n		}\n",
				"		reached := maps.Clone(t.reached)\n		go func() {\n			_ = t.rt.offsets.write(ctx, t.id.Connector, reached)\n			cancel()\n		}()\n",
			}},
			Hunt: Hunt{Mode: "alo", Faults: []string{"kf.kill", "px-kafka.slow", "px-kafka.hole"}},
		},
	}
}

// resuming are bugs of where reading goes on: invariant 2.
func resuming() []Mutant {
	return []Mutant{
		{
			Name:   "bug_dedupe_record_lsn",
			Breaks: "Changes are told apart by their own position in the log, which rows of a COPY share (invariant 2).",
			Edits: []Edit{{
				"sources/postgres/stream.go",
				"	e.pos.lsn = at\n	return e.pos.ordinal > s.skip\n",
				"	fresh := at > e.pos.lsn\n	e.pos.lsn = max(at, e.pos.lsn)\n	return fresh && e.pos.ordinal > s.skip\n",
			}},
		},
		{
			Name:   "bug_le_for_lt",
			Breaks: "A transaction that commits exactly at the position is taken for one that was sent (invariant 2).",
			Edits:  []Edit{{"sources/postgres/stream.go", "m.commit < e.pos.end, 0", "m.commit <= e.pos.end, 0"}},
		},
		{
			Name:   "bug_resume_repeats",
			Breaks: "The last change before the place inside of a transaction is sent again on resuming (invariant 2).",
			Edits:  []Edit{{"sources/postgres/stream.go", "	return e.pos.ordinal > s.skip\n", "	return e.pos.ordinal >= max(1, s.skip)\n"}},
			Hunt:   Hunt{Faults: breaking(), Connector: tight(), Templates: []string{"transfer", "copy", "big", "bigdelete"}},
		},
		{
			Name:   "bug_resume_skips",
			Breaks: "The first change behind the place inside of a transaction is passed over on resuming (invariant 2).",
			Edits:  []Edit{{"sources/postgres/stream.go", "	return e.pos.ordinal > s.skip\n", "	return e.pos.ordinal > s.skip+min(s.skip, 1)\n"}},
			Hunt:   Hunt{Faults: breaking(), Connector: tight(), Templates: []string{"transfer", "copy", "big", "bigdelete"}},
		},
		{
			Name:   "bug_end_too_early",
			Breaks: "The position is behind a transaction as soon as it begins (invariant 2).",
			Edits: []Edit{{
				"sources/postgres/stream.go",
				"	e.pos.commit, e.pos.ordinal, e.pos.xid, e.pos.micros = m.commit, 0, m.xid, micros\n",
				"	e.pos.commit, e.pos.ordinal, e.pos.xid, e.pos.micros = m.commit, 0, m.xid, micros\n	e.pos.end = m.commit + 1\n",
			}},
			Hunt: Hunt{Mode: "alo"},
		},
		{
			Name:   "bug_drop_last_batch",
			Breaks: "The batch in hand is forgotten when the connection breaks, the position is not (invariant 4).",
			Edits: []Edit{{
				"sources/postgres/stream.go",
				"	s.tables = map[uint32]*planned{}\n",
				"	s.tables = map[uint32]*planned{}\n	s.em.newBatch()\n	s.unsent, s.txBegan = nil, 0\n",
			}},
			Hunt: Hunt{Faults: breaking()},
		},
		{
			Name:   "bug_resume_forgets",
			Breaks: "The place inside of a transaction is forgotten on resuming, so its beginning is sent again (invariant 2).",
			Edits:  []Edit{{"sources/postgres/stream.go", "		s.skip = s.resume.ordinal\n	} else if", "		s.skip = 0\n	} else if"}},
			Hunt:   Hunt{Faults: breaking(), Connector: tight(), Templates: []string{"transfer", "copy", "big", "bigdelete"}},
		},
	}
}
