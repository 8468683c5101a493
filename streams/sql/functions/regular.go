package functions

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const regularCategory = "REGULAR_EXPRESSION"

// matching makes a Call that keeps the regular expression it met last; at says which
// argument it is.
func matching(at int, f func(m matcher, a []connect.Value) (connect.Value, error)) func([]Type) (Call, error) {
	return func([]Type) (Call, error) {
		var text string
		var m matcher
		return func(a []connect.Value) (connect.Value, error) {
			if s := a[at].Str(); m.re == nil || s != text {
				fresh, err := compileJava(s)
				if err != nil {
					return connect.Value{}, fmt.Errorf("the regular expression '%s': %w", s, err)
				}
				m, text = fresh, strings.Clone(s)
			}
			return f(m, a)
		}, nil
	}
}

// groupAsked returns which group of a match is asked for; ok is false when there is none.
func groupAsked(m matcher, a []connect.Value) (group int, ok bool, err error) {
	if len(a) < 3 {
		return 0, true, nil
	}
	n := a[2].Int()
	if n < 0 {
		return 0, false, fmt.Errorf("there is no group %d", n)
	}
	return int(n), n <= int64(m.re.NumSubexp()), nil
}

// groupOf returns a group of a match, null when it is not part of it.
func groupOf(s string, at []int, group int) connect.Value {
	if at[2*group] < 0 {
		return connect.Value{}
	}
	return connect.String(s[at[2*group]:at[2*group+1]])
}

func extractOne(m matcher, a []connect.Value) (connect.Value, error) {
	n, ok, err := groupAsked(m, a)
	if !ok {
		return connect.Value{}, err
	}
	at := m.find(a[1].Str(), 0)
	if at == nil {
		return connect.Value{}, nil
	}
	return groupOf(a[1].Str(), at, n), nil
}

func extractAll(m matcher, a []connect.Value) (connect.Value, error) {
	n, ok, err := groupAsked(m, a)
	if !ok {
		return connect.Value{}, err
	}
	out := []connect.Value{}
	m.all(a[1].Str(), func(at []int) { out = append(out, groupOf(a[1].Str(), at, n)) })
	return connect.Array(out), nil
}

func replaceAll(m matcher, a []connect.Value) (connect.Value, error) {
	s, out, last := a[0].Str(), []byte{}, 0
	var failed error
	m.all(s, func(at []int) {
		out = append(out, s[last:at[0]]...)
		var err error
		if out, err = m.appendReplacement(out, a[2].Str(), s, at); err != nil {
			failed = err
		}
		last = at[1]
	})
	return connect.StringBytes(append(out, s[last:]...)), failed
}

// splitAll splits as Guava does where the expression matches characters. One that can match
// none splits as Java does: without an empty part at the start, and none at the end.
func splitAll(m matcher, a []connect.Value) (connect.Value, error) {
	s, out, last := a[0].Str(), []string{}, 0
	empty := m.re.MatchString("")
	m.all(s, func(at []int) {
		if !empty || at[1] > 0 {
			out = append(out, s[last:at[0]])
			last = at[1]
		}
	})
	out = append(out, s[last:])
	for empty && last > 0 && len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return stringArray(out), nil
}

func regularFunctions() []Function {
	texts, one, all := ArrayOf(of(String)), matching(0, extractOne), matching(0, extractAll)
	return []Function{
		{Name: "REGEXP_EXTRACT", Category: regularCategory, Doc: "What a regular expression matches first, or the so-many-th group of it.", Examples: []Example{
			{"REGEXP_EXTRACT('.*', 'test')", `"test"`}, {"REGEXP_EXTRACT('(.*) (.*)', 'hello there', 2)", `"there"`}, {"REGEXP_EXTRACT('x', 'abc')", "null"}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Bind: one}, {Params: params(String, String, Int), Returns: of(String), Bind: one}}},
		{Name: "REGEXP_EXTRACT_ALL", Category: regularCategory, Doc: "All that a regular expression matches, or the so-many-th group of each.", Examples: []Example{
			{"REGEXP_EXTRACT_ALL('(\\w)\\d', 'a1 b2', 1)", `["a","b"]`}, {"REGEXP_EXTRACT_ALL('.*', 'test')", `["test",""]`}},
			Variants: []Variant{{Params: params(String, String), Returns: texts, Bind: all}, {Params: params(String, String, Int), Returns: texts, Bind: all}}},
		{Name: "REGEXP_REPLACE", Category: regularCategory, Doc: "The string with all that a regular expression matches replaced; $1 stands for the first group, \\$ for a dollar.", Examples: []Example{
			{"REGEXP_REPLACE('baababaa', '(ab)+', 'x')", `"baxaa"`}, {"REGEXP_REPLACE('ab', '(a)(b)', '$2$1')", `"ba"`}},
			Variants: []Variant{{Params: params(String, String, String), Returns: of(String), Bind: matching(1, replaceAll)}}},
		{Name: "REGEXP_SPLIT_TO_ARRAY", Category: regularCategory, Doc: "The parts of a string between the matches of a regular expression.", Examples: []Example{
			{"REGEXP_SPLIT_TO_ARRAY('a1b22c', '[0-9]+')", `["a","b","c"]`}, {"REGEXP_SPLIT_TO_ARRAY('ab', '')", `["a","b"]`}},
			Variants: []Variant{{Params: params(String, String), Returns: texts, Bind: matching(1, splitAll)}}},
	}
}
