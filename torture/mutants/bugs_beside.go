package mutants

// beside are bugs of tables that are read while the log is.
func beside() []Mutant {
	signalled := Hunt{Faults: []string{"signal.incremental", "px-pg.slow", "ws.kill", "w.kill"}}
	return []Mutant{
		{
			Name:   "bug_incremental_stale",
			Breaks: "Rows of a chunk that have changed since it was read are sent all the same (invariant 3).",
			Edits: []Edit{{
				"sources/postgres/incremental_send.go",
				"		if !drop[i] {\n",
				"		if i >= 0 || drop[i] {\n",
			}},
			Hunt: signalled,
		},
		{
			Name:   "bug_incremental_ahead",
			Breaks: "A chunk is sent as soon as it is read, before the log has come to where it was read (invariant 3).",
			Edits: []Edit{{
				"sources/postgres/incremental_send.go",
				"	return ch.back && ch.reached && ch.batch != nil\n",
				"	return ch.back && ch.batch != nil\n",
			}},
			Hunt: signalled,
		},
	}
}
