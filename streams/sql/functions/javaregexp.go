package functions

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	errClass = errors.New("a class inside a class, and && in one, mean something else in Java and are not supported: write one class, and \\[ or \\& for the characters themselves")
	errGroup = errors.New("in a replacement, $ is followed by the number or the {name} of a group, and \\ by any character")
)

// matcher finds what a regular expression of Java matches. It is Go's engine, which takes
// time in proportion to the text whatever the pattern, and therefore has no look-around,
// no references back, no possessive quantifiers and no atomic groups: Compile refuses them.
type matcher struct {
	re *regexp.Regexp
	// next is re after any one character and whatever follows it: it finds matches after
	// the start of a text with what stands before them in sight.
	next *regexp.Regexp
}

func compileJava(pattern string) (matcher, error) {
	p, err := fromJava(pattern)
	if err != nil {
		return matcher{}, err
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return matcher{}, err
	}
	next, err := regexp.Compile(`\A(?s:.)(?s:.*?)(` + p + `)`)
	return matcher{re, next}, err
}

// find returns the places of the first match that begins at from or later: pairs of start and
// end for it and its groups, -1 where a group is not part of it; nil when there is none.
func (m matcher) find(s string, from int) []int {
	if from == 0 {
		return m.re.FindStringSubmatchIndex(s)
	}
	_, before := utf8.DecodeLastRuneInString(s[:from])
	at := m.next.FindStringSubmatchIndex(s[from-before:])
	if at == nil {
		return nil
	}
	at = at[2:]
	for i := range at {
		if at[i] >= 0 {
			at[i] += from - before
		}
	}
	return at
}

// all visits the matches one after another as Java does: one without characters may stand
// right after another match, and the search goes on a character after it.
func (m matcher) all(s string, visit func(at []int)) {
	for from := 0; from <= len(s); {
		at := m.find(s, from)
		if at == nil {
			return
		}
		visit(at)
		if from = at[1]; at[0] == at[1] {
			_, n := utf8.DecodeRuneInString(s[from:])
			from += max(n, 1)
		}
	}
}

// escapesOfJava are those that Go lacks, as classes without their brackets.
var escapesOfJava = [...]struct{ java, class string }{
	{`\h`, `\t \x{a0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}`}, {`\e`, `\x1b`},
	{`\p{Lower}`, `a-z`}, {`\p{Upper}`, `A-Z`}, {`\p{ASCII}`, `\x00-\x7f`}, {`\p{Alpha}`, `a-zA-Z`}, {`\p{Digit}`, `0-9`}, {`\p{Alnum}`, `a-zA-Z0-9`},
	{`\p{Punct}`, `[:punct:]`}, {`\p{Graph}`, `[:graph:]`}, {`\p{Print}`, `[:print:]`}, {`\p{Blank}`, ` \t`}, {`\p{Cntrl}`, `[:cntrl:]`}, {`\p{XDigit}`, `[:xdigit:]`}, {`\p{Space}`, `\s\v`},
	{`\s`, `\s\v`},
}

// fromJava writes a pattern of Java as one of Go that matches the same, or tells why not.
// Left alone is $, which in Java also matches before a line's end at the end of the text.
func fromJava(p string) (string, error) {
	var b strings.Builder
	dotall, class := dotMatchesAll(p), false
	for i := 0; i < len(p); {
		if n := appendEscape(&b, p[i:], class); n > 0 {
			i += n
			continue
		}
		switch c := p[i]; {
		case class && (c == '[' || strings.HasPrefix(p[i:], "&&")):
			return "", errClass
		case c == '[':
			class = true
			for _, first := range [...]string{"[^]", "[]"} { // A bracket that comes first stands for itself.
				if strings.HasPrefix(p[i:], first) {
					b.WriteString(first[:len(first)-1] + `\`)
					i += len(first) - 1
				}
			}
		case c == ']':
			class = false
		case c == '.' && !class && !dotall:
			b.WriteString(`[^\n\r\x{85}\x{2028}\x{2029}]`)
			i++
			continue
		}
		b.WriteByte(p[i])
		i++
	}
	return b.String(), nil
}

// dotMatchesAll tells whether a pattern sets the flag s somewhere.
func dotMatchesAll(p string) bool {
	for rest, ok := p, true; ok; {
		if _, rest, ok = strings.Cut(rest, "(?"); ok {
			flags := rest[:len(rest)-len(strings.TrimLeft(rest, "imsU"))]
			if strings.Contains(flags, "s") {
				return true
			}
		}
	}
	return false
}

// appendEscape writes what p begins with when that is a backslash with what belongs to it,
// and returns how long it is in p.
func appendEscape(b *strings.Builder, p string, class bool) int {
	if p[0] != '\\' || len(p) < 2 {
		return 0
	}
	if strings.HasPrefix(p, `\Q`) {
		quoted, _, ended := strings.Cut(p[2:], `\E`)
		b.WriteString(regexp.QuoteMeta(quoted))
		if ended {
			return len(quoted) + 4
		}
		return len(quoted) + 2
	}
	for _, e := range escapesOfJava {
		if strings.HasPrefix(p, e.java) {
			if class {
				b.WriteString(e.class)
			} else {
				b.WriteString("[" + e.class + "]")
			}
			return len(e.java)
		}
	}
	switch {
	case len(p) >= 6 && p[1] == 'u':
		b.WriteString(`\x{` + p[2:6] + `}`)
		return 6
	case p[1] == 'R' && !class:
		b.WriteString(`(?:\r\n|[\n\v\f\r\x{85}\x{2028}\x{2029}])`)
		return 2
	case strings.HasPrefix(p, `\p{Is`), strings.HasPrefix(p, `\P{Is`):
		b.WriteString(p[:3])
		return 5
	}
	_, n := utf8.DecodeRuneInString(p[1:])
	b.WriteString(p[:1+n])
	return 1 + n
}

// appendReplacement appends what a replacement of Java says of a match: $1 and ${name} are
// groups, a backslash takes the meaning from the next character.
func (m matcher) appendReplacement(dst []byte, replacement, s string, at []int) ([]byte, error) {
	for i := 0; i < len(replacement); i++ {
		switch c := replacement[i]; c {
		case '\\':
			if i++; i == len(replacement) {
				return dst, errGroup
			}
			dst = append(dst, replacement[i])
		case '$':
			group, n := m.group(replacement[i+1:])
			if group < 0 {
				return dst, errGroup
			}
			if i += n; at[2*group] >= 0 {
				dst = append(dst, s[at[2*group]:at[2*group+1]]...)
			}
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// group reads the number or the name of a group; of digits it takes as many as there are
// groups for. It returns -1 when there is none.
func (m matcher) group(s string) (group, n int) {
	if named, ok := strings.CutPrefix(s, "{"); ok {
		name, _, ended := strings.Cut(named, "}")
		if !ended || name == "" {
			return -1, 0
		}
		return m.re.SubexpIndex(name), len(name) + 2
	}
	group = -1
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		next := max(group, 0)*10 + int(s[n]-'0')
		if next > m.re.NumSubexp() {
			break
		}
		group = next
		n++
	}
	return group, n
}
