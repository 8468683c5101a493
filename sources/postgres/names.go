package postgres

import (
	"fmt"
	"strings"
)

// maxTopic is the longest name that Kafka takes for a topic.
const maxTopic = 249

// topicName makes a legal topic name of text: characters that may not stand in one
// become underscores.
func topicName(text string) string {
	b := []byte(text)
	for i, c := range b {
		if !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			b[i] = '_'
		}
	}
	if len(b) > maxTopic {
		b = b[:maxTopic]
	}
	switch string(b) {
	case ".", "..":
		return strings.Repeat("_", len(b))
	}
	return string(b)
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// nameAdjuster returns what schema.name.adjustment.mode or
// field.name.adjustment.mode does to a name. Dots part the namespace of a schema's
// name and may stand only there.
func nameAdjuster(mode string, dots bool) func(string) string {
	var replace func(r rune) string
	switch strings.ToLower(mode) {
	case "avro":
		replace = func(rune) string { return "_" }
	case "avro_unicode":
		replace = func(r rune) string { return fmt.Sprintf("_u%04x", r) }
	default:
		return func(name string) string { return name }
	}
	escapes := strings.EqualFold(mode, "avro_unicode")
	return func(name string) string {
		var b strings.Builder
		for i, r := range name {
			switch {
			case r == '_' && escapes:
				b.WriteString(replace(r))
			case r < 0x80 && isAlnum(byte(r)) && (i > 0 || r > '9'), r == '_', r == '.' && dots && i > 0:
				b.WriteRune(r)
			default:
				b.WriteString(replace(r))
			}
		}
		return b.String()
	}
}
