package sql

import (
	"strings"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// operand writes e, in parentheses when it binds looser than min.
func operand(b []byte, e expr, min int) []byte {
	if e.level() < min {
		return append(e.appendSQL(append(b, '(')), ')')
	}
	return e.appendSQL(b)
}

// exprList writes expressions with commas between.
func exprList(b []byte, list []expr) []byte {
	for i, e := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = e.appendSQL(b)
	}
	return b
}

// stringSQL writes s as a string literal.
func stringSQL(b []byte, s string) []byte {
	b = append(b, '\'')
	b = append(b, strings.ReplaceAll(s, "'", "''")...)
	return append(b, '\'')
}

// identSQL writes a name, quoted only where it would not read back as itself.
func identSQL(b []byte, s string) []byte {
	if bareName(s) {
		return append(b, s...)
	}
	return append(b, functions.Quote(s)...)
}

// bareName tells whether s, written without quotes, reads back as the name s.
func bareName(s string) bool {
	if s == "" || !isLetter(s[0]) || isReserved(s) || typeWord(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isWordPart(s[i]) || s[i] >= 'a' && s[i] <= 'z' {
			return false
		}
	}
	return true
}

// typeWord tells whether s begins a constructor when a bracket follows it.
func typeWord(s string) bool { return s == "ARRAY" || s == "MAP" || s == "STRUCT" }

func (e *literal) appendSQL(b []byte) []byte {
	if e.kind == functions.String {
		return stringSQL(b, e.text)
	}
	return append(b, e.text...)
}

func (e *columnRef) appendSQL(b []byte) []byte {
	if e.source.text != "" {
		b = append(identSQL(b, e.source.text), '.')
	}
	return identSQL(b, e.name.text)
}

func (e *unary) appendSQL(b []byte) []byte {
	if e.op == "NOT" {
		return operand(append(b, "NOT "...), e.x, levelNot)
	}
	b = append(b, e.op...)
	if inner, ok := e.x.(*unary); ok && inner.op != "NOT" {
		// Two signs in a row would begin a comment.
		return append(inner.appendSQL(append(b, '(')), ')')
	}
	return operand(b, e.x, levelUnary)
}

func (e *binary) appendSQL(b []byte) []byte {
	left, right := e.level(), e.level()+1
	if e.level() == levelCompare {
		left++
	}
	b = operand(b, e.l, left)
	b = append(b, ' ')
	b = append(b, e.op...)
	return operand(append(b, ' '), e.r, right)
}

// negated writes " NOT" before a keyword.
func negated(b []byte, not bool, keyword string) []byte {
	if not {
		b = append(b, " NOT"...)
	}
	return append(b, keyword...)
}

func (e *between) appendSQL(b []byte) []byte {
	b = negated(operand(b, e.x, levelConcat), e.not, " BETWEEN ")
	b = append(operand(b, e.low, levelConcat), " AND "...)
	return operand(b, e.high, levelConcat)
}

func (e *inList) appendSQL(b []byte) []byte {
	b = negated(operand(b, e.x, levelConcat), e.not, " IN (")
	return append(exprList(b, e.list), ')')
}

func (e *like) appendSQL(b []byte) []byte {
	b = negated(operand(b, e.x, levelConcat), e.not, " LIKE ")
	b = operand(b, e.pattern, levelConcat)
	if e.escape != "" {
		b = stringSQL(append(b, " ESCAPE "...), e.escape)
	}
	return b
}

func (e *isNull) appendSQL(b []byte) []byte {
	b = append(operand(b, e.x, levelConcat), " IS"...)
	return negated(b, e.not, " NULL")
}

func (e *caseExpr) appendSQL(b []byte) []byte {
	b = append(b, "CASE"...)
	if e.operand != nil {
		b = e.operand.appendSQL(append(b, ' '))
	}
	for _, w := range e.whens {
		b = w.cond.appendSQL(append(b, " WHEN "...))
		b = w.then.appendSQL(append(b, " THEN "...))
	}
	if e.orElse != nil {
		b = e.orElse.appendSQL(append(b, " ELSE "...))
	}
	return append(b, " END"...)
}

func (e *cast) appendSQL(b []byte) []byte {
	b = append(e.x.appendSQL(append(b, "CAST("...)), " AS "...)
	return append(append(b, e.typ.String()...), ')')
}

func (e *arrayExpr) appendSQL(b []byte) []byte {
	return append(exprList(append(b, "ARRAY["...), e.items), ']')
}

func (e *mapExpr) appendSQL(b []byte) []byte {
	b = append(b, "MAP("...)
	for i := range e.keys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(e.keys[i].appendSQL(b), " := "...)
		b = e.values[i].appendSQL(b)
	}
	return append(b, ')')
}

func (e *structExpr) appendSQL(b []byte) []byte {
	b = append(b, "STRUCT("...)
	for i := range e.names {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(identSQL(b, e.names[i].text), " := "...)
		b = e.values[i].appendSQL(b)
	}
	return append(b, ')')
}

func (e *call) appendSQL(b []byte) []byte {
	b = append(identSQL(b, e.name.text), '(')
	if e.star {
		b = append(b, '*')
	}
	return append(exprList(b, e.args), ')')
}

func (e *lambda) appendSQL(b []byte) []byte {
	b = append(b, '(')
	for i, p := range e.params {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = identSQL(b, p.text)
	}
	return e.body.appendSQL(append(b, ") => "...))
}

func (e *subscript) appendSQL(b []byte) []byte {
	b = append(operand(b, e.x, levelPostfix), '[')
	return append(e.index.appendSQL(b), ']')
}

func (e *deref) appendSQL(b []byte) []byte {
	return identSQL(append(operand(b, e.x, levelPostfix), "->"...), e.field.text)
}

func (e *atZone) appendSQL(b []byte) []byte {
	return stringSQL(append(operand(b, e.x, levelPostfix), " AT TIME ZONE "...), e.zone)
}
