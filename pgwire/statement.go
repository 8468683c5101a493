package pgwire

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// statement is one statement of a text that a client sent.
type statement struct {
	text string
	// before is how many characters stand before it in the text.
	before int
	// words are those it begins with, in upper case, four at most.
	words []string
}

// word returns the n-th of the words it begins with, "" when there are fewer.
func (st *statement) word(n int) string {
	if n < len(st.words) {
		return st.words[n]
	}
	return ""
}

// split cuts a text into its statements, without their semicolons. It understands quotes and
// comments as the engine does, and of PostgreSQL's own E'…' and $$…$$, in which clients ask its
// catalogue.
func split(text string) (all []statement) {
	start, at := 0, 0
	add := func(end int) {
		lead := skipSpace(text, start)
		if lead < end {
			one := strings.TrimRight(text[lead:end], " \t\r\n")
			all = append(all, statement{text: one, before: utf8.RuneCountInString(text[:lead]), words: firstWords(one)})
		}
	}
	for at < len(text) {
		if text[at] == ';' {
			add(at)
			at++
			start = at
			continue
		}
		at = next(text, at)
	}
	add(len(text))
	return all
}

// copying is COPY (…) TO STDOUT, with or without options.
var copying = regexp.MustCompile(`(?is)^COPY\s*\((.*)\)\s*TO\s+STDOUT\s*$`)

// copied returns the query of COPY (…) TO STDOUT. What stands before it is made white space, so
// that places in it stay where they are.
func (st *statement) copied() (*statement, error) {
	m := copying.FindStringSubmatchIndex(st.text)
	if m == nil {
		return nil, refuse(stateUnsupported, "of COPY there is only COPY (SELECT …) TO STDOUT, without options", "")
	}
	blank := regexp.MustCompile(`\S`).ReplaceAllString(st.text[:m[2]], " ")
	return &statement{text: blank + st.text[m[2]:m[3]], before: st.before, words: st.words}, nil
}

// next returns where what begins at a place ends: a quotation, a comment, or one character.
func next(text string, at int) int {
	rest := text[at:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "/*"):
		return at + comment(rest)
	case c == '\'':
		escaped := at > 0 && (text[at-1] == 'E' || text[at-1] == 'e') && (at == 1 || !isWord(text[at-2]))
		return at + quoted(rest, escaped)
	case c == '"' || c == '`':
		return at + quoted(rest, false)
	case c == '$' && (at == 0 || !isWord(text[at-1])):
		if end := strings.IndexByte(rest[1:], '$'); end >= 0 && strings.IndexFunc(rest[1:end+1], func(r rune) bool { return r > 127 || !isWord(byte(r)) }) < 0 {
			tag := rest[:end+2]
			if close := strings.Index(rest[len(tag):], tag); close >= 0 {
				return at + 2*len(tag) + close
			}
		}
	}
	return at + 1
}

// comment returns the length of the comment that text begins with.
func comment(text string) int {
	end, skip := "\n", 1
	if text[1] == '*' {
		end, skip = "*/", 2
	}
	if i := strings.Index(text[2:], end); i >= 0 {
		return 2 + i + skip
	}
	return len(text)
}

// quoted returns the length of the quotation that text begins with. A doubled quote is none:
// what follows is taken for another quotation, which comes to the same.
func quoted(text string, escaped bool) int {
	for i := 1; i < len(text); i++ {
		switch {
		case escaped && text[i] == '\\':
			i++
		case text[i] == text[0]:
			return i + 1
		}
	}
	return len(text)
}

// skipSpace returns where, from a place on, something begins that is neither white space nor
// a comment.
func skipSpace(text string, at int) int {
	for at < len(text) {
		switch {
		case strings.IndexByte(" \t\r\n\f\v", text[at]) >= 0:
			at++
		case strings.HasPrefix(text[at:], "--"), strings.HasPrefix(text[at:], "/*"):
			at += comment(text[at:])
		default:
			return at
		}
	}
	return at
}

func firstWords(text string) (words []string) {
	at := 0
	for len(words) < 4 {
		end := at
		for end < len(text) && isWord(text[end]) {
			end++
		}
		if end == at {
			break
		}
		words = append(words, strings.ToUpper(text[at:end]))
		at = skipSpace(text, end)
	}
	return words
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
