package sql

// insert reads INSERT INTO … VALUES and INSERT INTO … SELECT.
func (p *parser) insert() (Statement, error) {
	start := p.peek()
	p.at++
	if err := p.expect("INTO"); err != nil {
		return nil, err
	}
	target, err := p.ident("a stream or table")
	if err != nil {
		return nil, err
	}
	props, err := p.with()
	if err != nil {
		return nil, err
	}
	if p.is("SELECT") {
		q, err := p.query()
		if err != nil {
			return nil, err
		}
		return &insertInto{span: p.since(start.pos), target: target, with: props, query: q}, nil
	}
	s := &insertValues{target: target}
	if len(props) == 0 && p.sym("(") {
		if s.columns, err = p.names("a column name"); err != nil {
			return nil, err
		}
	}
	if err := p.expect("VALUES"); err != nil {
		return nil, err
	}
	if err := p.expectSym("("); err != nil {
		return nil, err
	}
	if s.values, err = p.expressions(); err != nil {
		return nil, err
	}
	if err := p.expectSym(")"); err != nil {
		return nil, err
	}
	s.span = p.since(start.pos)
	return s, nil
}

// names reads identifiers up to the closing parenthesis.
func (p *parser) names(what string) ([]name, error) {
	var out []name
	for {
		n, err := p.ident(what)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		if !p.sym(",") {
			return out, p.expectSym(")")
		}
	}
}

func (p *parser) drop() (Statement, error) {
	start := p.peek()
	p.at++
	s := &drop{}
	for _, what := range [...]string{"STREAM", "TABLE", "TYPE", "CONNECTOR"} {
		if p.accept(what) {
			s.what = what
			break
		}
	}
	if s.what == "" {
		return nil, p.unexpected()
	}
	s.ifExists = p.accept("IF", "EXISTS")
	var err error
	if s.name, err = p.ident("a name"); err != nil {
		return nil, err
	}
	if s.what == "STREAM" || s.what == "TABLE" {
		s.deleteTopic = p.accept("DELETE", "TOPIC")
	}
	s.span = p.since(start.pos)
	return s, nil
}

func (p *parser) describe() (Statement, error) {
	start := p.peek()
	p.at++
	s := &describe{}
	next := p.ahead(1)
	ends := next.kind == eof || next.kind == symbol && next.text == ";" || next.kind == word && next.text == "EXTENDED"
	switch {
	case ends && (p.is("STREAMS") || p.is("TABLES")):
		s.what = p.peek().text
		p.at++
	case !ends && (p.is("FUNCTION") || p.is("CONNECTOR")):
		s.what = p.peek().text
		p.at++
	}
	if s.what != "STREAMS" && s.what != "TABLES" {
		n, err := p.ident("a stream or table")
		if err != nil {
			return nil, err
		}
		s.name = n
	}
	if s.what == "" || s.what == "STREAMS" || s.what == "TABLES" {
		s.extended = p.accept("EXTENDED")
	}
	s.span = p.since(start.pos)
	return s, nil
}

func (p *parser) explain() (Statement, error) {
	start := p.peek()
	p.at++
	s := &explain{}
	var err error
	if p.is("SELECT") || p.is("CREATE") || p.is("INSERT") {
		s.stmt, err = p.statement()
	} else {
		s.id, err = p.ident("a query id")
	}
	s.span = p.since(start.pos)
	return s, err
}

func (p *parser) show() (Statement, error) {
	start := p.peek()
	p.at++
	s := &show{}
	s.all = p.accept("ALL", "TOPICS")
	switch {
	case s.all:
		s.what = "TOPICS"
	case p.accept("SOURCE", "CONNECTORS"):
		s.what = "SOURCE CONNECTORS"
	case p.accept("SINK", "CONNECTORS"):
		s.what = "SINK CONNECTORS"
	case p.accept("CONNECTOR", "PLUGINS"):
		s.what = "CONNECTOR PLUGINS"
	default:
		for _, what := range [...]string{"STREAMS", "TABLES", "QUERIES", "TOPICS", "FUNCTIONS", "PROPERTIES", "TYPES", "VARIABLES", "CONNECTORS"} {
			if p.accept(what) {
				s.what = what
				break
			}
		}
	}
	switch s.what {
	case "":
		return nil, p.unexpected()
	case "STREAMS", "TABLES", "QUERIES", "TOPICS":
		s.extended = p.accept("EXTENDED")
	}
	s.span = p.since(start.pos)
	return s, nil
}

func (p *parser) print() (Statement, error) {
	start := p.peek()
	p.at++
	s := &printTopic{interval: 1}
	t := p.peek()
	if t.kind == text && t.text != "" {
		p.at++
		s.topic = name{span{t.pos, t.end}, t.text}
	} else {
		n, err := p.ident("a topic")
		if err != nil {
			return nil, err
		}
		s.topic = n
	}
	s.fromBeginning = p.accept("FROM", "BEGINNING")
	var err error
	if p.accept("INTERVAL") || p.accept("SAMPLE") {
		if s.interval, err = p.integer("a number"); err != nil {
			return nil, err
		}
	}
	if p.accept("LIMIT") {
		if s.limit, err = p.integer("a number of rows"); err != nil {
			return nil, err
		}
	}
	s.span = p.since(start.pos)
	return s, nil
}

func (p *parser) control() (Statement, error) {
	start := p.peek()
	p.at++
	s := &control{verb: start.text}
	if next := p.ahead(1); p.is("ALL") && (next.kind == eof || next.kind == symbol) {
		p.at++
		s.span = p.since(start.pos)
		return s, nil
	}
	var err error
	s.id, err = p.ident("a query id")
	s.span = p.since(start.pos)
	return s, err
}

// set reads SET, UNSET, DEFINE and UNDEFINE.
func (p *parser) set() (Statement, error) {
	start := p.peek()
	p.at++
	switch start.text {
	case "SET":
		return p.assignment("SET", start.pos)
	case "UNSET":
		key, err := p.str("a property in quotes")
		return &set{span: p.since(start.pos), verb: "UNSET", key: key}, err
	}
	n, err := p.ident("a variable")
	if err != nil {
		return nil, err
	}
	s := &set{verb: start.text, key: n.text}
	if s.verb == "DEFINE" {
		if err = p.expectSym("="); err != nil {
			return nil, err
		}
		if s.value, err = p.str("a value in quotes"); err != nil {
			return nil, err
		}
	}
	s.span = p.since(start.pos)
	return s, nil
}

// assignment reads 'key' = 'value'.
func (p *parser) assignment(verb string, pos int) (Statement, error) {
	s := &set{verb: verb}
	var err error
	if s.key, err = p.str("a property in quotes"); err != nil {
		return nil, err
	}
	if err = p.expectSym("="); err != nil {
		return nil, err
	}
	if s.value, err = p.str("a value in quotes"); err != nil {
		return nil, err
	}
	s.span = p.since(pos)
	return s, nil
}

func (p *parser) run() (Statement, error) {
	start := p.peek()
	if err := p.expect("RUN", "SCRIPT"); err != nil {
		return nil, err
	}
	file, err := p.str("a file name in quotes")
	return &runScript{span: p.since(start.pos), file: file}, err
}

func (p *parser) assert() (Statement, error) {
	start := p.peek()
	p.at++
	s := &assert{notExists: p.accept("NOT", "EXISTS")}
	var err error
	switch {
	case p.accept("TOPIC"):
		if s.topic, err = p.ident("a topic"); err == nil {
			s.with, err = p.with()
		}
	case p.accept("SCHEMA"):
		s.schema = true
		if p.accept("SUBJECT") {
			s.subject, err = p.subject()
		}
		if err == nil && p.accept("ID") {
			s.id, err = p.integer("a schema id")
		}
	default:
		return nil, p.unexpected()
	}
	if err == nil && p.accept("TIMEOUT") {
		s.timeout, err = p.duration()
	}
	s.span = p.since(start.pos)
	return s, err
}

// subject reads a subject's name, in either kind of quotes or bare.
func (p *parser) subject() (string, error) {
	if p.peek().kind == text {
		return p.str("a subject")
	}
	n, err := p.ident("a subject")
	return n.text, err
}
