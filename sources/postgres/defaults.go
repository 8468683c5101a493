package postgres

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// A default is an expression in SQL, as pg_get_expr writes it in a session like ours.
// Those that are constants have a value in the schema. They are read here and not
// evaluated by the server: whoever owns a table may put anything into an expression,
// and it would run with our rights. Of functions only the sequence behind serial
// columns is told, as zero, unless before.missing.values=fallback asks for Debezium's
// shape, which has a zero for all of them.

var (
	// castSuffix is a cast to a type's name, which may be quoted or have modifiers.
	castSuffix = regexp.MustCompile(`::(?:"[^"]+"|[a-zA-Z_][\w$]*)(?:\.(?:"[^"]+"|[a-zA-Z_][\w$]*))?(?: [a-z]+)*(?:\([0-9, -]+\))?(?: with(?:out)? time zone)?(?:\[\])*$`)
	// constant is what is left when casts and parentheses are off: a string, bits, or
	// a number or truth value.
	constant = regexp.MustCompile(`(?s)^(?:(E?)'((?:[^']|'')*)'|B'([01]*)'|(-?[0-9]+(?:\.[0-9]+)?|true|false))$`)
	// function is a call, or one of the values that SQL writes without parentheses.
	function = regexp.MustCompile(`^\(*(?:[\w.]+\(|"[^"]+"\(|CURRENT_|LOCALTIME)`)
)

// defaultOf returns the value of a column's default expression, null when there is
// none, when it is no constant, or when a default cannot hold it.
func defaultOf(expression string, cd codec, m *modes) connect.Value {
	switch cd.schema.Kind() {
	case connect.KindStruct, connect.KindArray, connect.KindMap:
		return connect.Value{}
	}
	text, ok := constantText(expression)
	if !ok {
		if strings.HasPrefix(expression, "nextval(") || m.fallback && function.MatchString(expression) {
			return zero(cd.schema)
		}
		return connect.Value{}
	}
	v, err := cd.decode(&arena{}, cd.coerce(text))
	if err != nil || v.Kind() != cd.schema.Kind() {
		return connect.Value{}
	}
	return v
}

// constantText returns the text of a constant expression in the form its type has.
func constantText(expression string) ([]byte, bool) {
	for before := ""; before != expression; {
		before = expression
		if cast := castSuffix.FindStringIndex(expression); cast != nil {
			expression = expression[:cast[0]]
		}
		if inner, ok := strings.CutPrefix(expression, "("); ok {
			if inner, ok = strings.CutSuffix(inner, ")"); ok {
				expression = inner
			}
		}
	}
	m := constant.FindStringSubmatch(expression)
	switch {
	case m == nil:
		return nil, false
	case m[4] == "true" || m[4] == "false":
		return []byte(m[4][:1]), true
	case m[4] != "":
		return []byte(m[4]), true
	case expression[0] == 'B':
		return []byte(m[3]), true
	}
	text := strings.ReplaceAll(m[2], "''", "'")
	if m[1] == "E" {
		text = strings.ReplaceAll(text, `\\`, `\`)
	}
	return []byte(text), true
}

// coerce gives the text of a constant the shape that a value of the column would
// have: numbers with the digits after the point that a decimal has, and text of fixed
// length filled with spaces.
func (cd codec) coerce(text []byte) []byte {
	if scale, ok := cd.schema.DecimalScale(); ok {
		point := bytes.IndexByte(text, '.')
		if len(bytes.Trim(text, "-.0123456789")) > 0 {
			return text
		}
		if point < 0 && scale > 0 {
			point = len(text)
			text = append(text, '.')
		}
		for point >= 0 && len(text)-point-1 < scale {
			text = append(text, '0')
		}
		return text
	}
	for n := len([]rune(string(text))); n < cd.padded; n++ {
		text = append(text, ' ')
	}
	return text
}
