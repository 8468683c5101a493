package mutants

// delivery are bugs of the way into Kafka: invariants 3 and 4.
func delivery() []Mutant {
	return []Mutant{
		{
			Name:   "bug_no_fence",
			Breaks: "Each start of a task has an identity of its own, so its predecessor is not shut out and what that left open stays open (invariant 4).",
			Edits: []Edit{{
				"worker/source_open.go",
				"		opts = append(opts, kgo.TransactionalID(transactionalID(t.rt.groupID, t.id)))\n",
				"		opts = append(opts, kgo.TransactionalID(transactionalID(t.rt.groupID, t.id)+time.Now().String()))\n",
			}},
			Hunt: Hunt{Mode: "eos", Points: "worker.transaction.flushed=kill@5"},
		},
		{
			Name:   "bug_offset_outside_txn",
			Breaks: "The offset is stored beside the transaction of its records, before that is committed (invariant 4).",
			Edits: []Edit{{
				"worker/source_txn_end.go",
				"		e := t.rt.offsets.entry(t.id.Connector, p, o.AppendJSON(nil))\n		t.producer.Produce(life, &kgo.Record{Topic: t.rt.offsetsTopic, Key: e.Key, Value: e.Value, Partition: connect.AnyPartition}, x.stored)\n",
				"		if err := t.rt.offsets.journal.Put(life, t.rt.offsets.entry(t.id.Connector, p, o.AppendJSON(nil))); err != nil {\n			return err\n		}\n",
			}, {
				"worker/source_txn_end.go",
				"append(tx.fresh, t.rt.offsetsTopic)...)",
				"tx.fresh...)",
			}},
			// Late enough for the snapshot to be over, and no fault begins the count anew.
			Hunt: Hunt{Mode: "eos", Faults: []string{"ws.kill"}, Points: "worker.transaction.flushed=kill@150"},
		},
		{
			Name:   "bug_rollback_commits",
			Breaks: "What is to be rolled back is committed without its offset (invariant 4).",
			Edits:  []Edit{{"worker/source_txn_end.go", "	if err := p.EndTransaction(life, kgo.TryAbort); err != nil {\n", "	if err := p.EndTransaction(life, kgo.TryCommit); err != nil {\n"}, {"worker/source_txn_end.go", "	if err := p.AbortBufferedRecords(life); err != nil {\n", "	if err := p.Flush(life); err != nil {\n"}},
			Hunt:   Hunt{Mode: "eos", Connector: tight(), Faults: []string{"w.term", "rest.restart", "rest.stop"}, Templates: []string{"transfer", "big", "bigdelete"}},
		},
		{
			Name:   "bug_failed_committed",
			Breaks: "A transaction is committed though a record of it could not be written (invariant 4).",
			Edits: []Edit{{
				"worker/source_txn_end.go",
				"	case !x.t.tolerated(out.Context, out, err):\n",
				"	case out.Context == nil:\n",
			}},
			Hunt: Hunt{Mode: "eos", Faults: []string{"kf.part"}},
		},
		{
			Name:   "bug_finished_failed",
			Breaks: "A record that could not be written counts as finished (invariant 4).",
			Edits: []Edit{{
				"worker/source_send.go",
				"	if err != nil && !t.tolerated(c, out, err) {\n		return // Not finished: no offset passes this record.\n	}\n",
				"",
			}},
			Hunt: Hunt{Mode: "alo", Faults: []string{"kf.part"}},
		},
		{
			Name:   "bug_finished_sent",
			Breaks: "A record counts as finished as soon as it is handed to the producer (invariants 1 and 4).",
			Edits: []Edit{{
				"worker/source_send.go",
				"	t.producer.Produce(o.way.Context, &o.Record, t.promise)\n",
				"	t.finish(o.way.ticket)\n	t.producer.Produce(o.way.Context, &o.Record, func(out *kgo.Record, err error) { out.Context.(*inflight).release(err == nil) })\n",
			}},
			Hunt: Hunt{Mode: "alo"},
		},
	}
}

// order are bugs of what overtakes what: invariants 3 and 4.
func order() []Mutant {
	// What is read at once does not fill a batch, and a connection that broke while the
	// other side was silent is noticed soon.
	slack := map[string]string{"max.batch.size": "1024", "max.queue.size": "2048", "status.update.interval.ms": "100"}
	return []Mutant{
		{
			Name:   "bug_offset_gap",
			Breaks: "An offset is stored though a record before it is not acknowledged (invariant 4).",
			Edits: []Edit{{
				"worker/submitted.go",
				"	if t.number != l.first {\n		return\n	}\n",
				"	if o := l.entries[l.head+int(t.number-l.first)].offset; o != nil {\n		l.reached = o\n		if !l.touched {\n			l.touched = true\n			s.touched = append(s.touched, l)\n		}\n	}\n	if t.number != l.first {\n		return\n	}\n",
			}},
			Hunt: Hunt{Mode: "alo", Faults: []string{"kf.part+w.kill"}},
		},
		{
			Name:   "bug_partition_any",
			Breaks: "Records of one key go to any partition, so that its changes overtake each other (invariant 3).",
			Edits: []Edit{{
				"worker/partitioner.go",
				"	return p.TopicPartitioner.Partition(r, n)\n",
				"	return len(r.Value) % n\n",
			}},
			Hunt: Hunt{Connector: map[string]string{"topic.creation.default.partitions": "3"}},
		},
		{
			Name:   "bug_reorder",
			Breaks: "Two records of different keys change places on their way (invariant 3).",
			Edits: []Edit{{
				"sources/postgres/flow.go",
				"	b.records = b.records[:n]\n	s.em.hint = n\n",
				"	b.records = b.records[:n]\n	if n > 2 {\n		b.records[0].Record, b.records[1].Record = b.records[1].Record, b.records[0].Record\n	}\n	s.em.hint = n\n",
			}},
		},
		{
			Name:   "bug_unsent_late",
			Breaks: "What waited to be handed over when a connection broke is handed over behind what came later (invariant 3).",
			Edits: []Edit{{
				"sources/postgres/stream.go",
				"		if err := s.beside.resend(ctx, c); err != nil {\n			return err\n		}\n		if err := s.drain(ctx, c); err != nil {\n",
				"		if err := s.drain(ctx, c); err != nil {\n",
			}, {
				"sources/postgres/stream.go",
				"		case ctx.Err() == nil && len(s.out) == cap(s.out):\n",
				"		case ctx.Err() == nil && len(s.out) == cap(s.out) && s.unsent == nil:\n",
			}, {
				"sources/postgres/flow.go",
				"	if b == nil {\n		if !s.waiting() {\n",
				"	if b != nil && s.waiting() {\n		late := b\n		defer func() {\n			select {\n			case s.out <- late:\n			case <-ctx.Done():\n			}\n		}()\n		b = s.cut()\n	}\n	if b == nil {\n		if !s.waiting() {\n",
			}},
			Hunt: Hunt{Connector: slack, Faults: []string{"px-kafka.hole+ws.kill"}},
		},
	}
}
