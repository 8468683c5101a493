package functions

import (
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const regularCategory = "REGULAR_EXPRESSION"

// matching makes a Call that keeps the regular expression it met last; at says which
// argument it is.
func matching(at int, f func(re *regexp.Regexp, a []connect.Value) (connect.Value, error)) func([]Type) (Call, error) {
	return func([]Type) (Call, error) {
		var text string
		var re *regexp.Regexp
		return func(a []connect.Value) (connect.Value, error) {
			if s := a[at].Str(); re == nil || s != text {
				fresh, err := regexp.Compile(s)
				if err != nil {
					return connect.Value{}, err
				}
				re, text = fresh, strings.Clone(s)
			}
			return f(re, a)
		}, nil
	}
}

// group returns which group of a match is asked for.
func group(re *regexp.Regexp, a []connect.Value) (int, bool) {
	if len(a) < 3 {
		return 0, true
	}
	n := int(a[2].Int())
	return n, n >= 0 && n <= re.NumSubexp()
}

func regularFunctions() []Function {
	one := matching(0, func(re *regexp.Regexp, a []connect.Value) (connect.Value, error) {
		n, ok := group(re, a)
		m := re.FindStringSubmatch(a[1].Str())
		if !ok || m == nil {
			return connect.Value{}, nil
		}
		return connect.String(m[n]), nil
	})
	all := matching(0, func(re *regexp.Regexp, a []connect.Value) (connect.Value, error) {
		n, ok := group(re, a)
		if !ok {
			return connect.Value{}, nil
		}
		var out []string
		for _, m := range re.FindAllStringSubmatch(a[1].Str(), -1) {
			out = append(out, m[n])
		}
		return stringArray(out), nil
	})
	replace := matching(1, func(re *regexp.Regexp, a []connect.Value) (connect.Value, error) {
		return connect.String(re.ReplaceAllString(a[0].Str(), groupNames(a[2].Str()))), nil
	})
	split := matching(1, func(re *regexp.Regexp, a []connect.Value) (connect.Value, error) {
		return stringArray(re.Split(a[0].Str(), -1)), nil
	})
	texts := ArrayOf(of(String))
	return []Function{
		{Name: "REGEXP_EXTRACT", Category: regularCategory, Doc: "What a regular expression matches first, or the so-many-th group of it.", Examples: []Example{
			{"REGEXP_EXTRACT('.*', 'test')", `"test"`}, {"REGEXP_EXTRACT('(.*) (.*)', 'hello there', 2)", `"there"`}, {"REGEXP_EXTRACT('x', 'abc')", "null"}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Bind: one}, {Params: params(String, String, Int), Returns: of(String), Bind: one}}},
		{Name: "REGEXP_EXTRACT_ALL", Category: regularCategory, Doc: "All that a regular expression matches, or the so-many-th group of each.", Examples: []Example{
			{"REGEXP_EXTRACT_ALL('(\\w)\\d', 'a1 b2', 1)", `["a","b"]`}},
			Variants: []Variant{{Params: params(String, String), Returns: texts, Bind: all}, {Params: params(String, String, Int), Returns: texts, Bind: all}}},
		{Name: "REGEXP_REPLACE", Category: regularCategory, Doc: "The string with all that a regular expression matches replaced; $1 stands for the first group.", Examples: []Example{
			{"REGEXP_REPLACE('baababaa', '(ab)+', 'x')", `"baxaa"`}, {"REGEXP_REPLACE('ab', '(a)(b)', '$2$1')", `"ba"`}},
			Variants: []Variant{{Params: params(String, String, String), Returns: of(String), Bind: replace}}},
		{Name: "REGEXP_SPLIT_TO_ARRAY", Category: regularCategory, Doc: "The parts of a string between the matches of a regular expression.", Examples: []Example{
			{"REGEXP_SPLIT_TO_ARRAY('a1b22c', '[0-9]+')", `["a","b","c"]`}},
			Variants: []Variant{{Params: params(String, String), Returns: texts, Bind: split}}},
	}
}

// groupNames turns Java's $1 into Go's ${1}, which does not run on into what
// follows.
func groupNames(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '$' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
			b.WriteString("${" + s[i+1:i+2] + "}")
			i++
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
