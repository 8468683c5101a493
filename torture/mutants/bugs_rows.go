package mutants

// rows are bugs of what becomes of a change.
func rows() []Mutant {
	return []Mutant{
		{
			Name:   "bug_toast_null",
			Breaks: "A large value that the log does not repeat becomes null (invariant 5).",
			Edits: []Edit{{
				"sources/postgres/event.go",
				"				values[cp.field] = cp.missing\n",
				"				values[cp.field] = cp.null\n",
			}},
		},
		{
			Name:   "bug_relation_cache",
			Breaks: "A table's columns are not learnt again when they change (invariant 5).",
			Edits: []Edit{{
				"sources/postgres/stream_learn.go",
				"	s.tables[r.oid] = t\n",
				"	if s.tables[r.oid] != nil {\n		return nil\n	}\n	s.tables[r.oid] = t\n",
			}},
		},
		{
			Name:   "bug_no_tombstone",
			Breaks: "No tombstone follows a deletion, so compaction keeps what was deleted.",
			Edits: []Edit{{
				"sources/postgres/event.go",
				"	bury := e.set.tombstones && !key.IsNull()\n",
				"	bury := false\n",
			}},
		},
		{
			Name:   "bug_key_change",
			Breaks: "An update that changes the key is told as one of the new key; the old one is never deleted.",
			Edits: []Edit{{
				"sources/postgres/event.go",
				"	changed := m.oldKind != 0 && p.key != nil && p.keyChanged(m)\n",
				"	changed := false\n",
			}},
		},
		{
			Name:   "bug_truncate_lost",
			Breaks: "Nobody is told that a table was emptied.",
			Edits: []Edit{{
				"sources/postgres/stream.go",
				"	if s.set.skipped[\"t\"] {\n",
				"	if s.set.skipped[\"t\"] || len(m.relations) > 0 {\n",
			}},
		},
	}
}

// records are bugs of what a record carries, and of the memory it lies in.
func records() []Mutant {
	return []Mutant{
		{
			Name:   "bug_message_lost",
			Breaks: "Logical messages inside of transactions are counted and not sent.",
			Edits: []Edit{{
				"sources/postgres/message.go",
				"	if !s.set.filter.prefixes.match(m.prefix) {\n		return nil\n	}\n",
				"	if m.transactional || !s.set.filter.prefixes.match(m.prefix) {\n		return nil\n	}\n",
			}},
		},
		{
			Name:   "bug_old_as_new",
			Breaks: "Under replica identity FULL a value that is null now is taken from the row before.",
			Edits: []Edit{{
				"sources/postgres/event.go",
				"		if raw.kind == columnUnchanged {\n			if len(old)",
				"		if raw.kind == columnNull && len(old) == len(t) && old[i].held() {\n			raw = old[i]\n		}\n		if raw.kind == columnUnchanged {\n			if len(old)",
			}},
		},
		{
			Name:   "bug_batch_reused",
			Breaks: "The memory of a batch is used again while the last record of its transaction still lies in it.",
			Edits: []Edit{{
				"sources/postgres/batch.go",
				"	if !b.lends {\n		p.put(b)\n	}\n",
				"	p.put(b)\n	parent = nil\n",
			}},
		},
		{
			Name:   "bug_last_row_early",
			Breaks: "The row that is held back until its transaction ends keeps the position before the end (invariant 2).",
			Edits: []Edit{{
				"sources/postgres/stream.go",
				"		last.SourceOffset, last.Boundary = end, connect.BoundaryCommit\n",
				"		last.Boundary = connect.BoundaryCommit\n",
			}},
		},
	}
}
