package mutants

// flowing are bugs of the streams engine, found by what an application in several
// processes derives while these fail.
func flowing() []Mutant {
	return []Mutant{
		{
			Name:   "bug_flow_offsets_apart",
			Breaks: "The consumed offsets are committed before the transaction that they belong to: what is aborted is not done again.",
			Edits: []Edit{{
				"streams/commit.go",
				"	if err := r.send(ctx, tasks); err != nil {\n		return r.overdue(err)\n	}\n	done, err := r.commitOffsets(ctx, tasks)\n",
				"	early := topics.Commits{}\n	for _, t := range tasks {\n		for _, q := range t.queues {\n			if q.next != q.saved {\n				early.Add(q.topic, t.id.partition, topics.Commit{Offset: q.next})\n			}\n		}\n	}\n" +
					"	if err := r.commitPlain(ctx, early); err != nil {\n		return err\n	}\n	if err := r.send(ctx, tasks); err != nil {\n		return r.overdue(err)\n	}\n	done, err := r.commitOffsets(ctx, tasks)\n",
			}},
			Hunt: Hunt{Streams: true, Faults: []string{"s.kill", "s.burst", "s.slow", "s.half", "s.hole", "s.cut"}},
		},
		{
			Name:   "bug_flow_changelog_hole",
			Breaks: "Some changes of state are not in the changelog, so that who takes a task over counts from an older state.",
			Edits: []Edit{{
				"streams/task.go",
				"	if st.spec.layout.Unlogged || st.versions != nil {\n		return\n	}\n	r := t.slab.record()\n",
				"	if st.spec.layout.Unlogged || st.versions != nil || t.streamTime%8 == 3 {\n		return\n	}\n	r := t.slab.record()\n",
			}},
			Hunt: Hunt{Streams: true, Faults: []string{"s.wipe", "s.away"}},
		},
		{
			Name:   "bug_flow_dirty_abort",
			Breaks: "After an aborted transaction the state stays what it was: what is done again is counted again.",
			Edits: []Edit{{
				"streams/task.go",
				"		st.cache.Discard()\n",
				"",
			}},
			Hunt: Hunt{Streams: true, Faults: []string{"s.kill", "s.away", "s.hole", "kf.kill"}},
		},
		{
			Name:   "bug_flow_window_again",
			Breaks: "Which windows have been passed on is forgotten with the process: their results come twice.",
			Edits: []Edit{{
				"streams/window/clock.go",
				"	c.emitted = int64(binary.BigEndian.Uint64(note[8:]))\n",
				"",
			}},
			Hunt: Hunt{Streams: true, Faults: []string{"s.kill", "s.away"}},
		},
		{
			Name:   "bug_flow_alone_and_paired",
			Breaks: "A record that has found a partner late has its result alone as well.",
			Edits: []Edit{{
				"streams/join/lonely.go",
				"	return l.store.Delete(place)\n",
				"	return nil\n",
			}},
			Hunt: Hunt{Streams: true, Faults: []string{"s.kill"}},
		},
	}
}
