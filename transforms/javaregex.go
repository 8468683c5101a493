package transforms

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// checkRegex tells whether a Java regular expression can be used.
func checkRegex(pattern string) error {
	_, err := compileRegex(pattern)
	return err
}

// compileRegex compiles a Java regular expression to match a whole text. It refuses
// what Go's engine (RE2) lacks, and what it would read in another way.
func compileRegex(pattern string) (*regexp.Regexp, error) {
	translated, err := translateRegex(pattern)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(`\A(?:` + translated + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("the pattern %q cannot be used: %w", pattern, plainRegexError(err))
	}
	return re, nil
}

// plainRegexError says what is wrong without the parts that compileRegex added.
func plainRegexError(err error) error {
	text := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	return errors.New(text)
}

// lacking are constructs of Java that linear-time matching cannot have.
func lacking(rest string) string {
	for start, name := range map[string]string{
		"(?=": "look-ahead", "(?!": "look-ahead", "(?<=": "look-behind", "(?<!": "look-behind", "(?>": "an atomic group", `\k<`: "a back-reference",
		`\G`: `\G`, `\Z`: `\Z (write \z)`, `\R`: `\R`, `\X`: `\X`, `\h`: `\h`, `\H`: `\H`, `\V`: `\V`, `\c`: `\c`,
	} {
		if strings.HasPrefix(rest, start) {
			return name
		}
	}
	if len(rest) > 1 && rest[0] == '\\' && rest[1] >= '1' && rest[1] <= '9' {
		return "a back-reference"
	}
	if len(rest) > 1 && strings.IndexByte("*+?}", rest[0]) >= 0 && rest[1] == '+' {
		return "a possessive quantifier"
	}
	return ""
}

// translateRegex rewrites what Go spells otherwise and refuses what it lacks.
func translateRegex(pattern string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(pattern); {
		rest := pattern[i:]
		if what := lacking(rest); what != "" {
			return "", fmt.Errorf("the pattern %q uses %s, which is not supported here: matching takes linear time", pattern, what)
		}
		switch {
		case strings.HasPrefix(rest, `\Q`):
			end := strings.Index(rest, `\E`)
			if end < 0 {
				end = len(rest)
			}
			out.WriteString(regexp.QuoteMeta(rest[2:end]))
			i += min(end+2, len(rest))
		case strings.HasPrefix(rest, `\u`) && len(rest) >= 6:
			if _, err := strconv.ParseUint(rest[2:6], 16, 32); err != nil {
				return "", fmt.Errorf("the pattern %q has a broken \\u escape", pattern)
			}
			out.WriteString(`\x{` + rest[2:6] + `}`)
			i += 6
		case rest[0] == '\\' && len(rest) > 1:
			out.WriteString(rest[:2])
			i += 2
		case rest[0] == '[':
			n, err := classEnd(rest)
			if err != nil {
				return "", fmt.Errorf("the pattern %q %w", pattern, err)
			}
			out.WriteString(rest[:n])
			i += n
		default:
			out.WriteByte(rest[0])
			i++
		}
	}
	return out.String(), nil
}

// classEnd returns the length of the character class that rest begins with. Java
// knows unions and intersections of classes; Go would take their signs literally.
func classEnd(rest string) (int, error) {
	i := 1
	if strings.HasPrefix(rest[i:], "^") {
		i++
	}
	for first := true; i < len(rest); first = false {
		switch {
		case rest[i] == '\\':
			i += 2
			continue
		case rest[i] == ']' && !first:
			return i + 1, nil
		case rest[i] == ']':
			return 0, errors.New(`begins a character class with ]: write \]`)
		case rest[i] == '[' || strings.HasPrefix(rest[i:], "&&"):
			return 0, errors.New("combines character classes, which is not supported here")
		}
		i++
	}
	return 0, errors.New("has a character class without an end")
}

// replacement is a Java replacement, taken apart.
type replacement []replacementPart

// replacementPart is a literal text, or a group when it is 0 or more.
type replacementPart struct {
	text  string
	group int
}

// parseReplacement reads $1, ${name} and \x as Matcher.replaceAll does.
func parseReplacement(text string, re *regexp.Regexp) (replacement, error) {
	var parts replacement
	literal := func(s string) { parts = append(parts, replacementPart{s, -1}) }
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			literal(text[i+1 : i+2])
			i += 2
		case c == '\\':
			return nil, errors.New(`the replacement ends with a lone \`)
		case c != '$':
			literal(text[i : i+1])
			i++
		default:
			group, n, err := groupAt(text[i:], re)
			if err != nil {
				return nil, err
			}
			parts = append(parts, replacementPart{group: group})
			i += n
		}
	}
	return parts, nil
}

// groupAt reads a reference to a group and returns its length. Digits belong to it as
// long as there is a group of that number.
func groupAt(rest string, re *regexp.Regexp) (group, n int, err error) {
	if strings.HasPrefix(rest, "${") {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return 0, 0, errors.New("the replacement has a ${ without }")
		}
		if group = re.SubexpIndex(rest[2:end]); group < 0 {
			return 0, 0, fmt.Errorf("the replacement names the group %q, which the pattern does not have", rest[2:end])
		}
		return group, end + 1, nil
	}
	for n = 1; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
		next := group*10 + int(rest[n]-'0')
		if n > 1 && next > re.NumSubexp() {
			break
		}
		group = next
	}
	switch {
	case n == 1:
		return 0, 0, errors.New(`the replacement has a lone $: write \$`)
	case group > re.NumSubexp():
		return 0, 0, fmt.Errorf("the replacement names group %d; the pattern has %d", group, re.NumSubexp())
	}
	return group, n, nil
}

// replace returns the replacement for a text that the whole pattern matches, and
// false when it does not.
func (p replacement) replace(re *regexp.Regexp, text string) (string, bool) {
	m := re.FindStringSubmatchIndex(text)
	if m == nil {
		return text, false
	}
	var out strings.Builder
	for _, part := range p {
		if part.group < 0 {
			out.WriteString(part.text)
		} else if from := m[2*part.group]; from >= 0 {
			out.WriteString(text[from:m[2*part.group+1]])
		}
	}
	return out.String(), true
}
