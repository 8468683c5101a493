package mutants

// streamed are bugs of transactions that come while they are in progress.
func streamed() []Mutant {
	large := Hunt{Templates: []string{"transfer", "big", "bigdelete"}}
	return []Mutant{
		{
			Name:   "bug_stream_subabort",
			Breaks: "The changes of a subtransaction that was rolled back are kept.",
			Edits: []Edit{{
				"sources/postgres/streamed.go",
				"		t.aborted.add(m.sub)\n",
				"",
			}},
		},
		{
			Name:   "bug_stream_updates_kept",
			Breaks: "Of a subtransaction that was rolled back only the new rows are dropped, not its updates and deletions.",
			Edits: []Edit{{
				"sources/postgres/streamed.go",
				"		if t.aborted.has(e.xid) {\n",
				"		if t.aborted.has(e.xid) && e.message[0] != 'U' && e.message[0] != 'D' {\n",
			}},
			Hunt: large,
		},
		{
			Name:   "bug_spill_tail",
			Breaks: "Of a transaction that went to a file, what was still in memory is lost.",
			Edits: []Edit{{
				"sources/postgres/spill.go",
				"	return readEntries(t.buf[min(blockHead, len(t.buf)):], give)\n",
				"	if t.file != nil {\n		return nil\n	}\n	return readEntries(t.buf[min(blockHead, len(t.buf)):], give)\n",
			}},
		},
		{
			Name:   "bug_stream_twice",
			Breaks: "A transaction that came in progress and was sent in full before is sent again (invariant 2).",
			Edits: []Edit{{
				"sources/postgres/streamed.go",
				"	if s.block, err = s.spill.begin(m.xid, m.first); err != nil {\n",
				"	if s.block, err = s.spill.begin(m.xid, m.first && s.spill.txs[m.xid] == nil); err != nil {\n",
			}, {
				"sources/postgres/stream.go",
				"	if err := s.spill.reset(); err != nil {\n",
				"	if err := error(nil); err != nil {\n",
			}},
			Hunt: Hunt{Faults: []string{"ws.kill", "px-pg.cut", "px-pg.rst"}, Templates: []string{"transfer", "long"}},
		},
	}
}
