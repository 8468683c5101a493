package sql

import "strconv"

// with writes a WITH clause, or nothing when it is empty.
func with(b []byte, props []property) []byte {
	if len(props) == 0 {
		return b
	}
	b = append(b, " WITH ("...)
	for i, p := range props {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(propertyName(b, p.text), '=')
		b = p.value.appendSQL(b)
	}
	return append(b, ')')
}

// propertyName writes a property's name: a word as it is, anything else as a
// string, which is how connectors' settings are written.
func propertyName(b []byte, s string) []byte {
	if bareName(s) {
		return append(b, s...)
	}
	return stringSQL(b, s)
}

// maybe writes a keyword when on is true.
func maybe(b []byte, on bool, keyword string) []byte {
	if on {
		b = append(b, keyword...)
	}
	return b
}

// sourceKind writes STREAM or TABLE.
func sourceKind(b []byte, table bool) []byte {
	if table {
		return append(b, "TABLE"...)
	}
	return append(b, "STREAM"...)
}

func (e *element) appendSQL(b []byte) []byte {
	b = append(identSQL(b, e.text), ' ')
	b = append(b, e.typ.String()...)
	switch e.constraint {
	case keyColumn:
		b = append(b, " KEY"...)
	case primaryKey:
		b = append(b, " PRIMARY KEY"...)
	case allHeaders:
		b = append(b, " HEADERS"...)
	case oneHeader:
		b = append(stringSQL(append(b, " HEADER("...), e.header), ')')
	}
	return b
}

func elementList(b []byte, list []element) []byte {
	for i := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = list[i].appendSQL(b)
	}
	return b
}

func (s *createSource) appendSQL(b []byte) []byte {
	b = maybe(append(b, "CREATE "...), s.orReplace, "OR REPLACE ")
	b = maybe(b, s.readOnly, "SOURCE ")
	b = append(sourceKind(b, s.table), ' ')
	b = identSQL(maybe(b, s.ifNotExists, "IF NOT EXISTS "), s.name.text)
	if s.declared {
		b = append(elementList(append(b, " ("...), s.elements), ')')
	}
	return with(b, s.with)
}

func (s *createAs) appendSQL(b []byte) []byte {
	b = maybe(append(b, "CREATE "...), s.orReplace, "OR REPLACE ")
	b = append(sourceKind(b, s.table), ' ')
	b = identSQL(maybe(b, s.ifNotExists, "IF NOT EXISTS "), s.name.text)
	return s.query.appendSQL(append(with(b, s.with), " AS "...))
}

func (s *insertInto) appendSQL(b []byte) []byte {
	b = identSQL(append(b, "INSERT INTO "...), s.target.text)
	return s.query.appendSQL(append(with(b, s.with), ' '))
}

func (s *insertValues) appendSQL(b []byte) []byte {
	b = identSQL(append(b, "INSERT INTO "...), s.target.text)
	for i, c := range s.columns {
		b = append(b, map[bool]string{true: " (", false: ", "}[i == 0]...)
		b = identSQL(b, c.text)
	}
	b = maybe(b, len(s.columns) > 0, ")")
	return append(exprList(append(b, " VALUES ("...), s.values), ')')
}

func (s *drop) appendSQL(b []byte) []byte {
	b = append(append(append(b, "DROP "...), s.what...), ' ')
	b = identSQL(maybe(b, s.ifExists, "IF EXISTS "), s.name.text)
	return maybe(b, s.deleteTopic, " DELETE TOPIC")
}

func (s *alterSource) appendSQL(b []byte) []byte {
	b = identSQL(append(sourceKind(append(b, "ALTER "...), s.table), ' '), s.name.text)
	for i := range s.columns {
		b = append(maybe(b, i > 0, ","), " ADD COLUMN "...)
		b = s.columns[i].appendSQL(b)
	}
	return b
}

func (s *createType) appendSQL(b []byte) []byte {
	b = identSQL(maybe(append(b, "CREATE TYPE "...), s.ifNotExists, "IF NOT EXISTS "), s.name.text)
	return append(append(b, " AS "...), s.typ.String()...)
}

func (s *createConnector) appendSQL(b []byte) []byte {
	b = append(b, "CREATE "...)
	if s.sink {
		b = append(b, "SINK"...)
	} else {
		b = append(b, "SOURCE"...)
	}
	b = maybe(append(b, " CONNECTOR "...), s.ifNotExists, "IF NOT EXISTS ")
	return with(identSQL(b, s.name.text), s.with)
}

func (s *control) appendSQL(b []byte) []byte {
	b = append(append(b, s.verb...), ' ')
	if s.id.text == "" {
		return append(b, "ALL"...)
	}
	return identSQL(b, s.id.text)
}

func (s *describe) appendSQL(b []byte) []byte {
	b = append(b, "DESCRIBE"...)
	if s.what != "" {
		b = append(append(b, ' '), s.what...)
	}
	if s.name.text != "" {
		b = identSQL(append(b, ' '), s.name.text)
	}
	return maybe(b, s.extended, " EXTENDED")
}

func (s *explain) appendSQL(b []byte) []byte {
	b = append(b, "EXPLAIN "...)
	if s.stmt == nil {
		return identSQL(b, s.id.text)
	}
	return s.stmt.appendSQL(b)
}

func (s *show) appendSQL(b []byte) []byte {
	b = append(maybe(append(b, "SHOW "...), s.all, "ALL "), s.what...)
	return maybe(b, s.extended, " EXTENDED")
}

func (s *printTopic) appendSQL(b []byte) []byte {
	b = maybe(identSQL(append(b, "PRINT "...), s.topic.text), s.fromBeginning, " FROM BEGINNING")
	if s.interval > 1 {
		b = strconv.AppendInt(append(b, " INTERVAL "...), int64(s.interval), 10)
	}
	if s.limit > 0 {
		b = strconv.AppendInt(append(b, " LIMIT "...), int64(s.limit), 10)
	}
	return b
}

func (s *set) appendSQL(b []byte) []byte {
	b = append(append(b, s.verb...), ' ')
	if s.verb == "DEFINE" || s.verb == "UNDEFINE" {
		b = identSQL(b, s.key)
	} else {
		b = stringSQL(b, s.key)
	}
	if s.verb == "UNSET" || s.verb == "UNDEFINE" {
		return b
	}
	return stringSQL(append(b, " = "...), s.value)
}

func (s *runScript) appendSQL(b []byte) []byte {
	return stringSQL(append(b, "RUN SCRIPT "...), s.file)
}

func (s *assert) appendSQL(b []byte) []byte {
	b = maybe(append(b, "ASSERT "...), s.notExists, "NOT EXISTS ")
	if s.schema {
		b = append(b, "SCHEMA"...)
		if s.subject != "" {
			b = stringSQL(append(b, " SUBJECT "...), s.subject)
		}
		if s.id > 0 {
			b = strconv.AppendInt(append(b, " ID "...), int64(s.id), 10)
		}
	} else {
		b = with(identSQL(append(b, "TOPIC "...), s.topic.text), s.with)
	}
	if s.timeout.n > 0 {
		b = s.timeout.appendSQL(append(b, " TIMEOUT "...))
	}
	return b
}

func (s *createSource) String() string    { return string(s.appendSQL(nil)) }
func (s *createAs) String() string        { return string(s.appendSQL(nil)) }
func (s *insertInto) String() string      { return string(s.appendSQL(nil)) }
func (s *insertValues) String() string    { return string(s.appendSQL(nil)) }
func (s *drop) String() string            { return string(s.appendSQL(nil)) }
func (s *alterSource) String() string     { return string(s.appendSQL(nil)) }
func (s *createType) String() string      { return string(s.appendSQL(nil)) }
func (s *createConnector) String() string { return string(s.appendSQL(nil)) }
func (s *control) String() string         { return string(s.appendSQL(nil)) }
func (s *describe) String() string        { return string(s.appendSQL(nil)) }
func (s *explain) String() string         { return string(s.appendSQL(nil)) }
func (s *show) String() string            { return string(s.appendSQL(nil)) }
func (s *printTopic) String() string      { return string(s.appendSQL(nil)) }
func (s *set) String() string             { return string(s.appendSQL(nil)) }
func (s *runScript) String() string       { return string(s.appendSQL(nil)) }
func (s *assert) String() string          { return string(s.appendSQL(nil)) }
func (s *query) String() string           { return string(s.appendSQL(nil)) }
