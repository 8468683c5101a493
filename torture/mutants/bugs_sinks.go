package mutants

// sinks are bugs of the way out of Kafka into another database.
func sinks() []Mutant {
	calm, cut := Hunt{Copies: true, Faults: []string{"px-kafka.slow"}}, Hunt{Copies: true, Faults: []string{"px-pg.cut", "pg.crash"}}
	return []Mutant{
		{
			Name:   "bug_sink_ack_early",
			Breaks: "A batch's offsets are committed before the sink has it.",
			Edits: []Edit{{
				"worker/sink_task.go",
				"	if err == nil {\n		err = t.put(ctx)\n	}\n",
				"	for tp, next := range t.next {\n		if s := t.assigned[tp]; s != nil {\n			s.put = next\n		}\n	}\n	if err == nil {\n		err = t.commit()\n	}\n	if err == nil {\n		err = t.put(ctx)\n	}\n",
			}},
			Hunt: Hunt{Copies: true, Faults: []string{"px-kafka.slow"}, Points: "worker.sink.put=kill@15"},
		},
		{
			Name:   "bug_sink_no_deletes",
			Breaks: "Deletions do not reach the target.",
			Edits: []Edit{{
				"sinks/postgres/change.go",
				"	if r.Value.IsNull() {\n		if !rd.options.deletes {\n",
				"	if r.Value.IsNull() {\n		if len(rd.slab) >= 0 {\n",
			}, {
				"sinks/postgres/change.go",
				"		c.kind = kindDelete\n		if !rd.options.deletes {\n			return c, false, nil\n		}\n		return rd.locate(ctx, c, connect.Value{})\n	case connect.OpTruncate",
				"		return c, false, nil\n	case connect.OpTruncate",
			}},
			Hunt: calm,
		},
		{
			Name:   "bug_sink_first_wins",
			Breaks: "Of several changes of a key in one batch the first is written, not the last.",
			Edits: []Edit{{
				"sinks/postgres/batch.go",
				"				c.overlay(&g.rows[at])\n				g.rows[at].plan = nil\n",
				"				_ = at\n				continue\n",
			}},
			Hunt: calm,
		},
		{
			Name:   "bug_sink_gives_up",
			Breaks: "A batch that meets a lost connection is given up.",
			Edits: []Edit{{
				"worker/sink_put.go",
				"		err := t.plugin.Put(t.life, t.batch)\n",
				"		err := t.plugin.Put(t.life, t.batch)\n		if err != nil && connect.AsError(err).Class == connect.ClassRetriable {\n			err = nil\n		}\n",
			}},
			Hunt: cut,
		},
	}
}
