package transforms

import (
	"strings"
	"testing"
)

func TestJavaRegexes(t *testing.T) {
	for _, c := range []struct{ pattern, matches, not, fault string }{
		{`a|ab`, "ab", "abc", ""},
		{`\Qa.b\E\d+`, "a.b12", "axb1", ""},
		{`(?i)shop`, "SHOP", "shops", ""},
		{`caf\u00e9`, "café", "cafe", ""},
		{`[\w&]+`, "a&b", "a b", ""},
		{`(?<x>a)b`, "ab", "a", ""},
		{`a(?=b)`, "", "", "look-ahead"},
		{`(?<!a)b`, "", "", "look-behind"},
		{`(?>a)b`, "", "", "atomic"},
		{`(a)\1`, "", "", "back-reference"},
		{`(?<x>a)\k<x>`, "", "", "back-reference"},
		{`a*+b`, "", "", "possessive"},
		{`[a-z&&[^b]]`, "", "", "combines character classes"},
		{`[a[b]]`, "", "", "combines character classes"},
		{`[abc`, "", "", "without an end"},
		{`(a`, "", "", "missing closing"},
		{`a\Z`, "", "", `write \z`},
		{`\\Z`, `\Z`, "Z", ""},
	} {
		re, err := compileRegex(c.pattern)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v; want %q", c.pattern, err, c.fault)
			}
			continue
		}
		if err != nil || !re.MatchString(c.matches) || re.MatchString(c.not) {
			t.Errorf("%s: %v", c.pattern, err)
		}
	}
}

func TestReplacements(t *testing.T) {
	for _, c := range []struct{ regex, with, text, want, fault string }{
		{`(.*)-(.*)`, `$2_$1`, "a-b", "b_a", ""},
		{`(.*)-(.*)`, `$10`, "a-b", "a0", ""},
		{`(.*)-(.*)`, `$0!`, "a-b", "a-b!", ""},
		{`(a)|(b)`, `[$1$2]`, "b", "[b]", ""},
		{`(?<x>.*)`, `${x}\$\\`, "a", `a$\`, ""},
		{`.*`, `$`, "", "", "lone $"},
		{`.*`, `a\`, "", "", `lone \`},
		{`.*`, `${x`, "", "", "without }"},
		{`.*`, `$1`, "", "", "has 0"},
	} {
		re, err := compileRegex(c.regex)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := parseReplacement(c.with, re)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v; want %q", c.with, err, c.fault)
			}
			continue
		}
		if got, ok := parts.replace(re, c.text); err != nil || !ok || got != c.want {
			t.Errorf("%s with %s: %q, %v; want %q", c.regex, c.with, got, err, c.want)
		}
	}
}

func FuzzRegex(f *testing.F) {
	for _, seed := range []string{`a(b)[c-d]\Qx\E`, `(?<x>a)`, `[^]]`, `\u00`} {
		f.Add(seed, "$1", "text")
	}
	f.Fuzz(func(_ *testing.T, pattern, with, text string) {
		re, err := compileRegex(pattern)
		if err != nil {
			return
		}
		if parts, err := parseReplacement(with, re); err == nil {
			parts.replace(re, text)
		}
	})
}

func FuzzPaths(f *testing.F) {
	f.Add("a.`b.c`.d")
	f.Fuzz(func(t *testing.T, text string) {
		if path, err := splitPath(text); err == nil && len(path) == 0 {
			t.Errorf("%q has no names", text)
		}
	})
}
