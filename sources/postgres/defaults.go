package postgres

import (
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// A default is an expression in SQL. Those that are constants have a value in the
// schema; of functions only the sequence behind serial columns is told, as zero.
var (
	quotedConstant = regexp.MustCompile(`(?s)^E?'((?:[^']|'')*)'::[^()']+(?:\([0-9, ]+\))?[^()']*$`)
	plainConstant  = regexp.MustCompile(`^\(?(-?[0-9]+(?:\.[0-9]+)?|true|false)\)?(?:::[a-z ]+(?:\([0-9, ]+\))?)?$`)
)

// defaultOf returns the value of a column's default expression, null when there is
// none, when it is no constant, or when a default cannot hold it.
func defaultOf(expression string, cd codec) connect.Value {
	if expression == "" || cd.schema.Kind() == connect.KindStruct || cd.schema.Kind() == connect.KindArray || cd.schema.Kind() == connect.KindMap {
		return connect.Value{}
	}
	var text string
	if m := quotedConstant.FindStringSubmatch(expression); m != nil {
		text = strings.ReplaceAll(m[1], "''", "'")
		if expression[0] == 'E' {
			text = strings.ReplaceAll(text, `\\`, `\`)
		}
	} else if m := plainConstant.FindStringSubmatch(expression); m != nil {
		text = m[1]
		if text == "true" || text == "false" {
			text = text[:1]
		}
	} else if strings.HasPrefix(expression, "nextval(") {
		return zero(cd.schema)
	} else {
		return connect.Value{}
	}
	v, err := cd.decode(&arena{}, []byte(text))
	if err != nil || v.Kind() != cd.schema.Kind() {
		return connect.Value{}
	}
	return v
}
