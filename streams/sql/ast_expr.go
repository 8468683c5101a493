package sql

import "github.com/tidemill/tidemill/streams/sql/functions"

// expr is an expression. level is how tightly its outermost operator binds, which
// decides where printing needs parentheses.
type expr interface {
	node
	appendSQL(b []byte) []byte
	level() int
}

// The levels of binding, loosest first.
const (
	levelLambda = iota
	levelOr
	levelAnd
	levelNot
	levelCompare
	levelConcat
	levelAdd
	levelMultiply
	levelUnary
	levelPostfix
	levelPrimary
)

// literal is a constant. Its text is the number as written, the string, TRUE,
// FALSE or NULL.
type literal struct {
	span
	kind functions.Kind
	text string
	// infer is told the type of a parameter whose value is not known yet; else nil.
	infer *functions.Type
}

// columnRef is a column, of a named source when source is not empty.
type columnRef struct {
	span
	source name
	name   name
}

// unary is + or - before an operand, or NOT.
type unary struct {
	span
	op string
	x  expr
}

// binary is an operator between two operands, AND, OR, the comparisons and IS
// [NOT] DISTINCT FROM included.
type binary struct {
	span
	op   string
	opAt span
	l, r expr
}

// between is x [NOT] BETWEEN low AND high.
type between struct {
	span
	not          bool
	x, low, high expr
}

// inList is x [NOT] IN (…).
type inList struct {
	span
	not  bool
	x    expr
	list []expr
}

// like is x [NOT] LIKE pattern [ESCAPE 'c'].
type like struct {
	span
	not     bool
	x       expr
	pattern expr
	escape  string
}

// isNull is x IS [NOT] NULL.
type isNull struct {
	span
	not bool
	x   expr
}

// when is one branch of a CASE.
type when struct{ cond, then expr }

// caseExpr is CASE, with an operand when it compares one value with several.
type caseExpr struct {
	span
	operand expr
	whens   []when
	orElse  expr
}

// cast is CAST(x AS t).
type cast struct {
	span
	x   expr
	typ functions.Type
}

// arrayExpr is ARRAY[…].
type arrayExpr struct {
	span
	items []expr
}

// mapExpr is MAP(k := v, …).
type mapExpr struct {
	span
	keys, values []expr
}

// structExpr is STRUCT(f := e, …).
type structExpr struct {
	span
	names  []name
	values []expr
}

// call is a function with its arguments; star is f(*).
type call struct {
	span
	name name
	star bool
	args []expr
}

// lambda is x => e or (k, v) => e.
type lambda struct {
	span
	params []name
	body   expr
}

// subscript is x[i].
type subscript struct {
	span
	x, index expr
}

// deref is x->field.
type deref struct {
	span
	x     expr
	field name
}

// atZone is x AT TIME ZONE 'zone'.
type atZone struct {
	span
	x    expr
	zone string
}

func (*literal) level() int    { return levelPrimary }
func (*columnRef) level() int  { return levelPrimary }
func (*caseExpr) level() int   { return levelPrimary }
func (*cast) level() int       { return levelPrimary }
func (*arrayExpr) level() int  { return levelPrimary }
func (*mapExpr) level() int    { return levelPrimary }
func (*structExpr) level() int { return levelPrimary }
func (*call) level() int       { return levelPrimary }
func (*subscript) level() int  { return levelPrimary }
func (*deref) level() int      { return levelPrimary }
func (*atZone) level() int     { return levelPostfix }
func (*lambda) level() int     { return levelLambda }
func (*between) level() int    { return levelCompare }
func (*inList) level() int     { return levelCompare }
func (*like) level() int       { return levelCompare }
func (*isNull) level() int     { return levelCompare }

func (u *unary) level() int {
	if u.op == "NOT" {
		return levelNot
	}
	return levelUnary
}

func (b *binary) level() int { return binaryLevel(b.op) }

// binaryLevel returns the level of a binary operator, or -1 when op is none.
func binaryLevel(op string) int {
	switch op {
	case "OR":
		return levelOr
	case "AND":
		return levelAnd
	case "=", "<>", "!=", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM":
		return levelCompare
	case "||":
		return levelConcat
	case "+", "-":
		return levelAdd
	case "*", "/", "%":
		return levelMultiply
	}
	return -1
}

// children returns the direct operands of e.
func children(e expr) []expr {
	switch e := e.(type) {
	case *unary:
		return []expr{e.x}
	case *binary:
		return []expr{e.l, e.r}
	case *between:
		return []expr{e.x, e.low, e.high}
	case *inList:
		return append([]expr{e.x}, e.list...)
	case *like:
		return []expr{e.x, e.pattern}
	case *isNull:
		return []expr{e.x}
	case *caseExpr:
		return caseChildren(e)
	case *cast:
		return []expr{e.x}
	case *arrayExpr:
		return e.items
	case *mapExpr:
		return append(append([]expr{}, e.keys...), e.values...)
	case *structExpr:
		return e.values
	case *call:
		return e.args
	case *lambda:
		return []expr{e.body}
	case *subscript:
		return []expr{e.x, e.index}
	case *deref:
		return []expr{e.x}
	case *atZone:
		return []expr{e.x}
	}
	return nil
}

func caseChildren(e *caseExpr) []expr {
	var out []expr
	if e.operand != nil {
		out = append(out, e.operand)
	}
	for _, w := range e.whens {
		out = append(out, w.cond, w.then)
	}
	if e.orElse != nil {
		out = append(out, e.orElse)
	}
	return out
}

// walk calls visit for e and everything below it, until visit returns false for a
// branch.
func walk(e expr, visit func(expr) bool) {
	if e == nil || !visit(e) {
		return
	}
	for _, c := range children(e) {
		walk(c, visit)
	}
}
