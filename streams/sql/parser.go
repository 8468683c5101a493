package sql

import (
	"slices"
	"strings"
)

// maxDepth bounds how deeply expressions, types and joins nest, so that no text
// exhausts the stack.
const maxDepth = 200

// parser reads statements from tokens by recursive descent; expressions by
// precedence climbing (parse_expr.go). wanted holds what would have been accepted
// at the furthest place reached, which is what a syntax error tells.
type parser struct {
	src      string
	toks     []token
	at       int
	depth    int
	wanted   []string
	wantedAt int
	bound    *binding
}

// Parse reads a script: statements that end with semicolons, which the last one
// may leave out. The error is an *Error.
func Parse(script string) ([]Statement, error) { return parse(script, nil) }

func parse(script string, bound *binding) ([]Statement, error) {
	toks, err := lex(script)
	if err != nil {
		return nil, err
	}
	for _, t := range toks {
		if t.kind == variable {
			return nil, fault(script, span{t.pos, t.end}, "sql.unknown_variable", "the variable "+t.text+" is not defined", "DEFINE "+t.text+" = '…';")
		}
	}
	p := &parser{src: script, toks: toks, bound: bound}
	var out []Statement
	for {
		for p.isSym(";") {
			p.at++
		}
		if p.peek().kind == eof {
			return out, nil
		}
		s, err := p.statement()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		if !p.sym(";") && p.peek().kind != eof {
			return nil, p.unexpected()
		}
	}
}

// parseOne reads exactly one statement.
func parseOne(src string, bound *binding) (Statement, error) {
	stmts, err := parse(src, bound)
	if err != nil {
		return nil, err
	}
	if len(stmts) != 1 {
		return nil, fault(src, span{0, len(src)}, "sql.syntax", "one statement is expected here", "")
	}
	return stmts[0], nil
}

func (p *parser) peek() token { return p.toks[p.at] }

// ahead returns the token n places on.
func (p *parser) ahead(n int) token { return p.toks[min(p.at+n, len(p.toks)-1)] }

// since returns the span from pos to the end of the token before the current.
func (p *parser) since(pos int) span {
	if p.at == 0 {
		return span{pos, pos}
	}
	return span{pos, max(pos, p.toks[p.at-1].end)}
}

// want notes that what would be accepted n tokens on.
func (p *parser) want(n int, what string) {
	at := min(p.at+n, len(p.toks)-1)
	if at < p.wantedAt {
		return
	}
	if at > p.wantedAt {
		p.wanted, p.wantedAt = p.wanted[:0], at
	}
	if !slices.Contains(p.wanted, what) {
		p.wanted = append(p.wanted, what)
	}
}

// is tells whether the next tokens are these words, without taking them.
func (p *parser) is(words ...string) bool {
	for i, w := range words {
		if t := p.ahead(i); t.kind != word || t.text != w {
			p.want(i, w)
			return false
		}
	}
	return true
}

// accept takes the words when they come next.
func (p *parser) accept(words ...string) bool {
	if !p.is(words...) {
		return false
	}
	p.at += len(words)
	return true
}

// expect takes the words or fails.
func (p *parser) expect(words ...string) error {
	if !p.accept(words...) {
		return p.unexpected()
	}
	return nil
}

// isSym tells whether the next token is the symbol s, without noting a wish.
func (p *parser) isSym(s string) bool {
	t := p.peek()
	return t.kind == symbol && t.text == s
}

// sym takes the symbol s when it comes next.
func (p *parser) sym(s string) bool {
	if p.isSym(s) {
		p.at++
		return true
	}
	p.want(0, s)
	return false
}

func (p *parser) expectSym(s string) error {
	if !p.sym(s) {
		return p.unexpected()
	}
	return nil
}

// ident takes an identifier; what names it in an error.
func (p *parser) ident(what string) (name, error) {
	t := p.peek()
	if t.kind == quoted || t.kind == word && !isReserved(t.text) {
		p.at++
		return name{span{t.pos, t.end}, t.text}, nil
	}
	p.want(0, what)
	return name{}, p.unexpected()
}

// str takes a string literal.
func (p *parser) str(what string) (string, error) {
	t := p.peek()
	if t.kind != text {
		p.want(0, what)
		return "", p.unexpected()
	}
	p.at++
	return t.text, nil
}

// deeper guards a recursive rule; call shallower when it is done.
func (p *parser) deeper() error {
	if p.depth++; p.depth > maxDepth {
		t := p.peek()
		return fault(p.src, span{t.pos, t.end}, "sql.too_deep", "the statement nests more than 200 levels deep", "split it up")
	}
	return nil
}

func (p *parser) shallower() { p.depth-- }

// unexpected makes the syntax error for the furthest place the parser reached.
func (p *parser) unexpected() error {
	at := max(p.at, p.wantedAt)
	t := p.toks[at]
	var words []string
	for _, w := range p.wanted {
		if isLetter(w[0]) && w == upper(w) {
			words = append(words, w)
		}
	}
	hint := ""
	if t.kind == word {
		hint = didYouMean(t.text, words)
	}
	if hint == "" && at > 0 && p.toks[at-1].kind == word {
		// A mistyped keyword is often taken for an alias; the fault shows one
		// token later.
		if hint = didYouMean(p.toks[at-1].text, words); hint != "" {
			t = p.toks[at-1]
		}
	}
	message := "unexpected " + p.src[t.pos:t.end]
	if t.kind == symbol {
		message = "unexpected '" + t.text + "'"
	}
	if t.kind == eof || t.kind == symbol && t.text == ";" {
		message = "the statement ends too early"
	}
	if p.wantedAt == at && len(p.wanted) > 0 && hint == "" {
		message += "; expected " + oneOf(p.wanted)
	}
	return fault(p.src, span{t.pos, t.end}, "sql.syntax", message, hint)
}

// oneOf lists at most three of the wishes.
func oneOf(wanted []string) string {
	list := slices.Clone(wanted[:min(3, len(wanted))])
	for i, w := range list {
		if !isLetter(w[0]) {
			list[i] = "'" + w + "'"
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// verbs are the words statements begin with; the first three are what a syntax
// error names.
var verbs = [...]string{"SELECT", "CREATE", "INSERT", "DROP", "ALTER", "DESCRIBE", "EXPLAIN", "SHOW", "LIST", "PRINT",
	"TERMINATE", "PAUSE", "RESUME", "SET", "UNSET", "DEFINE", "UNDEFINE", "ASSERT", "RUN"}

func (p *parser) statement() (Statement, error) {
	t := p.peek()
	if t.kind == word {
		switch t.text {
		case "SELECT":
			return p.query()
		case "CREATE":
			return p.create()
		case "INSERT":
			return p.insert()
		case "DROP":
			return p.drop()
		case "ALTER":
			return p.alter()
		case "DESCRIBE":
			return p.describe()
		case "EXPLAIN":
			return p.explain()
		case "SHOW", "LIST":
			return p.show()
		case "PRINT":
			return p.print()
		case "TERMINATE", "PAUSE", "RESUME":
			return p.control()
		case "SET", "UNSET", "DEFINE", "UNDEFINE":
			return p.set()
		case "ASSERT":
			return p.assert()
		case "RUN":
			return p.run()
		}
	}
	for _, v := range verbs {
		p.want(0, v)
	}
	return nil, p.unexpected()
}

// isReserved tells whether s can only be a name in quotes.
func isReserved(s string) bool {
	switch s {
	case "SELECT", "FROM", "AS", "WHERE", "WITHIN", "WINDOW", "GROUP", "HAVING", "LIMIT", "AT", "OR", "AND", "IN", "NOT",
		"EXISTS", "BETWEEN", "LIKE", "IS", "NULL", "TRUE", "FALSE", "CASE", "WHEN", "THEN", "ELSE", "END", "CAST", "CREATE",
		"WITH", "VALUES", "INSERT", "INTO", "DROP", "JOIN", "FULL", "OUTER", "INNER", "LEFT", "RIGHT", "ON", "BY", "DISTINCT":
		return true
	}
	return false
}

// endsSource tells whether s, after a source's name, begins a clause rather than
// being an alias.
func endsSource(s string) bool {
	switch s {
	case "PARTITION", "EMIT", "GRACE", "ORDER", "OFFSET":
		return true
	}
	return isReserved(s)
}
