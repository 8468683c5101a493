package postgres

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxTopic is the longest name that Kafka takes for a topic.
const maxTopic = 249

// topicNaming is what topic.naming.strategy asks for: which parts a table's topic is
// named after, and what becomes of characters that may not stand in a topic's name.
type topicNaming struct {
	bySchema bool // prefix.schema.table; otherwise prefix.table.
	unicode  bool // Each such character as _uXXXX, the underscore too.
}

// topicNamings are the strategies by the simple names of Debezium's classes.
func topicNamings() map[string]topicNaming {
	return map[string]topicNaming{
		"SchemaTopicNamingStrategy":         {bySchema: true},
		"DefaultTopicNamingStrategy":        {},
		"SchemaUnicodeTopicNamingStrategy":  {bySchema: true, unicode: true},
		"DefaultUnicodeTopicNamingStrategy": {unicode: true},
	}
}

func namingOf(class string) (topicNaming, bool) {
	n, ok := topicNamings()[class[strings.LastIndexByte(class, '.')+1:]]
	return n, ok
}

func checkNaming(class string) error {
	if _, ok := namingOf(class); ok {
		return nil
	}
	if strings.Contains(class, "Regex") {
		return fmt.Errorf("naming by regular expressions is done by transforms here: io.debezium.schema.SchemaTopicNamingStrategy with RegexRouter or ByLogicalTableRouter")
	}
	return fmt.Errorf("only io.debezium.schema's SchemaTopicNamingStrategy, DefaultTopicNamingStrategy and their Unicode forms are supported; other Java classes cannot be loaded: rename topics with a transform such as RegexRouter or ByLogicalTableRouter")
}

// topicOf returns the topic of a table.
func (s *settings) topicOf(t tableName) string {
	parts := []string{s.prefix}
	if s.naming.bySchema {
		parts = append(parts, t.schema)
	}
	name := strings.Join(append(parts, t.name), s.delimiter)
	if s.naming.unicode {
		return legalTopic(name, unicodeEscape, "")
	}
	return topicName(name)
}

// topicName makes a legal topic name of text: characters that may not stand in one
// become underscores.
func topicName(text string) string {
	return legalTopic(text, func(uint16) string { return "_" }, "_")
}

// legalTopic replaces what may not stand in a topic's name. Characters outside ASCII
// are taken in UTF-16 units, as Debezium takes them; legal are letters, digits, dots,
// hyphens and what also names.
func legalTopic(text string, replace func(uint16) string, also string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(text)) {
		if c < 0x80 && (isAlnum(byte(c)) || c == '.' || c == '-' || strings.IndexByte(also, byte(c)) >= 0) {
			b.WriteByte(byte(c))
		} else {
			b.WriteString(replace(c))
		}
	}
	name := b.String()
	if len(name) > maxTopic {
		name = name[:maxTopic]
	}
	if name == "." || name == ".." {
		return strings.Repeat(replace('.'), len(name))
	}
	return name
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// unicodeEscape writes a character as the unicode forms of names do: _u and its hex
// digits, with two zeros before them when there are no more than two.
func unicodeEscape(c uint16) string {
	digits := strconv.FormatUint(uint64(c), 16)
	if len(digits) <= 2 {
		digits = "00" + digits
	}
	return "_u" + digits
}

// nameAdjuster returns what schema.name.adjustment.mode or
// field.name.adjustment.mode does to a name, the way Debezium does it, so that
// subjects and fields stay the same. Dots part the namespace of a schema's name and
// may stand only there.
func nameAdjuster(mode string, dots bool) func(string) string {
	replace, underscores := unicodeEscape, false
	switch strings.ToLower(mode) {
	case "avro":
		replace, underscores = func(uint16) string { return "_" }, true
	case "avro_unicode":
	default:
		return func(name string) string { return name }
	}
	return func(name string) string {
		var b strings.Builder
		for i, c := range utf16.Encode([]rune(name)) {
			digit := c >= '0' && c <= '9'
			switch {
			case c < 0x80 && isAlnum(byte(c)) && (i > 0 || !digit), c == '_' && underscores, c == '.' && dots && i > 0:
				b.WriteByte(byte(c))
			case digit && underscores:
				// A digit at the start is kept, so that 1st and 2st stay two names.
				b.WriteString(replace(c) + string(rune(c)))
			default:
				b.WriteString(replace(c))
			}
		}
		return b.String()
	}
}

// nameClaims tells which table was the first to have a name, of a topic or of
// schemas. Two tables under one name would be mixed up for good in one topic.
type nameClaims map[string]nameClaim

type nameClaim struct {
	table tableName
	oid   uint32
}

// claim takes names for a table. A table that was renamed keeps its own.
func (n nameClaims) claim(t tableName, oid uint32, names ...string) error {
	for _, name := range names {
		if first, taken := n[name]; taken && first.table != t && first.oid != oid {
			e := fatal("pg.name.collision", "two captured tables would share the name "+name+" of topics and schemas: "+first.table.String()+" is the other one", nil,
				"rename one, leave it out with table.exclude.list, or choose another topic.naming.strategy or schema.name.adjustment.mode")
			e.Place = t.String()
			return e
		}
		n[name] = nameClaim{t, oid}
	}
	return nil
}

// collision returns the error for two of the tables that would share a name, nil
// when there are none.
func (s *settings) collision(tables []catalogTable) error {
	claims := nameClaims{}
	for _, t := range tables {
		topic := s.topicOf(t.name)
		if err := claims.claim(t.name, t.oid, topic, s.modes.schemaName(topic)); err != nil {
			return err
		}
	}
	return nil
}
