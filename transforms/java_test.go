package transforms

import (
	"strings"
	"testing"
	"time"
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

func TestDatePatterns(t *testing.T) {
	at := time.Date(2024, 2, 9, 15, 4, 5, 67e6, time.UTC)
	for _, c := range []struct{ pattern, text string }{
		{"yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "2024-02-09T15:04:05.067Z"},
		{"yyyyMMddHHmmssSSS", "20240209150405067"},
		{"EEE, d MMM yyyy hh:mm:ss.SSS a z", "Fri, 9 Feb 2024 03:04:05.067 PM UTC"},
		{"EEEE MMMM yy H'o''clock' m s S", "Friday February 24 15o'clock 4 5 67"},
		{"yyyy.DDD XXX", "2024.040 Z"},
		{"G u k K Z", "AD 5 15 3 +0000"},
	} {
		p, err := parseDatePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(p.append(nil, at)); got != c.text {
			t.Errorf("%s: %s; want %s", c.pattern, got, c.text)
		}
		if strings.ContainsAny(c.pattern, "dD") && strings.Contains(c.pattern, "S") {
			if back, err := p.parse(c.text); err != nil || !back.Equal(at) {
				t.Errorf("%s: %s was read as %v, %v", c.pattern, c.text, back, err)
			}
		}
	}
	p, err := parseDatePattern("yyyy-MM-dd HH:mm:ssX")
	if err != nil {
		t.Fatal(err)
	}
	if back, err := p.parse("2024-02-09 15:04:05+02:00"); err != nil || back.Hour() != 13 {
		t.Errorf("with a zone: %v, %v", back, err)
	}
	for _, bad := range []string{"2024-02", "x", "2024-02-09 15:04:05", "2024-02-0915:04:05Z"} {
		if _, err := p.parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	for _, bad := range []string{"yyyy'T", "ww", "Y"} {
		if checkDatePattern(bad) == nil {
			t.Errorf("the pattern %q was accepted", bad)
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

func FuzzDates(f *testing.F) {
	f.Add("yyyy-MM-dd'T'HH:mm", "2024-01-02T03:04")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := parseDatePattern(pattern)
		if err != nil || len(pattern) > 50 {
			return
		}
		if at, err := p.parse(text); err == nil {
			p.append(nil, at)
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
