package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// naming says which table a record belongs to.
type naming struct {
	format string
	dotted bool
	source bool // The envelope's source block is needed.
}

func newNaming(o options) naming {
	return naming{format: o.format, dotted: o.dotted, source: strings.Contains(o.format, "${source.")}
}

// checkFormat accepts formats whose placeholders are all known.
func checkFormat(format string) error {
	known := strings.NewReplacer("${topic}", "x", "${table}", "x", "${source.db}", "x", "${source.schema}", "x", "${source.table}", "x")
	rest := known.Replace(format)
	if placeholder := regexp.MustCompile(`\$\{[^}]*\}?`).FindString(rest); placeholder != "" {
		return fmt.Errorf("%s is not known: expected ${topic}, ${table}, ${source.db}, ${source.schema} or ${source.table}", placeholder)
	}
	if rest == "" || strings.HasPrefix(rest, ".") || strings.HasSuffix(rest, ".") || strings.Count(rest, ".") > 1 {
		return errors.New("expected a table, or a schema and a table with a dot between")
	}
	return nil
}

// tableOf returns the table for a topic; source is the envelope's source block, null
// when there is none.
func (n naming) tableOf(topic string, source connect.Value) (tableName, error) {
	if n.dotted && n.format == "${topic}" {
		return splitDotted(topic)
	}
	fill := func(text string) string {
		last := topic[strings.LastIndexByte(topic, '.')+1:]
		text = strings.ReplaceAll(text, "${topic}", strings.ReplaceAll(topic, ".", "_"))
		text = strings.ReplaceAll(text, "${table}", last)
		if n.source {
			for _, part := range []string{"db", "schema", "table"} {
				text = strings.ReplaceAll(text, "${source."+part+"}", sourceField(source, part))
			}
		}
		return text
	}
	if n.source && source.Kind() != connect.KindStruct {
		return tableName{}, badRecord("pgsink.source", keyFormat+" asks for the source of a change, and the record has none", "unwrap the records later, or use ${topic} in "+keyFormat)
	}
	// The format is divided before it is filled: a name may hold dots of its own.
	schema, table := splitFormat(n.format)
	return tableName{fill(schema), fill(table)}.checked()
}

// splitFormat divides a format at the dot that is not part of a placeholder.
func splitFormat(format string) (schema, table string) {
	inside := false
	for i := range len(format) {
		switch format[i] {
		case '{':
			inside = true
		case '}':
			inside = false
		case '.':
			if !inside {
				return format[:i], format[i+1:]
			}
		}
	}
	return "", format
}

// splitDotted reads a topic as Confluent's connector does: catalog.schema.table.
func splitDotted(topic string) (tableName, error) {
	parts := strings.Split(topic, ".")
	name := tableName{name: parts[len(parts)-1]}
	if len(parts) > 1 {
		name.schema = parts[len(parts)-2]
	}
	return name.checked()
}

func (n tableName) checked() (tableName, error) {
	if n.schema != "" {
		if err := checkName(n.schema); err != nil {
			return n, err
		}
	}
	return n, checkName(n.name)
}

func sourceField(source connect.Value, name string) string {
	if source.Kind() != connect.KindStruct {
		return ""
	}
	if v := source.Struct().Get(name); v.Kind() == connect.KindString {
		return v.Str()
	}
	return ""
}
