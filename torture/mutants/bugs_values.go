package mutants

// values are bugs of single values: unknown becomes silent (invariant 5).
func values() []Mutant {
	return []Mutant{
		{
			Name:   "bug_gucs",
			Breaks: "The settings that shape the text of values are those of the database, not pinned.",
			Edits: []Edit{
				{
					"sources/postgres/conn.go",
					"\"datestyle\": \"ISO, MDY\", \"intervalstyle\": \"iso_8601\", \"bytea_output\": \"hex\", \"extra_float_digits\": \"3\", \"timezone\": \"UTC\",\n",
					"",
				},
			},
		},
		{
			Name:   "bug_numeric_scale",
			Breaks: "A numeric loses the last digit of its fraction.",
			Edits: []Edit{
				{
					"sources/postgres/types_numeric.go",
					"	return connect.StringBytes(a.keep(n.append(a.tail(n.room())))), nil\n",
					"	n.scale = max(0, n.scale-1)\n	return connect.StringBytes(a.keep(n.append(a.tail(n.room())))), nil\n",
				},
				{
					"sources/postgres/types_numeric.go",
					"		return connect.String(\"NEGATIVE_INFINITY\"), nil\n	}\n	return a.text(text), nil\n",
					"		return connect.String(\"NEGATIVE_INFINITY\"), nil\n	}\n	return a.text(text[:max(1, len(text)-1)]), nil\n",
				},
			},
		},
		{
			Name:   "bug_timestamp_shift",
			Breaks: "The infinite timestamps are taken for the last and the first that there are.",
			Edits: []Edit{
				{
					"sources/postgres/types_time.go",
					"	case t == late:\n		return connect.Int64(infinityMicros), nil\n	case t == early:\n		return connect.Int64(minusInfinityMicros), nil\n	case t > math.MaxInt64-postgresEpoch:\n",
					"	case t == late:\n		return connect.Int64(math.MaxInt64), nil\n	case t == early:\n		return connect.Int64(math.MinInt64), nil\n	case t > math.MaxInt64-postgresEpoch:\n",
				},
			},
		},
		{
			Name:   "bug_old_schema_id",
			Breaks: "A record carries the schema id of the topic's first schema, whatever its own is.",
			Edits: []Edit{{
				"converters/avro/converter.go",
				"	if w := c.writers[key]; w != nil {\n		return w, nil\n	}\n	w, err := c.newWriter(ctx, key)\n	if err != nil {\n		return nil, err\n	}\n",
				"	if w := c.writers[key]; w != nil {\n		return w, nil\n	}\n	w, err := c.newWriter(ctx, key)\n	if err != nil {\n		return nil, err\n	}\n	for k, o := range c.writers {\n		if k.topic == key.topic {\n			w.header = o.header\n		}\n	}\n",
			}},
		},
		{
			Name:   "bug_renamed_table",
			Breaks: "A table that has another name now is told under the old one, as long as its columns are the same (invariant 5).",
			Edits: []Edit{{
				"sources/postgres/stream_learn.go",
				"	s.tables[r.oid] = t\n",
				"	if old := s.tables[r.oid]; old != nil && old.rel.name != r.name && sameColumns(old.rel, r) {\n		return nil\n	}\n	s.tables[r.oid] = t\n",
			}},
		},
	}
}
