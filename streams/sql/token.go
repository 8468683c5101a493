package sql

import (
	"strings"
)

// kind says what sort of thing a token is.
type kind uint8

const (
	eof kind = iota
	word
	quoted
	text
	integer
	decimal
	float
	symbol
	// variable is ${name}, which a session replaces before its statement is parsed.
	variable
	// parameter is $1 and so on; its text is the number.
	parameter
)

// token is one lexical unit. Its text is what the parser compares: an unquoted
// word is upper-cased, a quoted one and a string are without their quotes.
type token struct {
	kind kind
	text string
	pos  int
	end  int
}

// lexer cuts a text into tokens. Positions are byte offsets into src.
type lexer struct {
	src string
	at  int
}

// lex returns all tokens of src, the last one being eof.
func lex(src string) ([]token, error) {
	l := lexer{src: src}
	toks := make([]token, 0, len(src)/4+1)
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		toks = append(toks, t)
		if t.kind == eof {
			return toks, nil
		}
	}
}

// next returns the token at the lexer's place.
func (l *lexer) next() (token, error) {
	if err := l.space(); err != nil {
		return token{}, err
	}
	start := l.at
	if start >= len(l.src) {
		return token{kind: eof, pos: start, end: start}, nil
	}
	switch c := l.src[start]; {
	case isLetter(c):
		return l.word(start), nil
	case isDigit(c), c == '.' && start+1 < len(l.src) && isDigit(l.src[start+1]):
		return l.number(start), nil
	case c == '$':
		if end := strings.IndexByte(l.src[start:], '}'); strings.HasPrefix(l.src[start:], "${") && end > 0 {
			l.at += end + 1
			return token{kind: variable, text: upper(l.src[start+2 : start+end]), pos: start, end: l.at}, nil
		}
		if start+1 < len(l.src) && isDigit(l.src[start+1]) {
			l.at++
			l.digits()
			return token{kind: parameter, text: l.src[start+1 : l.at], pos: start, end: l.at}, nil
		}
	case c == '\'':
		return l.quote(text, c)
	case c == '`' || c == '"':
		return l.quote(quoted, c)
	}
	return l.symbol(start)
}

// space skips white space and comments.
func (l *lexer) space() error {
	for l.at < len(l.src) {
		rest := l.src[l.at:]
		switch {
		case strings.ContainsRune(" \t\r\n\f\v", rune(rest[0])):
			l.at++
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				l.at += i + 1
			} else {
				l.at = len(l.src)
			}
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				return fault(l.src, span{l.at, l.at + 2}, "sql.syntax", "this comment is not closed", "end it with */")
			}
			l.at += i + 4
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) word(start int) token {
	for l.at < len(l.src) && isWordPart(l.src[l.at]) {
		l.at++
	}
	return token{kind: word, text: upper(l.src[start:l.at]), pos: start, end: l.at}
}

// number reads a number, or a word that begins with digits.
func (l *lexer) number(start int) token {
	l.digits()
	k := integer
	if l.at < len(l.src) && l.src[l.at] == '.' {
		k = decimal
		l.at++
		l.digits()
	}
	if n := l.exponent(); n > 0 {
		k = float
		l.at += n
	}
	if k != decimal && l.at < len(l.src) && isWordPart(l.src[l.at]) && !strings.Contains(l.src[start:l.at], ".") {
		return l.word(start)
	}
	return token{kind: k, text: l.src[start:l.at], pos: start, end: l.at}
}

func (l *lexer) digits() {
	for l.at < len(l.src) && isDigit(l.src[l.at]) {
		l.at++
	}
}

// exponent returns the length of the exponent at the lexer's place, or 0.
func (l *lexer) exponent() int {
	rest := l.src[l.at:]
	if rest == "" || rest[0] != 'e' && rest[0] != 'E' {
		return 0
	}
	n := 1
	if n < len(rest) && (rest[n] == '+' || rest[n] == '-') {
		n++
	}
	first := n
	for n < len(rest) && isDigit(rest[n]) {
		n++
	}
	if n == first {
		return 0
	}
	return n
}

// quote reads a string or a quoted identifier; the quote is doubled to stand
// for itself.
func (l *lexer) quote(k kind, q byte) (token, error) {
	start := l.at
	l.at++
	var b strings.Builder
	for l.at < len(l.src) {
		i := strings.IndexByte(l.src[l.at:], q)
		if i < 0 {
			break
		}
		b.WriteString(l.src[l.at : l.at+i])
		l.at += i + 1
		if l.at >= len(l.src) || l.src[l.at] != q {
			if k == quoted && b.Len() == 0 {
				return token{}, fault(l.src, span{start, l.at}, "sql.syntax", "an identifier must not be empty", "")
			}
			return token{kind: k, text: b.String(), pos: start, end: l.at}, nil
		}
		b.WriteByte(q)
		l.at++
	}
	what := "this string"
	if k == quoted {
		what = "this quoted identifier"
	}
	return token{}, fault(l.src, span{start, start + 1}, "sql.syntax", what+" is not closed", "end it with "+string(rune(q)))
}

// symbols holds the operators of two characters; all others have one.
var symbols = [...]string{"->", ":=", "=>", "<>", "!=", "<=", ">=", "||"}

func (l *lexer) symbol(start int) (token, error) {
	for _, s := range symbols {
		if strings.HasPrefix(l.src[start:], s) {
			l.at += len(s)
			return token{kind: symbol, text: s, pos: start, end: l.at}, nil
		}
	}
	if !strings.ContainsRune("()[]{},;.=<>+-*/%:", rune(l.src[start])) {
		end := start + 1
		for end < len(l.src) && l.src[end] >= 0x80 && l.src[end] < 0xC0 {
			end++
		}
		return token{}, fault(l.src, span{start, end}, "sql.syntax", "unexpected character "+l.src[start:end],
			"names with other characters than letters, digits and _ stand in `back quotes`")
	}
	l.at++
	return token{kind: symbol, text: l.src[start:l.at], pos: start, end: l.at}, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func isWordPart(c byte) bool { return isLetter(c) || isDigit(c) || c == '@' }

// upper upper-cases ASCII letters only, so that lengths never change.
func upper(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'a' && s[i] <= 'z' {
			return strings.ToUpper(s)
		}
	}
	return s
}

// Split cuts a script into its statements, each with its closing semicolon, and
// gives the byte offset at which each begins. White space and comments before a
// statement are left out. A last statement without a semicolon is returned too:
// complete is then false, which tells a shell to ask for another line.
func Split(script string) (stmts []Fragment, complete bool, err error) {
	toks, err := lex(script)
	if err != nil {
		return nil, false, err
	}
	start := -1
	for _, t := range toks {
		if t.kind == eof {
			break
		}
		if start < 0 {
			start = t.pos
		}
		if t.kind == symbol && t.text == ";" {
			if t.pos > start {
				stmts = append(stmts, Fragment{Text: script[start:t.end], Offset: start})
			}
			start = -1
		}
	}
	if start >= 0 {
		return append(stmts, Fragment{Text: strings.TrimRight(script[start:], " \t\r\n"), Offset: start}), false, nil
	}
	return stmts, true, nil
}

// Fragment is one statement's text and the byte offset in the script it came
// from.
type Fragment struct {
	Text   string
	Offset int
}
